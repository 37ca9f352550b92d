"""The `rs station` commands: look into the simulated stations, fill them, set their clocks and give them faults."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
import typer
import yaml

from rs_platform.access import AccessProblem, known_site
from rs_platform.installation import Installation, default_home
from rs_platform.render import SIMULATORS

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Station = Annotated[str, typer.Argument(help=f"One of: {', '.join(SIMULATORS)}")]


def ask(installation: Installation, station: str, method: str, path: str, body: Any = None) -> Any:
    """One request to the admin API of a simulated station; raises ``AccessProblem``."""
    if station not in SIMULATORS:
        raise typer.BadParameter(f"there is no station {station}; there are: {', '.join(SIMULATORS)}")
    site = known_site(installation)
    service, _ = SIMULATORS[station]
    url = site.ports.url(service, f"/admin/{path}")
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
    grow: Annotated[bool, typer.Option("--grow", help="It comes in file by file, as on the day.")] = False,
) -> None:
    """Add a session to the station, made after the model of the real one."""
    values = {"satellite": satellite, "start": start, "orbit": orbit, "channels": channels, "chunks": chunks}
    _tell(station, "POST", "sessions", **values, life=grow or None)


@commands.command("faults")
def faults(station: Station) -> None:
    """Show what is wrong with the station now, and how often it struck."""
    _tell(station, "GET", "faults")


@commands.command("fault")
def fault(
    station: Station,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]…",
            help="What the fault does and to which requests, values in YAML: "
            "requests=download name=*_ch1_* times=2 reset_at=[1000,90000]",
        ),
    ] = None,
    *,
    down: Annotated[bool, typer.Option("--down", help="Everything answers 503.")] = False,
    status: Annotated[int | None, typer.Option(help="Requests for data answer with this status.")] = None,
    latency_s: Annotated[float | None, typer.Option(help="Wait before each answer, in seconds.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Beside the faults that the station has.")] = False,
) -> None:
    """Give the station a fault, in place of those it has. The station's answer names every field that there is."""
    flags = {"down": down or None, "status": status, "latency_s": latency_s}
    _tell(station, "POST" if add else "PUT", "faults", **flags, **_assignments(settings or []))


def _assignments(words: list[str]) -> dict[str, Any]:
    """``name=value`` words, values in YAML; what is none (``*.EOF``) is text."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{word!r} is not of the form NAME=VALUE")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[name] = value
    return found


@commands.command("requests")
def requests(
    station: Station,
    *,
    operation: Annotated[
        str | None, typer.Option(help="token, query, download, order or subscription; all if left out.")
    ] = None,
    name: Annotated[str, typer.Option(help="Pattern of the file's name, or of the entity set's.")] = "*",
) -> None:
    """List what was asked of the station, and what it sent."""
    asked = {"name": name} if operation is None else {"name": name, "operation": operation}
    _tell(station, "GET", f"requests?{urlencode(asked)}")


@commands.command("downloads")
def downloads(
    station: Station, *, name: Annotated[str, typer.Option(help="Pattern of the file's name.")] = "*"
) -> None:
    """Tell for each file how much of it was sent, and what was sent more than once."""
    _tell(station, "GET", f"downloads?{urlencode({'name': name})}")


@commands.command("clock")
def clock(
    station: Station,
    *,
    at: Annotated[str | None, typer.Option(help="Go on from this moment, ISO 8601 with zone.")] = None,
    speed: Annotated[float | None, typer.Option(help="How much faster than the world; 0: stand still.")] = None,
    advance_s: Annotated[float | None, typer.Option(help="Jump ahead by so many seconds.")] = None,
) -> None:
    """Show or set the station's time, by which sessions come in and orders complete."""
    asked = any(value is not None for value in (at, speed, advance_s))
    _tell(station, "PUT" if asked else "GET", "clock", at=at, speed=speed, advance_s=advance_s)


@commands.command("scenario")
def scenario(station: Station, file: Annotated[Path, typer.Argument(help="YAML file.", exists=True)]) -> None:
    """Have the station behave as a scenario says."""
    _tell(station, "PUT", "scenario", **(yaml.safe_load(file.read_text()) or {}))


@commands.command("publish")
def publish(
    station: Station,
    *,
    count: Annotated[int, typer.Option(help="How many.")] = 1,
    late_s: Annotated[float, typer.Option(help="Their publication date lies so far back.")] = 0.0,
) -> None:
    """Have new products or sessions appear at the station."""
    _tell(station, "POST", "publish", count=count, late_s=late_s)


@commands.command("evict")
def evict(station: Station, name: Annotated[str, typer.Argument(help="Pattern of the files' names.")]) -> None:
    """Have files go from the station."""
    _tell(station, "POST", "evictions", name=name)


@commands.command("serve")
def serve(
    *,
    kind: Annotated[str, typer.Option(help="cadip, auxip, prip or lta.")],
    scenario: Annotated[Path | None, typer.Option(help="YAML file of what happens there.", exists=True)] = None,
    port: Annotated[int, typer.Option(help="Where it listens; a free one if left out.")] = 0,
    scale: Annotated[float, typer.Option(help="Size of its files relative to real ones.")] = 0.001,
) -> None:
    """Run a simulated station by itself, without the platform, until Ctrl-C. It prints how to reach it."""
    words = ["--kind", kind, "--port", str(port), "--scale", str(scale)]
    if scenario is not None:
        words += ["--scenario", str(scenario)]
    os.execv(sys.executable, [sys.executable, "-m", "rs_server.simulators", *words])  # noqa: S606 - no shell


@commands.command("heal")
def heal(station: Station) -> None:
    """Take all faults from the station."""
    _tell(station, "DELETE", "faults")
