"""What the client's verbs of `rs` have in common: a session, exit codes, the form for programs, completion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rs_client.errors import RsError
    from rs_client.jobs import Job
    from rs_client.session import RsClient

FAILED, USAGE, NO_LOGIN, NOT_READY, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes beside 0: it failed, it was asked wrongly, no login or no right, not there (yet), and Ctrl-C."""

AsJson = Annotated[bool, typer.Option("--json", help="For programs; a stable form.")]
Wait = Annotated[bool, typer.Option(help="Wait until it is over.")]


class Verb(TyperCommand):
    """A command whose problems are sentences, with an exit code by their kind."""

    def invoke(self, ctx: Any) -> Any:
        """Run it. Raises ``typer.Exit`` for an ``RsError`` and for ``Detached``."""
        from rs_client.errors import Detached, RsError

        try:
            return super().invoke(ctx)
        except RsError as error:
            sys.stderr.write(f"error: {error}\n")
            raise typer.Exit(exit_code(error)) from None
        except Detached as detached:
            sys.stderr.write(f"{detached}\n")
            raise typer.Exit(INTERRUPTED) from None


def exit_code(error: RsError) -> int:
    """The exit code for an error."""
    from rs_client import errors

    codes: Mapping[type[RsError], int] = {
        errors.NotAuthenticated: NO_LOGIN,
        errors.Forbidden: NO_LOGIN,
        errors.NotConfigured: NO_LOGIN,
        errors.Invalid: USAGE,
        errors.ServiceUnavailable: NOT_READY,
        errors.StationUnavailable: NOT_READY,
        errors.Timeout: NOT_READY,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def app(**more: Any) -> typer.Typer:
    """A set of verbs."""
    return typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, **more)


@contextmanager
def session() -> Iterator[RsClient]:
    """A session with the platform, from wherever this is."""
    import rs_client

    with rs_client.connect() as opened:
        yield opened


def tell(document: Any, text: str, *, as_json: bool) -> None:
    """Print an answer for a program, or for a person."""
    typer.echo(json.dumps(document, indent=1, default=str) if as_json else text)


def follow(job: Job, *, wait: bool, as_json: bool) -> None:
    """Say which job it is, and what came out if one waits."""
    if wait:
        came_out(job.wait(), as_json=as_json)
    else:
        tell({"job": job.id}, job.id, as_json=as_json)


def came_out(job: Job, *, as_json: bool) -> None:
    """Say what a job has published, and on standard error what has failed of that which it was asked for."""
    items, failed = job.items, job.report.failed
    tell({"job": job.id, "items": [item.href for item in items], "failed": failed}, repr(items), as_json=as_json)
    for each in failed:
        sys.stderr.write(f"{each.get('outcome')}: {each.get('item')}: {each.get('reason', '')}\n")


def offered(values: Callable[[RsClient], list[str]]) -> list[str]:
    """What a shell offers for a word; nothing when the platform cannot be asked without asking a person."""
    from rs_client.auth import DeviceLogin
    from rs_client.errors import RsError

    try:
        with session() as opened:
            if isinstance(opened.http.auth, DeviceLogin):
                opened.http.auth.ask_nobody()
            return values(opened)
    except RsError:
        return []


def offered_collections() -> list[str]:
    """The collections of the catalog, for a shell to offer."""
    return offered(lambda opened: [collection.id for collection in opened.catalog.get_collections()])
