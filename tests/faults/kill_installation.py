"""Kills an installation and a first demo at random moments, and shows that the next run recovers by itself.

``python tests/faults/kill_installation.py [--kills 6] [--seed 1]`` works on a clone of this checkout with a data folder
of its own; what was downloaded before is used again. It ends with 0 when the last run, left alone, made its product.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Machine:
    """A clone of the checkout, and folders in which nothing is installed yet."""

    folder: Path

    @property
    def checkout(self) -> Path:
        """The clone."""
        return self.folder / "checkout"

    @property
    def variables(self) -> dict[str, str]:
        """The environment that keeps everything inside the folder, but what can be fetched again."""
        hidden = ("VIRTUAL_ENV", "RS_HOME", "RS_TEST_HOME", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return {**kept, "XDG_DATA_HOME": str(self.folder / "data"), "RS_HOME": str(self.folder / "rs")}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start the installation with a command after it, in a group of its own, its words kept in a file."""
        with (self.folder / "said.log").open("ab") as said:
            return subprocess.Popen(
                ["python3", "hub/rs_platform/bootstrap.py", "--", *command],
                cwd=self.checkout,
                env=self.variables,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """The end of what the runs said."""
        return "\n".join((self.folder / "said.log").read_text(errors="replace").splitlines()[-30:])


def main() -> int:
    """Kill as often as asked, then let it end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=6, help="of the installation, and as many of the demo after it")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    machine = Machine(Path(tempfile.mkdtemp(prefix="rs-kills-")))
    try:
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(machine.checkout)], check=True)
        return _trial(machine, random.Random(options.seed), options.kills)
    finally:
        subprocess.run([machine.checkout / ".venv" / "bin" / "rs", "down"], env=machine.variables, check=False)
        shutil.rmtree(machine.folder, ignore_errors=True)


def _trial(machine: Machine, chance: random.Random, kills: int) -> int:
    _kill_at_random(machine, chance, kills, longest_s=60, command=["true"])
    if not _left_alone(machine, "true"):
        return 1
    _kill_at_random(machine, chance, kills, longest_s=50, command=["rs", "demo"])
    return 0 if _left_alone(machine, "rs", "demo") else 1


def _kill_at_random(machine: Machine, chance: random.Random, kills: int, longest_s: float, command: list[str]) -> None:
    for number in range(kills):
        moment = chance.uniform(0.2, longest_s)
        running = machine.start(*command)
        try:
            running.wait(timeout=moment)
            _say(f"{' '.join(command)}, kill {number + 1}: ended by itself before {moment:.1f} s")
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            _say(f"{' '.join(command)}, kill {number + 1}: after {moment:.1f} s")


def _left_alone(machine: Machine, *command: str) -> bool:
    begin = time.monotonic()
    ended = machine.start(*command).wait(timeout=PATIENCE_S)
    _say(
        f"{' '.join(command)}, left alone: {'recovered' if ended == 0 else 'FAILED'}, {time.monotonic() - begin:.0f} s"
    )
    if ended:
        _say(machine.said())
    return ended == 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
