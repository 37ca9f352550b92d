"""The `rs` command: the local platform's verbs, joined by those that other packages add."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rs_platform import access, demo, doctor, secrets, staging, starting, stations, stopping
from rs_platform.access import AccessProblem
from rs_platform.installation import Installation, default_home
from rs_platform.postgresql import PostgresqlProblem
from rs_platform.starting import Cancelled, StartFailed
from rs_platform.status import ServiceStatus, status
from rs_platform.supervisor import SupervisorProblem

GROUP = "rs.commands"
_WATCH_S = 2.0
_MB = 1_000_000
_ABOUT = "RS-Python on this machine."

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
commands.add_typer(stations.commands, name="station", help="Control the simulated stations.")
commands.add_typer(staging.commands, name="staging", help="How the carrying of files from the stations goes.")

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def _here() -> Installation:
    return Installation(default_home())


def _say(line: str) -> None:
    _out.print(line, markup=False)


@commands.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Return when everything is ready.")] = False,
    only: Annotated[str, typer.Option(help="Services to start, by comma; with what they need.")] = "",
    free_ports: Annotated[bool, typer.Option(help="At the first start, take ports nobody uses at all.")] = False,
) -> None:
    """Start the platform; without -d, stay until Ctrl-C and stop it then."""
    here = _here()
    names = [name.strip() for name in only.split(",") if name.strip()]
    begin = time.monotonic()
    with _stopping_on_signals(here, whole=not detach):
        started = starting.up(here, only=names, free_ports=free_ports, report=_say)
        _say(f"{len(started)} parts ready in {time.monotonic() - begin:.1f} s")
        if not detach:
            _say("Ctrl-C stops the platform")
            _watch(here)


@contextmanager
def _stopping_on_signals(here: Installation, *, whole: bool) -> Iterator[None]:
    """Ctrl-C, a closed terminal or a polite kill end the start; what stayed in the foreground stops as a whole."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _interrupt())
    try:
        yield
    except KeyboardInterrupt:
        _say("\nstopping")
        stopping.down(here)
        raise typer.Exit(130) from None
    except (Cancelled, StartFailed):
        if whole:
            stopping.down(here)
        raise


def _interrupt() -> None:
    raise KeyboardInterrupt


def _watch(here: Installation) -> None:
    """Tell what ends and what comes back."""
    seen = {entry.name: entry.pid for entry in status(here)}
    while True:
        time.sleep(_WATCH_S)
        for entry in status(here):
            if entry.pid != seen.get(entry.name):
                _say(f"{entry.name}: {entry.state}" + (", started again" if entry.pid else ""))
                seen[entry.name] = entry.pid


@commands.command()
def down() -> None:
    """Stop the platform; the data stays."""
    left = stopping.down(_here())
    _say("stopped" + (f" ({left} processes had to be ended one by one)" if left else ""))


@commands.command()
def restart(service: str) -> None:
    """Stop one service and start it again, with what it needs."""
    here = _here()
    stopping.stop(here, service)
    starting.up(here, only=[service], report=_say)


@commands.command("status")
def show_status(
    *, as_json: Annotated[bool, typer.Option("--json", help="For programs; a stable form.")] = False
) -> None:
    """Show how each service is."""
    entries = status(_here())
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=1))
    else:
        _out.print(_status_table(entries))


def _status_table(entries: list[ServiceStatus]) -> Table:
    table = Table("service", "state", "ready", "pid", "MB", "up", "address", box=None, header_style="bold")
    for entry in entries:
        ready = "[green]yes[/]" if entry.ready else "[red]no[/]"
        up_for = f"{entry.uptime_s:.0f} s" if entry.uptime_s is not None else ""
        memory = f"{entry.rss_bytes / _MB:.0f}" if entry.pid else ""
        table.add_row(entry.name, entry.state, ready, str(entry.pid or ""), memory, up_for, entry.url or "")
    total = sum(entry.rss_bytes for entry in entries)
    table.add_row("", "", "", "", f"{total / _MB:.0f}", "", "")
    return table


@commands.command()
def logs(
    service: str, *, follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False
) -> None:
    """Show the log of a service."""
    log = _here().log(service)
    if not log.exists():
        known = ", ".join(sorted(file.stem for file in log.parent.glob("*.log")))
        raise typer.BadParameter(f"no log of {service}; there are: {known or 'none yet'}")
    command = ["tail", "-n", "200", *(["-F"] if follow else []), str(log)]
    with _quiet_interrupt():
        raise typer.Exit(subprocess.run(command, check=False).returncode)


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@commands.command("doctor")
def show_doctor() -> None:
    """Check what the platform needs from this machine, and name the line that installs what is missing."""
    raise typer.Exit(doctor.report(doctor.examine(with_tests=False)))


@commands.command("demo")
def run_demo() -> None:
    """Start the platform and run the main job: a downlink session becomes an L0 product, and is looked at."""
    demo.run(_here(), report=_say)


@commands.command()
def reset(*, yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False) -> None:
    """Stop the platform and delete its data, secrets and logs."""
    here = _here()
    if not yes:
        raise typer.BadParameter(f"this deletes {here.home} with all its data: say --yes")
    stopping.down(here)
    stopping.delete(here)
    _say(f"{here.home} is deleted")


@commands.command("env")
def show_environment(*, user: Annotated[str, typer.Option(help="Whose API key.")]) -> None:
    """Print the `export NAME=value` lines with which a script works as this user: eval "$(rs env --user alice)"."""
    for name, value in access.user_environment(_here(), user).items():
        typer.echo(f"export {name}={value}")


@commands.command("password")
def show_password(user: str) -> None:
    """Print the password that a demo user was given at the first start."""
    found = secrets.password(_here(), user)
    if found is None:
        raise typer.BadParameter(f"{user} is not one of the demo users, or the platform was never started")
    typer.echo(found)


def collect() -> typer.Typer:
    """One command from the verbs of every package: an entry point names a Typer app, whose verbs join at the top."""
    root = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=_ABOUT)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name != "platform", entry.name)):
        root.add_typer(entry.load())
    return root


def main() -> None:
    """Run the command line; a problem that a person can act on is a sentence, not a trace."""
    os.umask(0o077)
    try:
        collect()()
    except (OSError, StartFailed, SupervisorProblem, PostgresqlProblem, AccessProblem, demo.DemoFailed) as problem:
        _err.print(f"error: {problem}", markup=False)
        sys.exit(1)
    except KeyError as error:
        _err.print(f"error: there is no service {error}", markup=False)
        sys.exit(2)
