"""The `rs station` commands: look into the simulated stations, fill them, set their clocks and give them faults.

They speak to the stations of the platform, and to one that runs by itself: `own`, which the variables name that
`rs station serve` prints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import httpx
import typer
import yaml

from rs_platform.access import AccessProblem, known_site
from rs_platform.installation import Installation, default_home
from rs_platform.render import SIMULATORS

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

OWN = "own"
STATIONS = (*SIMULATORS, OWN)


def _names(incomplete: str) -> list[str]:
    """What a shell offers."""
    return [name for name in STATIONS if name.startswith(incomplete)]


Station = Annotated[
    str,
    typer.Argument(
        help=f"One of: {', '.join(SIMULATORS)}; or {OWN}: the one that `rs station serve` runs.", autocompletion=_names
    ),
]
Kind = Literal["cadip", "auxip", "prip", "lta"]


@dataclass(frozen=True)
class Admin:
    """Where the admin API of a station is, and what opens it."""

    url: str
    token: str = field(repr=False)


@commands.callback()
def _own_station(
    context: typer.Context,
    url: Annotated[
        str, typer.Option("--admin-url", envvar="STATION_ADMIN_URL", help=f"Admin API of the station `{OWN}`.")
    ] = "",
    token: Annotated[str, typer.Option("--admin-token", envvar="STATION_ADMIN_TOKEN", help="What opens it.")] = "",
) -> None:
    """Control the simulated stations."""
    context.obj = Admin(url.rstrip("/"), token)


def ask(admin: Admin, station: str, method: str, path: str, body: Any = None) -> Any:
    """One request to the admin API of a simulated station; raises ``AccessProblem``."""
    url, headers = f"{admin.url}/{path}", {"Authorization": f"Bearer {admin.token}"}
    try:
        answer = httpx.request(method, url, headers=headers, json=body, timeout=30, trust_env=False)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise AccessProblem(f"the station {station} does not answer at {url}") from error
    if answer.is_error:
        raise AccessProblem(f"the station {station} refused this ({answer.status_code}): {_reason(answer)}")
    return answer.json() if answer.content else None


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return answer.text[:500]


def _admin(context: typer.Context, station: str) -> Admin:
    """The admin API of a station by its name; raises ``AccessProblem``."""
    if station == OWN:
        own = context.obj
        if not isinstance(own, Admin) or not own.url:
            raise AccessProblem("STATION_ADMIN_URL says nothing: set what `rs station serve` printed")
        return own
    if station not in SIMULATORS:
        raise typer.BadParameter(f"there is no station {station}; there are: {', '.join(STATIONS)}")
    site = known_site(Installation(default_home()))
    service, _ = SIMULATORS[station]
    return Admin(site.ports.url(service, "/admin"), site.secrets.station_admin_token)


def _tell(context: typer.Context, station: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
    given = None if body is None else {name: value for name, value in body.items() if value is not None}
    answer = ask(_admin(context, station), station, method, path, given)
    if answer is not None:
        typer.echo(json.dumps(answer, indent=1))


@commands.command("sessions")
def sessions(context: typer.Context, station: Station) -> None:
    """List the sessions that the station carries."""
    _tell(context, station, "GET", "sessions")


@commands.command("add-session")
def add_session(
    context: typer.Context,
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
    _tell(context, station, "POST", "sessions", {**values, "life": grow or None})


@commands.command("faults")
def faults(context: typer.Context, station: Station) -> None:
    """Show what is wrong with the station now, and how often it struck."""
    _tell(context, station, "GET", "faults")


@commands.command("fault")
def fault(
    context: typer.Context,
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
    """Give the station a fault, in place of those it has; what is misspelt is answered with what may have been meant.

    Which requests: requests (token, query, download, order, subscription, any), name, skip, times, chance, each.
    Instead of an answer: status (with retry_after_s), html, redirect (with redirect_status), evict. Before it:
    latency_s, jitter_s, revoke_tokens, token_life_s. Its octets: bytes_per_s, reset_at, short_at, stall_at (with
    stall_s), flip_at, length_delta, ignore_range. What searches show: size_delta, checksum, string_integers, bare_list,
    duplicate_rows, twin_rows, insert_rows (with insert_late_s), ignore, refuse.
    """
    flags = {"down": down or None, "status": status, "latency_s": latency_s}
    _tell(context, station, "POST" if add else "PUT", "faults", {**flags, **_assignments(settings or [])})


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
    context: typer.Context,
    station: Station,
    *,
    operation: Annotated[
        str | None, typer.Option(help="token, query, download, order or subscription; all if left out.")
    ] = None,
    name: Annotated[str, typer.Option(help="Pattern of the file's name, or of the entity set's.")] = "*",
) -> None:
    """List what was asked of the station, and what it sent."""
    asked = {"name": name} if operation is None else {"name": name, "operation": operation}
    _tell(context, station, "GET", f"requests?{urlencode(asked)}")


@commands.command("downloads")
def downloads(
    context: typer.Context,
    station: Station,
    *,
    name: Annotated[str, typer.Option(help="Pattern of the file's name.")] = "*",
) -> None:
    """Tell for each file how much of it was sent, and what was sent more than once."""
    _tell(context, station, "GET", f"downloads?{urlencode({'name': name})}")


@commands.command("clock")
def clock(
    context: typer.Context,
    station: Station,
    *,
    at: Annotated[str | None, typer.Option(help="Go on from this moment, ISO 8601 with zone.")] = None,
    speed: Annotated[float | None, typer.Option(help="How much faster than the world; 0: stand still.")] = None,
    advance_s: Annotated[float | None, typer.Option(help="Jump ahead by so many seconds.")] = None,
    skew_s: Annotated[float | None, typer.Option(help="Be ahead of the world by so much, or behind it.")] = None,
) -> None:
    """Show or set the station's time, by which sessions come in and orders complete."""
    given = {"at": at, "speed": speed, "advance_s": advance_s, "skew_s": skew_s}
    asked = any(value is not None for value in given.values())
    _tell(context, station, "PUT" if asked else "GET", "clock", given if asked else None)


@commands.command("scenario")
def scenario(
    context: typer.Context, station: Station, file: Annotated[Path, typer.Argument(help="YAML file.", exists=True)]
) -> None:
    """Have the station behave as a scenario says: a file as `rs station serve --scenario` takes it."""
    try:
        given = yaml.load(file.read_text(), _TextLoader)  # noqa: S506 - a safe loader, less dates
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} is no YAML: {error}") from error
    if not isinstance(given, dict | None):
        raise typer.BadParameter(f"{file} is no scenario: it must be fields with values")
    _tell(context, station, "PUT", "scenario", given or {})


class _TextLoader(yaml.SafeLoader):
    """YAML whose dates stay text: JSON has none."""


_TextLoader.yaml_implicit_resolvers = {
    sign: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@commands.command("publish")
def publish(
    context: typer.Context,
    station: Station,
    *,
    count: Annotated[int, typer.Option(help="How many.")] = 1,
    late_s: Annotated[float, typer.Option(help="Their publication date lies so far back.")] = 0.0,
) -> None:
    """Have new products or sessions appear at the station."""
    _tell(context, station, "POST", "publish", {"count": count, "late_s": late_s})


@commands.command("evict")
def evict(
    context: typer.Context, station: Station, name: Annotated[str, typer.Argument(help="Pattern of the files' names.")]
) -> None:
    """Have files go from the station."""
    _tell(context, station, "POST", "evictions", {"name": name})


@commands.command("delete")
def delete(
    context: typer.Context,
    station: Station,
    name: Annotated[str, typer.Argument(help="Pattern of the products' names.")],
    *,
    cause: Annotated[str | None, typer.Option(help="Why, as the station tells it.")] = None,
) -> None:
    """Delete products at the station, which tells so."""
    _tell(context, station, "POST", "deletions", {"name": name, "cause": cause})


@commands.command("serve")
def serve(
    *,
    kind: Annotated[Kind, typer.Option(help="What it offers.")],
    scenario: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of what happens there; rs_server/simulators/scenarios has one for each kind.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Where it listens; 0: a free one.", min=0, max=65_535)] = 0,
    scale: Annotated[float, typer.Option(help="Size of its files relative to real ones, at most 1.")] = 0.001,
) -> None:
    """Run a simulated station by itself, without the platform, until Ctrl-C.

    It prints how to reach it, as lines for a shell. In another shell that has read them, `rs station faults own` and
    the other commands speak to it.
    """
    words = ["--kind", kind, "--port", str(port), "--scale", str(scale)]
    if scenario is not None:
        words += ["--scenario", str(scenario)]
    os.execv(sys.executable, [sys.executable, "-m", "rs_server.simulators", *words])  # noqa: S606 - no shell


@commands.command("heal")
def heal(
    context: typer.Context,
    station: Station,
    fault: Annotated[str | None, typer.Argument(help="Its id, as `faults` shows it; all if left out.")] = None,
) -> None:
    """Take one fault from the station, or all."""
    _tell(context, station, "DELETE", f"faults/{quote(fault)}" if fault else "faults")
