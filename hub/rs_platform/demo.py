"""The demo: from nothing to an L0 product that is looked at, with a table of how long each part took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rs_platform import access, starting
from rs_platform.bootstrap import TIMES_VARIABLE
from rs_platform.installation import HOME_VARIABLE, Installation, caller_environment, private_folder, search_path
from rs_platform.site import Site

USER = "alice"
NOTEBOOK = Path("notebooks") / "chains" / "l0_on_demand.ipynb"

Report = Callable[[str], None]
Timings = list[tuple[str, float]]

# The executed notebook must show without widgets' state: what a widget shows then is its text or HTML.
_RUN = """
import sys, nbformat, papermill
from nbconvert import HTMLExporter
source, target, page = sys.argv[1:]
papermill.execute_notebook(source, target, progress_bar=False, store_widget_state=False)
body, _ = HTMLExporter(embed_images=True).from_filename(target)
open(page, "w", encoding="utf-8").write(body)
"""


class DemoFailed(Exception):
    """The demo's job failed; the message says where to look."""


def run(installation: Installation, *, report: Report) -> None:
    """Start the platform, run the main job as a scientist would, and tell where to go; raises ``DemoFailed``."""
    times = install_times(os.environ.get(TIMES_VARIABLE, "[]"))
    begin = time.monotonic()
    starting.up(installation, report=report)
    times.append(("start of the platform", time.monotonic() - begin))
    begin = time.monotonic()
    report(f"running {NOTEBOOK} as {USER} …")
    executed = _execute(installation)
    times.append(("main job", time.monotonic() - begin))
    for line in (*_where_to_go(access.known_site(installation), executed), *table(times)):
        report(line)


def install_times(text: str) -> Timings:
    """The steps of the installation that took time, as the installer passes them on."""
    return [(str(name), float(seconds)) for name, seconds in json.loads(text) if seconds > 0]


def _execute(installation: Installation) -> Path:
    site = access.known_site(installation)
    folder = installation.home / "demo"
    private_folder(folder)
    executed = folder / NOTEBOOK.name
    arguments = [str(site.checkout / NOTEBOOK), str(executed), str(executed.with_suffix(".html"))]
    log = folder / "run.log"
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env=_notebook_environment(installation, site),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise DemoFailed(f"the main job failed, see {executed} and {log}:\n{_end(log)}")
    return executed


def _notebook_environment(installation: Installation, site: Site) -> dict[str, str]:
    return {
        **caller_environment(),
        **access.user_environment(installation, USER),
        HOME_VARIABLE: str(installation.home),
        "PATH": f"{site.venv_bin}:{search_path()}",
        "HOME": str(installation.home / "demo"),
        "TMPDIR": str(installation.temporary),
    }


def _end(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _where_to_go(site: Site, executed: Path) -> Iterable[str]:
    yield ""
    yield f"JupyterHub         {site.ports.url('hub')}   user {USER}, password: rs password {USER}"
    yield f"API documentation  {site.ports.url('rs-server', '/docs')}"
    yield f"Executed notebook  {executed}"
    yield f"Its page           {executed.with_suffix('.html')}"
    yield from (f"Produced           {line}" for line in products(executed.read_text()))


def products(notebook: str) -> list[str]:
    """The addresses of the products that an executed notebook names, each once."""
    texts = _outputs(json.loads(notebook))
    words = (word.strip("'\"<>,()[]") for text in texts for word in text.split())
    return list(dict.fromkeys(word for word in words if word.startswith("s3://") and word.endswith(".zarr")))


def _outputs(notebook: dict[str, list[dict[str, object]]]) -> Iterable[str]:
    for cell in notebook["cells"]:
        outputs = cell.get("outputs", [])
        assert isinstance(outputs, list)
        for output in outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            yield "".join(text)


def table(times: Timings) -> list[str]:
    """The timing table, with its sum."""
    rows = [*times, ("in all", sum(seconds for _, seconds in times))]
    return ["", *(f"{name:<36} {seconds:7.1f} s" for name, seconds in rows)]
