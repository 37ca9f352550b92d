"""The `rs staging` commands: how the carrying of files from the stations goes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from rs_platform.access import AccessProblem, user_environment
from rs_platform.installation import Installation, default_home

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_CIRCUIT = ("in use", "to be tried", "left alone")


@commands.callback()
def staging() -> None:
    """Look at staging."""


@commands.command("status")
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    user: Annotated[str, typer.Option(help="Who looks: an operator sees everybody's jobs.")] = "operator",
) -> None:
    """Show the unfinished jobs, how fast they are and what they wait for; and the stations."""
    found = state(Installation(default_home()), user)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console = Console()
    console.print(jobs_table(found["jobs"]))
    console.print(stations_table(found["stations"]))
    workers = found["workers"]
    console.print(f"{workers} {'worker' if workers == 1 else 'workers'}")


def state(installation: Installation, user: str) -> dict[str, Any]:
    """What the server says of the carrying; raises ``AccessProblem``."""
    variables = user_environment(installation, user)
    url = f"{variables['RS_SERVER_URL']}/processes/staging/state"
    try:
        answer = httpx.get(url, headers={"x-api-key": variables["RS_API_KEY"]}, timeout=30, trust_env=False)
    except httpx.TransportError as error:
        raise AccessProblem(f"the server does not answer at {url}") from error
    if answer.is_error:
        raise AccessProblem(f"the server refused this: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def jobs_table(jobs: list[dict[str, Any]]) -> Table:
    """One line a job."""
    table = Table("job", "owner", "files", "bytes", "rate", "what", title="unfinished jobs", title_justify="left")
    for job in jobs:
        failed = f", {job['files_failed']} failed" if job["files_failed"] else ""
        table.add_row(
            job["id"],
            job["owner"],
            f"{job['files_done']} of {job['files_total']}{failed}",
            f"{_size(job['bytes_done'])} of {_size(job['bytes_total'])}",
            f"{_size(job['rate'])}/s" if job["rate"] else "",
            job["waiting"] or job["message"],
        )
    return table


def stations_table(stations: list[dict[str, Any]]) -> Table:
    """One line a station that files come from, or that is in trouble."""
    table = Table("station", "under way", "waiting", "rate", "state", title="stations", title_justify="left")
    for each in stations:
        trouble = f": {each['reason']}" if each["reason"] else ""
        table.add_row(
            each["name"] or "object storage",
            str(each["running"]),
            str(each["waiting"]),
            f"{_size(each['bytes_per_s'])}/s",
            f"{_CIRCUIT[each['circuit']]}{trouble}",
        )
    return table


def _size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
