"""Installs what the platform needs, skips what is there, and then runs a command in the project's environment.

``python3 hub/rs_platform/bootstrap.py [--with-tests] -- COMMAND…``

Standard library only, Python 3.11 at least. Every step can be killed at any point: what it leaves is recognised as
unfinished and started over by the next run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

if not __package__:  # run as a file: find the package, and keep its modules from hiding the standard library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rs_platform import doctor
from rs_platform.tools import (
    CHECKOUT,
    KEYCLOAK_VERSION,
    PROXY_VERSION,
    PYTHON_VERSION,
    UV_VERSION,
    VERSITYGW_VERSION,
    Tools,
    cache_home,
    tools,
)

TIMES_VARIABLE = "RS_INSTALL_TIMES"

_UV_HASHES = (
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",  # x86_64
    "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",  # aarch64
    "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",  # aarch64, glibc 2.28
)
_KEYCLOAK_ZIP_SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
_KEYCLOAK_ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{KEYCLOAK_VERSION}:zip"
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_KEYCLOAK_BUILD = ("--db=postgres", "--health-enabled=true")
_PROXY_FILES = Path(__file__).parent / "configurable-http-proxy"
_READ_BYTES = 1 << 20


class InstallProblem(Exception):
    """A step of the installation failed; the message says what a person can do."""


@dataclass(frozen=True)
class Step:
    """One thing to have: whether it is there, and how to get it."""

    name: str
    present: Callable[[], bool]
    install: Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """How long a step took, in seconds; 0 when it was there already."""

    name: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, install, and become the command; 1 when something is missing or fails."""
    options = _options(arguments)
    if _lacks(options.with_tests):
        return 1
    begin = time.monotonic()
    try:
        parts = install(with_tests=options.with_tests)
    except InstallProblem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if options.command:
        _become(options.command, parts, time.monotonic() - begin)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--with-tests", action="store_true", help="also what the tests need (a browser)")
    parser.add_argument("command", nargs="*", help="run afterwards, in the project's environment")
    return parser.parse_args(arguments)


def _lacks(with_tests: bool) -> bool:  # noqa: FBT001
    findings = doctor.examine(with_tests=with_tests)
    return any(not finding.ok for finding in findings) and bool(doctor.report(findings))


def _become(command: Sequence[str], parts: Sequence[Timing], seconds: float) -> NoReturn:
    programs = CHECKOUT / ".venv" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(programs.parent),
        TIMES_VARIABLE: json.dumps(
            {"seconds": round(seconds, 1), "parts": [[part.name, round(part.seconds, 1)] for part in parts]}
        ),
    }
    sys.stdout.flush()
    os.execvpe(command[0], list(command), environment)  # noqa: S606 - no shell


def install(*, with_tests: bool) -> list[Timing]:
    """Install what is missing; what does not depend on one another side by side."""
    here = tools()
    here.root.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(here.root / ".lock"):
        times = [_done(_system_packages(with_tests=with_tests)), _done(_uv(here))]
        steps = (_environment(here), _keycloak(here), _versitygw(here), _proxy(here))
        with ThreadPoolExecutor(max_workers=len(steps)) as pool:
            times += list(pool.map(_done, steps))
    return times


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        # Programs that outlive a killed run hold the lock on, until they are done as well.
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another installation is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _done(step: Step) -> Timing:
    if step.present():
        return Timing(step.name, 0.0)
    _say(f"installing {step.name} …")
    begin = time.monotonic()
    step.install()
    if not step.present():
        raise InstallProblem(f"{step.name} was installed and still is not there")
    seconds = time.monotonic() - begin
    _say(f"installed  {step.name} in {seconds:.0f} s")
    return Timing(step.name, seconds)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece: several steps talk at the same time
    sys.stdout.flush()


def _system_packages(*, with_tests: bool) -> Step:
    def present() -> bool:
        return not doctor.missing_packages(with_tests=with_tests)

    def add() -> None:
        names = doctor.missing_packages(with_tests=with_tests)
        if not _apt_knows("postgresql"):
            _apt(["update"])
        _apt_install([name for name in names if name != "postgresql-postgis"])
        if "postgresql-postgis" in names:
            _apt_install(["postgresql"])
            _apt_install([f"postgresql-{_newest_server()}-postgis-3"])

    return Step("system packages", present, add)


def _apt_knows(package: str) -> bool:
    return "Candidate:" in doctor.ask(["apt-cache", "policy", package])


def _apt_install(packages: Sequence[str]) -> None:
    if not packages:
        return
    try:
        _apt(["install", *packages])
    except InstallProblem:  # the list of packages may be older than the archive
        _apt(["update"])
        _apt(["install", *packages])


def _apt(arguments: Sequence[str]) -> None:
    rights = [] if os.geteuid() == 0 else ["sudo"]
    # Settings of a tool that runs as another user: through `env`, which sudo lets pass.
    variables = ["env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"]
    _run([*rights, *variables, "apt-get", "--yes", "--no-install-recommends", "-q", *arguments])


def _newest_server() -> int:
    versions = [int(entry.name) for entry in Path("/usr/lib/postgresql").iterdir() if entry.name.isdigit()]
    return max(versions)


def _uv(here: Tools) -> Step:
    def add() -> None:
        with _unfinished(here.uv.parents[1]) as folder:
            _run([sys.executable, "-m", "venv", str(folder)])
            requirement = " ".join([f"uv=={UV_VERSION}", *(f"--hash=sha256:{digest}" for digest in _UV_HASHES)])
            (folder / "requirements.txt").write_text(requirement + "\n")
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(folder / "requirements.txt")])

    return Step(f"uv {UV_VERSION}", here.uv.exists, add)


def _environment(here: Tools) -> Step:
    """The project's Python environment; a note in it says from which lock it was made, and that it was finished."""
    folder = CHECKOUT / ".venv"
    note = folder / ".rs-python-lock"
    busy = CHECKOUT / ".venv.unfinished"

    def present() -> bool:
        return not busy.exists() and note.exists() and note.read_text() == _lock_digest()

    def add() -> None:
        if busy.exists() or not (folder / "bin" / "python").exists():
            shutil.rmtree(folder, ignore_errors=True)
        busy.touch()
        sync = [str(here.uv), "sync", "--frozen", "--all-extras", "--quiet", "--python", _interpreter(here)]
        _run(sync, {"UV_COMPILE_BYTECODE": "1", "UV_PROJECT_ENVIRONMENT": str(folder)}, cwd=CHECKOUT)
        note.write_text(_lock_digest())
        busy.unlink()

    return Step("Python environment", present, add)


def _lock_digest() -> str:
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((CHECKOUT / name).read_bytes())
    return digest.hexdigest()


def _interpreter(here: Tools) -> str:
    """An interpreter of the needed version: one that is installed, else one that uv can fetch."""
    for candidate in _interpreters(here):
        answer = doctor.ask([candidate, "-c", "import sys; print(sys.version_info[:2] == (3, 13))"])
        if answer.strip() == "True":
            return candidate
    if _succeeds([str(here.uv), "python", "install", PYTHON_VERSION]):
        return PYTHON_VERSION
    raise InstallProblem(
        f"no Python {PYTHON_VERSION} is installed and none can be fetched: "
        f"install one, e.g. `apt-get install python{PYTHON_VERSION} python{PYTHON_VERSION}-venv` or `pyenv install "
        f"{PYTHON_VERSION}`, and run this again"
    )


def _interpreters(here: Tools) -> Iterator[str]:
    """Where an interpreter may stand: also where version managers keep theirs, which may not be on the PATH."""
    yield from doctor.ask([str(here.uv), "python", "find", "--no-project", PYTHON_VERSION]).split("\n")[:1]
    yield f"python{PYTHON_VERSION}"
    roots = (Path.home() / ".pyenv" / "versions", Path.home() / ".asdf" / "installs" / "python")
    for root in roots:
        yield from (str(folder / "bin" / "python") for folder in sorted(root.glob(f"{PYTHON_VERSION}*"), reverse=True))


def _keycloak(here: Tools) -> Step:
    def add() -> None:
        scratch = here.keycloak.with_name(f"{here.keycloak.name}.unfinished")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with zipfile.ZipFile(_keycloak_archive(scratch)) as content:
            _unpack(content, scratch)
        folder = scratch / f"keycloak-{KEYCLOAK_VERSION}"
        _run([str(folder / "bin" / "kc.sh"), "build", *_KEYCLOAK_BUILD])
        folder.rename(here.keycloak)
        shutil.rmtree(scratch)

    return Step(f"Keycloak {KEYCLOAK_VERSION}", here.keycloak.is_dir, add)


def _keycloak_archive(folder: Path) -> Path:
    """The distribution from Maven Central, checked against our own digest."""
    name = f"keycloak-quarkus-dist-{KEYCLOAK_VERSION}.zip"
    repository = cache_home() / "rs-python" / "maven"
    mvn = ["mvn", "-q", "-B", "-ntp", f"-Dmaven.repo.local={repository}"]
    _run([*mvn, f"{_MAVEN_GOAL}:copy", f"-Dartifact={_KEYCLOAK_ARTIFACT}", f"-DoutputDirectory={folder}"], cwd=folder)
    archive = folder / name
    if _sha256(archive) != _KEYCLOAK_ZIP_SHA256:
        shutil.rmtree(repository, ignore_errors=True)
        raise InstallProblem(f"{name} came from Maven with another checksum than expected; it is deleted: try again")
    return archive


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _unpack(content: zipfile.ZipFile, folder: Path) -> None:
    """Unpack with the files' modes, which `extractall` forgets."""
    for entry in content.infolist():
        path = Path(content.extract(entry, folder))
        mode = entry.external_attr >> 16
        if mode and not entry.is_dir():
            path.chmod(mode & 0o777)


def _versitygw(here: Tools) -> Step:
    def add() -> None:
        with _unfinished(here.versitygw.parent) as folder:
            module = f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW_VERSION}"
            modules = str(cache_home() / "rs-python" / "go")
            variables = {"GOBIN": str(folder), "GOMODCACHE": modules, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
            _run(["go", "install", module], variables)

    return Step(f"VersityGW {VERSITYGW_VERSION}", here.versitygw.exists, add)


def _proxy(here: Tools) -> Step:
    folder = here.proxy.parents[1]

    def add() -> None:
        with _unfinished(folder) as unfinished:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_PROXY_FILES / name, unfinished)
            npm = ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            _run(npm, {"npm_config_cache": str(cache_home() / "rs-python" / "npm")}, cwd=unfinished)

    present = here.proxy / "configurable-http-proxy"
    return Step(f"configurable-http-proxy {PROXY_VERSION}", present.exists, add)


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A folder that stands at its place only once everything in it is done; what a killed run left is removed."""
    folder = target.with_name(f"{target.name}.unfinished")
    for stale in (folder, target):
        shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir()
    yield folder
    folder.rename(target)


def _run(command: Sequence[str], variables: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a program silently; what it said is shown when it fails."""
    done = _finished(command, variables, cwd)
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-20:])
        raise InstallProblem(f"`{' '.join(command)}` failed:\n{said}")


def _succeeds(command: Sequence[str]) -> bool:
    return _finished(command, None, None).returncode == 0


def _finished(
    command: Sequence[str], variables: dict[str, str] | None, cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(command),
        env=_environment_for(variables),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        close_fds=False,  # for the lock
    )


def _environment_for(variables: dict[str, str] | None) -> dict[str, str]:
    """The caller's environment without what would lead Python tools to another environment than the one meant."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **(variables or {})}


if __name__ == "__main__":
    sys.exit(main())
