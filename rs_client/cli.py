"""The client's verbs of the `rs` command, which are those of the library."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rs_client.errors import RsError
    from rs_client.jobs import Job
    from rs_client.session import RsClient
    from rs_client.stac import Search, StacClient

FAILED, USAGE, NO_LOGIN, NOT_READY, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes beside 0: it failed, it was asked wrongly, no login or no right, not there (yet), and Ctrl-C."""

SERVICES = ("cadip", "auxip", "prip", "lta", "catalog")

AsJson = Annotated[bool, typer.Option("--json", help="For programs; a stable form.")]
JobId = Annotated[str, typer.Argument(help="Id of a job.", autocompletion=lambda: _complete(_job_ids))]
To = Annotated[str, typer.Option("--to", help="Collection of the catalog that it goes to.")]


class Verb(TyperCommand):
    """A command whose problems are sentences, with an exit code by their kind."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
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


def _app(**more: Any) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, **more)


commands = _app()
jobs_commands = _app(help="Look at jobs, wait for them, stop them.")
keys_commands = _app(help="Make, list and revoke your API keys.")
commands.add_typer(jobs_commands, name="jobs")
commands.add_typer(keys_commands, name="keys")


@contextmanager
def _session() -> Iterator[RsClient]:
    import rs_client

    with rs_client.connect() as session:
        yield session


def _service(session: RsClient, name: str) -> StacClient:
    if name not in SERVICES:
        raise typer.BadParameter(f"there is no {name}; there are: {', '.join(SERVICES)}")
    found: StacClient = getattr(session, name)
    return found


def _tell(document: Any, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(document, indent=1, default=str) if as_json else text)


@commands.command(cls=Verb)
def login(server: Annotated[str | None, typer.Argument(help="Address of rs-server; remembered.")] = None) -> None:
    """Log in, in the browser unless this place has another way, and say who you are."""
    import rs_client
    from rs_client.settings import Settings, remember

    with rs_client.connect(server) as session:
        who = session.whoami()
        if server:
            remember(Settings.here().file, session.server_url)
        typer.echo(f"{who.login} at {session.server_url}")


@commands.command(cls=Verb)
def logout() -> None:
    """Forget the login in the browser."""
    from rs_client.auth import NoLogin
    from rs_client.flow import Server
    from rs_client.http import Http
    from rs_client.session import address, issuer_of
    from rs_client.settings import Settings
    from rs_client.tokenstore import token_store

    settings = Settings.here()
    http = Http(address(None, settings), NoLogin())
    issuer = settings.issuer or http.run(issuer_of(Server(http.server_url)))
    if issuer:
        token_store(settings, issuer).forget()
    typer.echo("no login is kept here")


@commands.command(cls=Verb)
def whoami(*, as_json: AsJson = False) -> None:
    """Say who you are to the platform."""
    from rs_client.display import text_table

    with _session() as session:
        who = session.whoami()
        rows = [("user", who.login), ("groups", ", ".join(who.groups)), ("roles", " ".join(who.roles)), ("by", who.via)]
        _tell(asdict(who), text_table(("", ""), rows).lstrip("\n"), as_json=as_json)


@commands.command(cls=Verb)
def collections(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")] = "catalog",
    *,
    as_json: AsJson = False,
) -> None:
    """List the collections of a service that you may read."""
    with _session() as session:
        found = _service(session, service).collections
        _tell([one.to_dict(transform_hrefs=False) for one in found], repr(found), as_json=as_json)


@commands.command(cls=Verb)
def search(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    *,
    collection: Annotated[list[str] | None, typer.Option("-c", "--collection", help="May be given again.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="May be given again.")] = None,
    datetime: Annotated[str | None, typer.Option(help="An instant, a day, or an interval a/b.")] = None,
    bbox: Annotated[str | None, typer.Option(help="west,south,east,north in degrees.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("-w", "--where", help="WORD=VALUE, as platform=sentinel-1a.")
    ] = None,
    cql: Annotated[str | None, typer.Option("--filter", help="A CQL2 text.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 50,
    hrefs: Annotated[bool, typer.Option("--href", help="Addresses alone, a line each: rs stage reads them.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Print Python that does the same, and ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search a station or the catalog."""
    given = {"collections": collection, "ids": ids, "datetime": datetime, "bbox": bbox, "filter": cql, **_words(where)}
    with _session() as session:
        found = _service(session, service).search(
            max_items=limit, **{name: value for name, value in given.items() if value is not None}
        )
        typer.echo(_found(found, limit, hrefs=hrefs, code=code, as_json=as_json))


def _found(found: Search, limit: int, *, hrefs: bool, code: bool, as_json: bool) -> str:
    """What a search found, in the form that was asked for."""
    import rs_client
    from rs_client.display import items_text

    if code:
        return rs_client.code(found).rstrip("\n")
    items = found.first(limit)
    if as_json:
        return json.dumps({"type": "FeatureCollection", "features": [_plain(item) for item in items]}, indent=1)
    return "\n".join(item.href for item in items) if hrefs else items_text(items)


def _plain(item: Any) -> dict[str, Any]:
    plain: dict[str, Any] = item.to_dict(transform_hrefs=False)
    return plain


def _words(given: Sequence[str] | None) -> dict[str, Any]:
    """WORD=VALUE as search parameters; a number is one."""
    words: dict[str, Any] = {}
    for each in given or ():
        name, sign, value = each.partition("=")
        if not sign:
            raise typer.BadParameter(f"{each} is not WORD=VALUE", param_hint="--where")
        words[name] = int(value) if re.fullmatch(r"-?\d+", value) else value
    return words


@commands.command(cls=Verb)
def stage(
    items: Annotated[list[str], typer.Argument(help="Addresses of items; - reads them from standard input.")],
    *,
    to: To,
    wait: Annotated[bool, typer.Option(help="Wait until it is over.")] = True,
    as_json: AsJson = False,
) -> None:
    """Bring items of a station into a collection."""
    with _session() as session:
        _follow(session.stage(_addresses(items), to=to), wait=wait, as_json=as_json)


def _addresses(items: Sequence[str]) -> list[str]:
    read = [line.strip() for line in sys.stdin] if "-" in items else []
    return [href for href in (*items, *read) if href and href != "-"]


def _follow(job: Job, *, wait: bool, as_json: bool) -> None:
    """Say which job it is, and what came out if one waits."""
    if wait:
        job.wait()
        items = job.items
        _tell({"job": job.id, "items": [item.href for item in items]}, repr(items), as_json=as_json)
    else:
        _tell({"job": job.id}, job.id, as_json=as_json)


@jobs_commands.command("list", cls=Verb)
def list_jobs(
    *, limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 20, as_json: AsJson = False
) -> None:
    """List your jobs, the newest first."""
    with _session() as session:
        found = session.jobs(limit)
        _tell([_state(job) for job in found], repr(found) if found else "no jobs", as_json=as_json)


@jobs_commands.command("show", cls=Verb)
def show_job(job: JobId, *, as_json: AsJson = False) -> None:
    """Say how far a job is."""
    with _session() as session:
        found = session.job(job)
        _tell(_state(found), repr(found), as_json=as_json)


@jobs_commands.command("wait", cls=Verb)
def wait_for_job(
    job: JobId, *, timeout: Annotated[float | None, typer.Option(help="In seconds.")] = None, as_json: AsJson = False
) -> None:
    """Wait until a job is over; tell what came out."""
    with _session() as session:
        found = session.job(job).wait(timeout)
        items = found.items
        _tell({"job": job, "items": [item.href for item in items]}, repr(items), as_json=as_json)


@jobs_commands.command("log", cls=Verb)
def show_log(job: JobId) -> None:
    """Show what a job has said."""
    with _session() as session:
        typer.echo("\n".join(session.job(job).log))


@jobs_commands.command("dismiss", cls=Verb)
def dismiss_job(job: JobId) -> None:
    """Stop a job; what it has not published yet never will be."""
    with _session() as session:
        typer.echo(repr(session.job(job).dismiss()))


def _state(job: Job) -> dict[str, Any]:
    return {"job": job.id, "process": job.process, **asdict(job.last_seen)}


@commands.command("open", cls=Verb)
def open_item(
    collection: str,
    item: str,
    *,
    quicklook: Annotated[str | None, typer.Option(help="Write a picture into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Open a product of the catalog, and say what is in it."""
    with _session() as session:
        found = session.catalog.item(collection, item)
        tree = found.open()
        if quicklook:
            found.quicklook().save(quicklook)
        groups = {group: dict(tree[group].to_dataset().sizes) for group in tree.groups}
        _tell({"item": found.id, "groups": groups}, str(tree), as_json=as_json)


@commands.command(cls=Verb)
def share(
    collection: str,
    *,
    user: Annotated[list[str] | None, typer.Option("-u", "--user", help="May be given again.")] = None,
    group: Annotated[list[str] | None, typer.Option("-g", "--group", help="May be given again.")] = None,
    right: Annotated[list[str] | None, typer.Option("-r", "--right", help="read, download or write.")] = None,
    until: Annotated[datetime | None, typer.Option(help="End of the right, in UTC.")] = None,
    revoke: Annotated[bool, typer.Option(help="Take rights back instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let users or groups use a collection of yours; without any, say who may."""
    with _session() as session:
        if revoke:
            _revoke(session, collection, user or (), group or ())
        elif user or group:
            end = until.replace(tzinfo=UTC) if until else None
            rights: Any = right or ("read", "download")
            session.catalog.share(collection, users=user or (), groups=group or (), rights=rights, until=end)
        readers = session.catalog.readers(collection)
        lines = (
            f"{each.kind} {each.name}: {', '.join(each.rights)}{f' until {each.until}' if each.until else ''}"
            for each in readers
        )
        _tell([asdict(each) for each in readers], "\n".join(lines) or "nobody beside you", as_json=as_json)


def _revoke(session: RsClient, collection: str, users: Sequence[str], groups: Sequence[str]) -> None:
    if not users and not groups:
        raise typer.BadParameter("say whose rights to take back: --user or --group")
    for name in users:
        session.catalog.unshare(collection, user=name)
    for name in groups:
        session.catalog.unshare(collection, group=name)


@keys_commands.command("create", cls=Verb)
def create_key(name: str, *, days: Annotated[int | None, typer.Option(min=1)] = None, as_json: AsJson = False) -> None:
    """Make an API key; it is shown here and never again."""
    with _session() as session:
        key = session.keys.create(name, days)
        _tell(asdict(key), key.secret, as_json=as_json)


@keys_commands.command("list", cls=Verb)
def list_keys(*, as_json: AsJson = False) -> None:
    """List your API keys that still hold."""
    with _session() as session:
        found = session.keys.list()
        text = "\n".join(f"{key.id}  {key.expires:%Y-%m-%d}  {key.name}" for key in found) or "no keys"
        _tell([{**asdict(key), "secret": None} for key in found], text, as_json=as_json)


@keys_commands.command("revoke", cls=Verb)
def revoke_key(key_id: str) -> None:
    """End an API key at once."""
    with _session() as session:
        session.keys.revoke(key_id)
        typer.echo("revoked")


def _job_ids(session: RsClient) -> list[str]:
    return [job.id for job in session.jobs(20)]


def _complete(values: Any) -> list[str]:
    """What a shell offers; nothing when the platform cannot be asked."""
    from rs_client.errors import RsError

    try:
        with _session() as session:
            found: list[str] = values(session)
    except RsError:
        return []
    return found
