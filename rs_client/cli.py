"""The client's verbs of the `rs` command, which are those of the library."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rs_client.verbs import AsJson, Verb, Wait, app, came_out, follow, offered, offered_collections, session, tell

if TYPE_CHECKING:
    from rs_client.jobs import Job
    from rs_client.keys import Key
    from rs_client.session import RsClient
    from rs_client.stac import Search, StacClient
    from rs_client.staging import StagingOptions
    from rs_client.subscriptions import Subscription

SERVICES = ("cadip", "auxip", "prip", "lta", "catalog")
_OFFERED = 20  # jobs, or items, that a shell offers

JobId = Annotated[str, typer.Argument(help="Id of a job.", autocompletion=lambda: offered(_job_ids))]
SubscriptionId = Annotated[
    str, typer.Argument(help="Id of a subscription.", autocompletion=lambda: offered(_subscription_ids))
]
KeyId = Annotated[str, typer.Argument(help="Id of a key.", autocompletion=lambda: offered(_key_ids))]
CollectionId = Annotated[str, typer.Argument(help="Collection of the catalog.", autocompletion=offered_collections)]
ServiceName = Annotated[
    str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.", autocompletion=lambda: list(SERVICES))
]
To = Annotated[
    str, typer.Option("--to", help="Collection of the catalog that it goes to.", autocompletion=offered_collections)
]
Collections = Annotated[list[str] | None, typer.Option("-c", "--collection", help="May be given again.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="May be given again.")]
Time = Annotated[str | None, typer.Option("--datetime", help="An instant, a day, or an interval a/b.")]
Box = Annotated[str | None, typer.Option("--bbox", help="west,south,east,north in degrees.")]
Where = Annotated[list[str] | None, typer.Option("-w", "--where", help="WORD=VALUE, as platform=sentinel-1a.")]
Cql = Annotated[str | None, typer.Option("--filter", help="A CQL2 text.")]
Assets = Annotated[list[str] | None, typer.Option("--asset", help="A file wanted of each item; else all.")]
Existing = Annotated[
    str | None, typer.Option("--existing", help="Items that are there: skip, replace or fail; else replace.")
]
Strict = Annotated[bool, typer.Option("--strict", help="All items or none.")]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=100, help="Among your own jobs; else 50.")]

commands = app()
jobs_commands = app(help="Look at jobs, wait for them, stop them.")
subscriptions_commands = app(help="Look at your subscriptions, end them.")
keys_commands = app(help="Make, list and revoke your API keys.")
commands.add_typer(jobs_commands, name="jobs")
commands.add_typer(subscriptions_commands, name="subscriptions")
commands.add_typer(keys_commands, name="keys")


def _service(opened: RsClient, name: str) -> StacClient:
    if name not in SERVICES:
        raise typer.BadParameter(f"there is no {name}; there are: {', '.join(SERVICES)}")
    found: StacClient = getattr(opened, name)
    return found


@commands.command(cls=Verb)
def login(
    server: Annotated[str | None, typer.Argument(help="Address of rs-server; remembered.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Log in, in the browser unless this place has another way, and say who you are."""
    import rs_client
    from rs_client.settings import Settings, remember

    with rs_client.connect(server) as opened:
        who = opened.whoami()
        if server:
            remember(Settings.here().file, opened.server_url)
        told = {"login": who.login, "server": opened.server_url}
        tell(told, f"{who.login} at {opened.server_url}", as_json=as_json)


@commands.command(cls=Verb)
def logout(*, as_json: AsJson = False) -> None:
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
    tell({"login": None}, "no login is kept here", as_json=as_json)


@commands.command(cls=Verb)
def whoami(*, as_json: AsJson = False) -> None:
    """Say who you are to the platform."""
    from rs_client.display import text_table

    with session() as opened:
        who = opened.whoami()
        roles = [("" if n else "roles", role) for n, role in enumerate(who.roles)]
        rows = [("user", who.login), ("by", who.via), ("groups", ", ".join(who.groups)), *roles]
        tell(asdict(who), text_table(("", ""), rows).lstrip("\n"), as_json=as_json)


@commands.command(cls=Verb)
def collections(service: ServiceName = "catalog", *, as_json: AsJson = False) -> None:
    """List the collections of a service that you may read."""
    with session() as opened:
        found = _service(opened, service).collections
        tell([one.to_dict(transform_hrefs=False) for one in found], repr(found), as_json=as_json)


@commands.command(cls=Verb)
def search(
    service: ServiceName,
    *,
    collection: Collections = None,
    ids: Ids = None,
    time: Time = None,
    bbox: Box = None,
    where: Where = None,
    cql: Cql = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 50,
    hrefs: Annotated[bool, typer.Option("--href", help="Addresses alone, a line each: rs stage reads them.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Print Python that does the same; search nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search a station or the catalog."""
    given = _given(collections=collection, ids=ids, datetime=time, bbox=bbox, filter=cql) | _words(where)
    with session() as opened:
        found = _service(opened, service).search(max_items=limit, **given)
        typer.echo(_found(found, limit, hrefs=hrefs, code=code, as_json=as_json))


def _given(**options: Any) -> dict[str, Any]:
    """What was said of options."""
    return {name: value for name, value in options.items() if value is not None}


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
    assets: Assets = None,
    existing: Existing = None,
    growing: Annotated[bool, typer.Option("--follow", help="Go on with sessions until they are complete.")] = False,
    strict: Strict = False,
    priority: Priority = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Bring items of a station into a collection."""
    options = _options(assets, existing, strict=strict, priority=priority, follow=growing or None)
    with session() as opened:
        follow(opened.stage(_addresses(items), to=to, **options), wait=wait, as_json=as_json)


def _options(assets: list[str] | None, existing: str | None, *, strict: bool, **more: int | None) -> StagingOptions:
    """How items are staged, as far as it was said."""
    return cast("StagingOptions", _given(assets=assets or None, existing=existing, strict=strict or None, **more))


def _addresses(items: Sequence[str]) -> list[str]:
    read = [line.strip() for line in sys.stdin] if "-" in items else []
    return [href for href in (*items, *read) if href and href != "-"]


@commands.command(cls=Verb)
def subscribe(
    service: ServiceName,
    *,
    to: To,
    collection: Collections = None,
    ids: Ids = None,
    time: Time = None,
    bbox: Box = None,
    where: Where = None,
    cql: Cql = None,
    since: Annotated[datetime | None, typer.Option(help="What is published from then on, in UTC; else now.")] = None,
    assets: Assets = None,
    existing: Existing = None,
    growing: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Go on with sessions until they are complete; else yes.")
    ] = None,
    strict: Strict = False,
    priority: Priority = None,
    as_json: AsJson = False,
) -> None:
    """Bring what a search finds into a collection, from now on: a standing order."""
    given = _given(collections=collection, ids=ids, datetime=time, bbox=bbox, filter=cql) | _words(where)
    options = _options(assets, existing, strict=strict, priority=priority, follow=growing)
    with session() as opened:
        found = _service(opened, service).search(**given)
        _tell_subscription(opened.staging.subscribe(found, to, _utc(since), **options), as_json=as_json)


def _utc(when: datetime | None) -> datetime | None:
    return when.replace(tzinfo=UTC) if when else None


def _tell_subscription(one: Subscription, *, as_json: bool) -> None:
    tell(asdict(one), repr(one), as_json=as_json)


@subscriptions_commands.command("list", cls=Verb)
def list_subscriptions(*, as_json: AsJson = False) -> None:
    """List your subscriptions, the newest first."""
    with session() as opened:
        found = opened.staging.subscriptions()
        tell([asdict(one) for one in found], repr(found) if found else "no subscriptions", as_json=as_json)


@subscriptions_commands.command("show", cls=Verb)
def show_subscription(subscription: SubscriptionId, *, as_json: AsJson = False) -> None:
    """Say how far a subscription is."""
    with session() as opened:
        _tell_subscription(opened.staging.subscription(subscription), as_json=as_json)


@subscriptions_commands.command("end", cls=Verb)
def end_subscription(subscription: SubscriptionId, *, as_json: AsJson = False) -> None:
    """End a subscription; the jobs that it has started go on."""
    with session() as opened:
        opened.staging.unsubscribe(subscription)
        tell({"ended": subscription}, "ended", as_json=as_json)


@jobs_commands.command("list", cls=Verb)
def list_jobs(
    *, limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 20, as_json: AsJson = False
) -> None:
    """List your jobs, the newest first."""
    with session() as opened:
        found = opened.jobs(limit)
        tell([_state(job) for job in found], repr(found) if found else "no jobs", as_json=as_json)


@jobs_commands.command("show", cls=Verb)
def show_job(job: JobId, *, as_json: AsJson = False) -> None:
    """Say how far a job is."""
    with session() as opened:
        found = opened.job(job)
        tell(_state(found), repr(found), as_json=as_json)


@jobs_commands.command("wait", cls=Verb)
def wait_for_job(
    job: JobId, *, timeout: Annotated[float | None, typer.Option(help="In seconds.")] = None, as_json: AsJson = False
) -> None:
    """Wait until a job is over; tell what came out."""
    with session() as opened:
        came_out(opened.job(job).wait(timeout), as_json=as_json)


@jobs_commands.command("log", cls=Verb)
def show_log(job: JobId, *, as_json: AsJson = False) -> None:
    """Show what a job has said."""
    with session() as opened:
        lines = opened.job(job).log
        tell({"job": job, "log": lines}, "\n".join(lines), as_json=as_json)


@jobs_commands.command("dismiss", cls=Verb)
def dismiss_job(job: JobId, *, as_json: AsJson = False) -> None:
    """Stop a job; what it has not published yet never will be."""
    with session() as opened:
        dismissed = opened.job(job).dismiss()
        tell(_state(dismissed), repr(dismissed), as_json=as_json)


def _state(job: Job) -> dict[str, Any]:
    return {"job": job.id, "process": job.process, **asdict(job.last_seen)}


def _item_ids(ctx: typer.Context) -> list[str]:
    collections = [str(ctx.params["collection"])]
    return offered(lambda opened: [item.id for item in opened.catalog.search(collections=collections).first(_OFFERED)])


@commands.command("open", cls=Verb)
def open_item(
    collection: CollectionId,
    item: Annotated[str, typer.Argument(help="Id of an item.", autocompletion=_item_ids)],
    *,
    quicklook: Annotated[str | None, typer.Option(help="Write a picture into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Open a product of the catalog, and say what is in it."""
    with session() as opened:
        found = opened.catalog.item(collection, item)
        tree = found.open()
        if quicklook:
            found.quicklook().save(quicklook)
        groups = {group: dict(tree[group].to_dataset().sizes) for group in tree.groups}
        tell({"item": found.id, "groups": groups}, str(tree), as_json=as_json)


@commands.command(cls=Verb)
def share(
    collection: CollectionId,
    *,
    user: Annotated[list[str] | None, typer.Option("-u", "--user", help="May be given again.")] = None,
    group: Annotated[list[str] | None, typer.Option("-g", "--group", help="May be given again.")] = None,
    right: Annotated[list[str] | None, typer.Option("-r", "--right", help="read, download or write.")] = None,
    until: Annotated[datetime | None, typer.Option(help="End of the right, in UTC.")] = None,
    revoke: Annotated[bool, typer.Option(help="Take rights back instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let users or groups use a collection of yours; without any, say who may."""
    with session() as opened:
        if revoke:
            _revoke(opened, collection, user or (), group or ())
        elif user or group:
            rights: Any = right or ("read", "download")
            opened.catalog.share(collection, users=user or (), groups=group or (), rights=rights, until=_utc(until))
        readers = opened.catalog.readers(collection)
        lines = (
            f"{each.kind} {each.name}: {', '.join(each.rights)}{f' until {each.until}' if each.until else ''}"
            for each in readers
        )
        tell([asdict(each) for each in readers], "\n".join(lines) or "nobody beside you", as_json=as_json)


def _revoke(opened: RsClient, collection: str, users: Sequence[str], groups: Sequence[str]) -> None:
    if not users and not groups:
        raise typer.BadParameter("say whose rights to take back: --user or --group")
    for name in users:
        opened.catalog.unshare(collection, user=name)
    for name in groups:
        opened.catalog.unshare(collection, group=name)


@keys_commands.command("create", cls=Verb)
def create_key(name: str, *, days: Annotated[int | None, typer.Option(min=1)] = None, as_json: AsJson = False) -> None:
    """Make an API key; it is shown here and never again."""
    with session() as opened:
        key = opened.keys.create(name, days)
        tell(asdict(key), key.secret, as_json=as_json)


@keys_commands.command("list", cls=Verb)
def list_keys(*, as_json: AsJson = False) -> None:
    """List your API keys that still hold."""
    with session() as opened:
        found = opened.keys.list()
        text = "\n".join(f"{key.id}  {_day(key)}  {key.name}" for key in found) or "no keys"
        tell([{**asdict(key), "secret": None} for key in found], text, as_json=as_json)


def _day(key: Key) -> str:
    """When a key ends, in the width of a day."""
    return f"{key.expires:%Y-%m-%d}" if key.expires else "no end    "


@keys_commands.command("revoke", cls=Verb)
def revoke_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """End an API key at once."""
    with session() as opened:
        opened.keys.revoke(key_id)
        tell({"revoked": key_id}, "revoked", as_json=as_json)


def _job_ids(opened: RsClient) -> list[str]:
    return [job.id for job in opened.jobs(_OFFERED)]


def _subscription_ids(opened: RsClient) -> list[str]:
    return [one.id for one in opened.staging.subscriptions() if one.ended is None]


def _key_ids(opened: RsClient) -> list[str]:
    return [key.id for key in opened.keys.list()]
