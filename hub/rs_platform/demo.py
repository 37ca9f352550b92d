"""The demo: from nothing to an L0 product that is looked at, with a table of how long each part took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from rs_platform import access, starting
from rs_platform.bootstrap import TIMES_VARIABLE
from rs_platform.installation import Installation, caller_environment, private_folder, search_path
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
    parts, times = install_times(os.environ.get(TIMES_VARIABLE))
    begin = time.monotonic()
    starting.up(installation, report=report)
    times.append(("start of the platform", time.monotonic() - begin))
    site, variables = access.known_site(installation), access.user_environment(installation, USER)
    begin, since = time.monotonic(), datetime.now(UTC)
    report(f"running {NOTEBOOK} as {USER} …")
    executed = _execute(site, variables)
    times.append(("main job", time.monotonic() - begin))
    for line in (*_where_to_go(site, executed), *_produced(variables, since), *table(parts, times)):
        report(line)


def install_times(text: str | None) -> tuple[Timings, Timings]:
    """What the installer passes on: the parts that took time, and the whole, which is less: they go side by side."""
    if text is None:
        return [], []
    told = json.loads(text)
    parts = [(str(name), float(seconds)) for name, seconds in told["parts"] if seconds > 0]
    return parts, [("installation", float(told["seconds"]))] if parts else []


def _execute(site: Site, variables: Mapping[str, str]) -> Path:
    folder = site.installation.home / "demo"
    private_folder(folder)
    executed = folder / NOTEBOOK.name
    arguments = [str(site.checkout / NOTEBOOK), str(executed), str(executed.with_suffix(".html"))]
    log = folder / "run.log"
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env=_notebook_environment(site, variables),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise DemoFailed(f"the main job failed, see {executed} and {log}:\n{_end(log)}")
    return executed


def _notebook_environment(site: Site, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        **caller_environment(),
        **variables,
        "PATH": f"{site.venv_bin}:{search_path()}",
        "HOME": str(site.installation.home / "demo"),
        "TMPDIR": str(site.installation.temporary),
    }


def _end(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _where_to_go(site: Site, executed: Path) -> Iterable[str]:
    yield ""
    yield f"JupyterHub         {site.ports.url('hub')}   user {USER}, password: rs password {USER}"
    yield f"API documentation  {site.ports.url('rs-server', '/docs')}"
    yield f"Executed notebook  {executed}"
    yield f"Its page           {executed.with_suffix('.html')}"


def _produced(variables: Mapping[str, str], since: datetime) -> list[str]:
    """What the jobs of this demo made: one line each, with the address of the catalog item."""
    headers = {"x-api-key": variables["RS_API_KEY"]}
    with httpx.Client(base_url=variables["RS_SERVER_URL"], headers=headers, timeout=30, trust_env=False) as http:
        jobs = finished_since(http.get("/jobs").raise_for_status().json()["jobs"], since)
        found = [(job, http.get(f"/jobs/{job['jobID']}/results").raise_for_status().json()) for job in jobs]
    return [
        f"Produced           {item['href']}   {job['processID']}: {job['message']}"
        for job, results in found
        for item in results["items"]
    ]


def finished_since(jobs: Iterable[dict[str, Any]], since: datetime) -> list[dict[str, Any]]:
    """The successful jobs that were begun after this time, oldest first."""
    return sorted(
        (job for job in jobs if job["status"] == "successful" and datetime.fromisoformat(job["created"]) >= since),
        key=lambda job: str(job["created"]),
    )


def table(parts: Timings, times: Timings) -> list[str]:
    """The timing table: the installation's parts, then the steps one after the other with their sum."""
    rows = [*((f"  {name}", seconds) for name, seconds in parts), *times, ("in all", sum(s for _, s in times))]
    return ["", *(f"{name:<36} {seconds:7.1f} s" for name, seconds in rows)]
