"""The client's verbs against a running installation: what one stages, follows, opens, pictures, shares and repeats."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask.config
import dask_gateway  # type: ignore[import-untyped]  # noqa: F401 - its defaults, below what is set here
import httpx
import numpy as np
import pystac
import pytest
import xarray as xr
import yaml
from obstore.store import S3Store
from zarr.storage import ObjectStore

import rs_client
from rs_client import NotFound, RsClient, connect, relay
from rs_client.auth import ApiKey, DeviceLogin, ServiceAccount
from rs_client.cluster import open_cluster
from rs_client.http import Http
from rs_client.jobs import Job
from rs_client.relay import Key
from rs_client.settings import Settings
from rs_client.stac import Search
from rs_client.storage import Storage
from rs_client.tokenstore import FileStore
from rs_platform.access import known_site
from rs_platform.installation import Installation
from tests.conftest import RS
from tests.integration.jobs import SESSION, settings, some_collection
from tests.integration.test_client import session
from tests.integration.test_hub import LoopbackTransport

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "shared-item",
    "geometry": None,
    "properties": {"datetime": "2024-11-14T00:00:00Z"},
    "links": [],
    "assets": {},
}


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[RsClient]:
    with session(platform, "alice") as opened:
        yield opened


@pytest.fixture(scope="module")
def bob(platform: Any) -> Iterator[RsClient]:
    with session(platform, "bob") as opened:
        yield opened


@pytest.fixture
def collection(alice: RsClient) -> Iterator[str]:
    """A collection of alice's, gone afterwards."""
    name = some_collection()
    yield alice.catalog.ensure(name).id
    alice.catalog.remove_collection(f"alice_{name}", with_items=True)


def test_words_find_what_filters_find(alice: RsClient) -> None:
    for parameters in (
        {"station": "sgs", "platform": "sentinel-1a"},
        {"orbit": [56552, 1]},
        {"filter": "platform = 'sentinel-1a'", "orbit": 56552},
    ):
        assert [item.id for item in alice.cadip.search(**parameters).items()] == [SESSION]
    assert list(alice.cadip.search(orbit=1).items()) == []
    with pytest.raises(rs_client.Invalid, match="no station moon"):
        alice.cadip.search(station="moon")


@pytest.mark.parametrize(
    "parameters",
    [
        {"ids": [SESSION]},
        {"platform": "sentinel-1a", "datetime": "2024-11-14", "max_items": 5},
        {"filter": "platform = 'sentinel-1a'", "collections": ["s1-sgs"]},
        {"filter": {"op": ">", "args": [{"property": "sat:absolute_orbit"}, 5]}, "limit": 7},
    ],
)
def test_code_brings_back_what_is_shown(alice: RsClient, parameters: dict[str, Any]) -> None:
    hits = alice.cadip.search(**parameters)
    names: dict[str, Any] = {"session": alice}
    exec(rs_client.code(hits).replace("rs_client.connect()", "session"), names)
    again: Search = names["hits"]
    assert [item.to_dict() for item in again.items()] == [item.to_dict() for item in hits.items()] != []


def test_a_collection_is_shared_and_taken_back(alice: RsClient, bob: RsClient, collection: str) -> None:
    alice.catalog.get_collection(collection).create_item({**ITEM, "collection": collection})
    with pytest.raises(NotFound):
        bob.catalog.item(collection, "shared-item")
    end = datetime.now(UTC) + timedelta(days=1)
    readers = alice.catalog.share(collection, users="bob", rights=["read"], until=end)
    assert [(reader.name, reader.kind, reader.rights) for reader in readers] == [("bob", "user", ("read",))]
    assert readers[0].until is not None
    assert abs(readers[0].until - end) < timedelta(seconds=1)
    assert bob.catalog.item(collection, "shared-item").id == "shared-item"
    with pytest.raises(rs_client.Forbidden):
        bob.catalog.share(collection, users="bob", rights=["write"])
    alice.catalog.unshare(collection, user="bob")
    assert alice.catalog.readers(collection) == []
    with pytest.raises(NotFound):
        bob.catalog.item(collection, "shared-item")


def fill(page: httpx.Response, person: httpx.Client, **fields: str) -> httpx.Response:
    """Send the form of a page of Keycloak's."""
    found = re.search(r'\saction="([^"]+)"', page.text)
    assert found, page.text[:2000]
    hidden = re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.text)
    return person.post(str(page.url.join(html.unescape(found[1]))), data={**dict(hidden), **fields})


def approve(line: str, user: str, password: str) -> None:
    """A person at the browser: opens the address of a device login, logs in, and lets the client in."""
    url = re.search(r"https?://\S+", line)
    assert url
    with httpx.Client(follow_redirects=True, timeout=60, transport=LoopbackTransport()) as person:
        page = fill(person.get(url[0]), person, username=user, password=password, credentialId="")
        page = fill(page, person, accept="Yes")
        assert "Device Login Successful" in page.text, page.text[:2000]


@pytest.fixture(scope="module")
def at_home(platform: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RsClient, FileStore]]:
    """Alice on her laptop: logged in in the browser, and where that login is kept."""
    store = FileStore(tmp_path_factory.mktemp("state") / "login.json")
    issuer = known_site(Installation(platform.home)).issuer
    password = platform.password("alice")
    login = DeviceLogin(issuer, store, say=lambda line: approve(line, "alice", password))
    with connect(platform.url("rs-server"), auth=login) as opened:
        yield opened, store


def test_a_login_in_the_browser_is_kept_and_renewed(platform: Any, at_home: tuple[RsClient, FileStore]) -> None:
    opened, store = at_home
    assert opened.whoami().login == "alice"
    kept = store.load()
    assert kept.refresh_token

    def nobody(line: str) -> None:
        raise AssertionError(f"a person was asked again: {line}")

    issuer = known_site(Installation(platform.home)).issuer
    later = DeviceLogin(issuer, store, say=nobody, clock=lambda: time.time() + kept.life_s)
    with connect(platform.url("rs-server"), auth=later) as again:
        assert again.whoami().login == "alice"
    assert store.load().access_token != kept.access_token


def test_keys_are_made_used_and_revoked(alice: RsClient, at_home: tuple[RsClient, FileStore]) -> None:
    opened, _ = at_home
    with pytest.raises(rs_client.Forbidden, match="log in to make a key"):
        alice.keys.create("by a key")
    made = opened.keys.create("test of the client", days=1)
    with connect(opened.server_url, auth=ApiKey(made.secret)) as script:
        assert script.whoami().login == "alice"
    assert made.id in [key.id for key in opened.keys.list()]
    opened.keys.revoke(made.id)
    with connect(opened.server_url, auth=ApiKey(made.secret)) as script, pytest.raises(rs_client.NotAuthenticated):
        script.whoami()


def test_a_service_account_gets_in(platform: Any) -> None:
    site = known_site(Installation(platform.home))
    account = ServiceAccount(site.issuer, "rs-platform", site.secrets.platform_client_secret)
    with connect(platform.url("rs-server"), auth=account) as chain:
        assert chain.whoami().login == "service-account-rs-platform"


class TestStaging:
    def test_it_is_followed_by_events_and_says_the_end(self, alice: RsClient) -> None:
        name = some_collection()
        asked: list[str] = []
        hooked = httpx.Client(timeout=60, event_hooks={"request": [lambda request: asked.append(request.url.path)]})
        with RsClient(Http(alice.server_url, alice.http.auth, hooked)) as watching:
            job = watching.cadip.search(ids=[SESSION]).stage(to=name)
            asked.clear()
            job.wait(timeout=120)
            assert asked == [f"/jobs/{job.id}/events"]
            assert [item.id for item in job.items] == [SESSION]
            assert job.last_seen.percent == 100
        alice.catalog.remove_collection(f"alice_{name}", with_items=True)

    def test_who_leaves_comes_back(self, alice: RsClient) -> None:
        name = some_collection()
        job = alice.cadip.search(ids=[SESSION]).stage(to=name)
        with pytest.raises(rs_client.Timeout, match="still"):
            Job(alice, {**_document(alice, job.id), "status": "running"}).wait(timeout=0)
        assert alice.job(job.id).wait(timeout=120).items[0].id == SESSION
        assert job.id in [each.id for each in alice.jobs()]
        alice.catalog.remove_collection(f"alice_{name}", with_items=True)


def _document(session: RsClient, job: str) -> dict[str, Any]:
    document: dict[str, Any] = session.http.get(f"/jobs/{job}")
    return document


async def test_keys_with_asyncio(at_home: tuple[RsClient, FileStore]) -> None:
    opened, _ = at_home
    async with await rs_client.connect_async(opened.server_url, auth=opened.http.auth) as alice:
        made = await alice.keys.create("test of asyncio", days=1)
        async with await rs_client.connect_async(opened.server_url, auth=ApiKey(made.secret)) as script:
            assert (await script.whoami()).login == "alice"
            with pytest.raises(rs_client.Forbidden, match="log in to make a key"):
                await script.keys.create("by a key")
        assert made.id in [key.id for key in await alice.keys.list()]
        await alice.keys.revoke(made.id)
        assert made.id not in [key.id for key in await alice.keys.list()]


async def test_a_collection_is_shared_with_asyncio(platform: Any) -> None:
    url, key = platform.env("alice")["RS_SERVER_URL"], platform.env("alice")["RS_API_KEY"]
    async with (
        await rs_client.connect_async(url, auth=ApiKey(key)) as alice,
        await rs_client.connect_async(url, auth=ApiKey(platform.env("bob")["RS_API_KEY"])) as bob,
    ):
        name = (await alice.catalog.ensure(some_collection()))["id"]
        with pytest.raises(NotFound):
            await bob.catalog.get_collection(name)
        shared = await alice.catalog.share(name, users="bob", rights=["read"])
        assert [(reader.name, reader.rights) for reader in shared] == [("bob", ("read",))]
        assert (await bob.catalog.get_collection(name))["id"] == name
        await alice.catalog.unshare(name, user="bob")
        assert await alice.catalog.readers(name) == []
        with pytest.raises(NotFound):
            await bob.catalog.get_collection(name)
        await alice.catalog.remove_collection(name)
        with pytest.raises(NotFound):
            await alice.catalog.get_collection(name)


async def test_a_plan_with_asyncio_is_the_plan_without(platform: Any, alice: RsClient) -> None:
    variables = platform.env("alice")
    async with await rs_client.connect_async(variables["RS_SERVER_URL"], auth=ApiKey(variables["RS_API_KEY"])) as again:
        assert await again.dpr.processors() == alice.dpr.processors()
        assert await again.dpr.describe("s1-l0") == alice.dpr.describe("s1-l0")
        hits = again.cadip.search(station="sgs", ids=[SESSION])
        assert [item.id for item in await hits.first()] == [SESSION]
        plan = await again.dpr.plan("s1-l0", hits, workers=2)
        assert plan.rows == alice.dpr.plan("s1-l0", alice.cadip.search(ids=[SESSION]), workers=2).rows
        assert plan.problems == []


def test_what_one_looks_at_shows_the_platform(alice: RsClient) -> None:
    assert "database up" in alice._repr_html_()
    assert "s1-sgs" in alice.cadip._repr_html_()
    assert SESSION in alice.cadip.search(ids=[SESSION])._repr_html_()
    assert "Sentinel-1 Level 0" in alice.dpr._repr_html_()
    assert "rs env" in alice.keys._repr_html_()  # the name of the key that this session shows
    assert "your jobs under way" in alice.staging._repr_html_()


async def test_the_same_with_asyncio(platform: Any) -> None:
    variables = platform.env("alice")
    auth = ApiKey(variables["RS_API_KEY"])
    async with await rs_client.connect_async(variables["RS_SERVER_URL"], auth=auth) as alice:
        who, found = await asyncio.gather(alice.whoami(), _ids(alice.cadip.search(platform="sentinel-1a")))
        assert who.login == "alice"
        assert SESSION in found
        paged = await _ids(alice.auxip.search(limit=2, max_items=5))
        assert len(set(paged)) == 5
        with pytest.raises(NotFound):
            await alice.catalog.item("alice_nothing", "x")


async def _ids(items: Any) -> list[str]:
    return [item.id async for item in items]


def test_the_command_line_speaks_for_a_pipe(platform: Any, tmp_path: Path) -> None:
    environment = {**os.environ, **platform.env("alice"), "XDG_CONFIG_HOME": str(tmp_path)}

    def rs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RS, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    found = rs("search", "cadip", "-w", "orbit=56552", "--json")
    assert [item["id"] for item in json.loads(found.stdout)["features"]] == [SESSION]
    refused = rs("jobs", "show", "00000000-0000-0000-0000-000000000000")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: there is no such job")
    environment["RS_API_KEY"] = "rsk_wrong"
    assert rs("whoami").returncode == 3


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("rs", "pro"), ["process"]),
        (("rs", "process", "s1-"), ["s1-echo", "s1-l0"]),
        (("rs", "search", "c"), ["cadip", "catalog"]),
        (("rs", "jobs", "wa"), ["wait"]),
        (("rs", "stage", "x", "--to", "COLLECTION"), ["COLLECTION"]),
        (("rs", "open", "COLLECTION"), ["COLLECTION"]),
        (("rs", "open", "COLLECTION", "sh"), ["shared-item"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_shell_completes(
    platform: Any, alice: RsClient, collection: str, words: tuple[str, ...], offered: list[str]
) -> None:
    """As bash asks for it: verbs and processors that are installed, and what the platform has of one's own."""
    alice.catalog.get_collection(collection).create_item({**ITEM, "collection": collection})
    typed = [word.replace("COLLECTION", collection) for word in words]
    asked = {"_RS_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1)}
    environment = {**os.environ, **platform.env("alice"), **asked}
    done = subprocess.run([RS], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == [word.replace("COLLECTION", collection) for word in offered], done.stderr


def test_several_threads_share_one_session(alice: RsClient) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(alice.whoami().login)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == ["alice"] * 8


def test_tokens_of_a_short_life_are_renewed_under_way(platform: Any) -> None:
    """Keycloak's own tokens, at a clock on which a second is a minute: renewed in time, and never refused."""
    site = known_site(Installation(platform.home))
    begin = time.time()
    secret = site.secrets.platform_client_secret
    account = ServiceAccount(site.issuer, "rs-platform", secret, clock=lambda: begin + (time.time() - begin) * 60)
    statuses: list[int] = []
    asked: list[str] = []
    hooks = {
        "request": [lambda request: asked.append(request.url.path)],
        "response": [lambda response: statuses.append(response.status_code)],
    }
    with httpx.Client(timeout=60, event_hooks=hooks) as client:
        http = Http(platform.url("rs-server"), account, client)
        while sum(path.endswith("/token") for path in asked) < 3:
            http.get("/auth/me")
            time.sleep(0.3)
            assert time.time() - begin < 60
    assert set(statuses) == {200}
    assert asked.count("/auth/me") > 5


class Hurried(Storage):
    """Takes each key for one that ends in a second."""

    def __init__(self, http: Http) -> None:
        super().__init__(http)
        self.asked: list[str] = []

    def key(self, collection: str, item: str) -> Key:
        key = super().key(collection, item)
        self.asked.append(key["access_key_id"])
        return {**key, "expiration": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}


VALUES = np.arange(1000, dtype=np.uint8)


@pytest.fixture
def product(platform: Any, alice: RsClient, collection: str) -> pystac.Item:
    """An item of alice's with a Zarr product of ten chunks."""
    place = settings(platform).storage
    prefix = f"alice/{collection.removeprefix('alice_')}/product/product.zarr"
    admin = S3Store(
        place.bucket,
        prefix=prefix,
        endpoint=place.endpoint,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=place.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    made = xr.Dataset({"data": ("octet", VALUES)}).chunk(octet=100)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")  # as our products are written
        xr.DataTree(made).to_zarr(ObjectStore(admin), zarr_format=3, consolidated=True)
    assets = {"product": {"href": f"s3://{place.bucket}/{prefix}", "type": "application/vnd+zarr", "roles": ["data"]}}
    alice.catalog.get_collection(collection).create_item(
        {**ITEM, "id": "product", "collection": collection, "assets": assets}
    )
    return alice.catalog.item(collection, "product")


def test_a_product_is_read_while_its_keys_change(alice: RsClient, product: pystac.Item) -> None:
    storage = Hurried(alice.http)
    data = storage.open(product).to_dataset()["data"]
    for _ in range(3):
        assert np.asarray(data).tolist() == VALUES.tolist()
        time.sleep(1.2)
    assert len(set(storage.asked)) >= 3


@pytest.mark.filterwarnings("ignore")  # what a cluster says while it closes is not ours
def test_workers_of_the_gateway_read_a_product_while_its_keys_change(
    platform: Any, alice: RsClient, product: pystac.Item
) -> None:
    """They are processes of another installation of Dask, behind the gateway's proxy and its certificates."""
    gateway = _gateway(yaml.safe_load((platform.home / "config" / "hub.yaml").read_text()))
    storage = Hurried(alice.http)
    with (
        dask.config.set(gateway),
        open_cluster(Settings(gateway=gateway["gateway.address"]), 2) as cluster,
        cluster.get_client() as client,
    ):
        data = storage.open(product).to_dataset()["data"]
        for _ in range(3):
            assert np.asarray(data).tolist() == VALUES.tolist()
            time.sleep(1.2)  # until the workers' key has ended
        asked = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.get_events(relay.TOPIC)))
    assert asked >= 2
    assert len(set(storage.asked)) >= 3


def _gateway(hub: Mapping[str, Any]) -> dict[str, Any]:
    """The gateway as the configuration of a user's server names it, with a token that may open clusters."""
    address = f"{hub['public_url']}/services/dask-gateway"
    return {
        "gateway.address": address,
        "gateway.public-address": address,
        "gateway.proxy-address": f"gateway://127.0.0.1:{hub['gateway']['scheduler_port']}",
        "gateway.auth": {"type": "jupyterhub", "kwargs": {"api_token": hub["gateway"]["dpr_token"]}},
    }


def test_products_of_the_stations_and_of_the_archive(alice: RsClient) -> None:
    fresh = alice.prip.search(product_type="IW_GRDH_1S", max_items=3).first(3)
    assert fresh
    assert {item.properties["product:type"] for item in fresh} == {"IW_GRDH_1S"}
    assert "<svg" in fresh._repr_html_()
    on_tape = next(item for item in alice.lta.search(max_items=100).items() if item.properties["rs:online"] is False)
    order = alice.lta.order(on_tape)
    assert alice.lta.order(on_tape).id == order.id
    assert order.item == on_tape.id
    assert alice.lta.order_status(order.id).id in [each.id for each in alice.lta.orders()]
    alice.lta.cancel_order(order.id)
