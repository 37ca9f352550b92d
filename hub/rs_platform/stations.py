"""The `rs station` commands: look into the simulated stations, add sessions to them and give them faults."""

from __future__ import annotations

import json
from typing import Annotated, Any

import httpx
import typer

from rs_platform.access import AccessProblem, known_site
from rs_platform.installation import Installation, default_home
from rs_platform.render import STATIONS

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Station = Annotated[str, typer.Argument(help=f"One of: {', '.join(STATIONS)}")]


def ask(installation: Installation, station: str, method: str, path: str, body: Any = None) -> Any:
    """One request to the admin API of a simulated station; raises ``AccessProblem``."""
    if station not in STATIONS:
        raise typer.BadParameter(f"there is no station {station}; there are: {', '.join(STATIONS)}")
    site = known_site(installation)
    url = site.ports.url(STATIONS[station]["service"], f"/admin/{path}")
    headers = {"Authorization": f"Bearer {site.secrets.station_admin_token}"}
    try:
        answer = httpx.request(method, url, headers=headers, json=body, timeout=30, trust_env=False)
    except httpx.TransportError as error:
        raise AccessProblem(f"the station {station} does not answer at {url}") from error
    if answer.is_error:
        raise AccessProblem(f"the station {station} refused this: {answer.status_code} {answer.text[:500]}")
    return answer.json() if answer.content else None


def _tell(station: str, method: str, path: str, **body: Any) -> None:
    given = {name: value for name, value in body.items() if value is not None}
    answer = ask(Installation(default_home()), station, method, path, given or None)
    if answer is not None:
        typer.echo(json.dumps(answer, indent=1))


@commands.command("sessions")
def sessions(station: Station) -> None:
    """List the sessions that the station carries."""
    _tell(station, "GET", "sessions")


@commands.command("add-session")
def add_session(
    station: Station,
    *,
    satellite: Annotated[str, typer.Option(help="S1A, S1B, S1C or S1D.")] = "S1A",
    start: Annotated[
        str | None, typer.Option(help="Begin of the downlink, ISO 8601 with zone; now if left out.")
    ] = None,
    orbit: Annotated[int | None, typer.Option(help="Downlink orbit; the one of the start if left out.")] = None,
    channels: Annotated[int | None, typer.Option(help="How many channels.")] = None,
    chunks: Annotated[int | None, typer.Option(help="How many files a channel has.")] = None,
) -> None:
    """Add a session to the station, made after the model of the real one."""
    values = {"satellite": satellite, "start": start, "orbit": orbit, "channels": channels, "chunks": chunks}
    _tell(station, "POST", "sessions", **values)


@commands.command("faults")
def faults(station: Station) -> None:
    """Show what is wrong with the station now."""
    _tell(station, "GET", "faults")


@commands.command("fault")
def fault(
    station: Station,
    *,
    down: Annotated[bool, typer.Option("--down", help="Everything answers 503.")] = False,
    status: Annotated[int | None, typer.Option(help="Requests for data answer with this status.")] = None,
    latency_s: Annotated[float | None, typer.Option(help="Wait before each answer, in seconds.")] = None,
) -> None:
    """Give the station a fault, in place of the one it has."""
    _tell(station, "PUT", "faults", down=down, status=status, latency_s=latency_s)


@commands.command("heal")
def heal(station: Station) -> None:
    """Take the fault from the station."""
    _tell(station, "DELETE", "faults")
