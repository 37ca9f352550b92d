"""Subscriptions in the client and on the command line, against a running installation: what is published is staged."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import rs_client
from rs_client import NotFound, RsClient
from rs_client.auth import ApiKey
from rs_client.subscriptions import Subscription
from tests.conftest import RS
from tests.integration.jobs import some_collection
from tests.integration.test_client import session

STATION, KIND = "adgs", "AUX_CAL"  # what the simulated station publishes when it is told to
WITHIN_S = 60


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
    """A name of alice's; what was subscribed to for it is ended afterwards, and what came of it removed."""
    name = some_collection()
    full = f"alice_{name}"
    yield name
    for one in alice.staging.subscriptions():
        if one.to == full and one.ended is None:
            alice.staging.unsubscribe(one.id)
    if full in [each.id for each in alice.catalog.get_collections()]:
        alice.catalog.remove_collection(full, with_items=True)


def with_items(alice: RsClient, subscription: str, count: int) -> Subscription:
    """The subscription once it has found so many items, and a job was started for all of them."""
    end = time.monotonic() + WITHIN_S
    while (one := alice.staging.subscription(subscription)).items < count or not one.jobs:
        assert time.monotonic() < end, one
        time.sleep(0.5)
    return one


def ids(alice: RsClient, collection: str) -> set[str]:
    return {item.id for item in alice.catalog.search(collections=[f"alice_{collection}"]).items()}


@pytest.mark.timeout(180)
def test_what_is_published_is_staged_until_one_unsubscribes(
    platform: Any, alice: RsClient, bob: RsClient, collection: str
) -> None:
    wanted = alice.auxip.search(station=STATION, product_type=KIND)
    before = {item.id for item in wanted.items()}
    made = alice.staging.subscribe(wanted, to=collection, priority=60)
    assert (made.owner, made.service, made.to, made.items) == ("alice", "auxip", f"alice_{collection}", 0)
    assert (made.options["priority"], made.options["follow"], made.state) == (60, True, "standing")
    assert alice.staging.subscribe(wanted, to=collection, priority=60).id == made.id

    platform.rs("station", "publish", STATION, "--count", "2")
    found = with_items(alice, made.id, 2)
    new = {item.id for item in wanted.items()} - before
    assert len(new) == 2
    end = time.monotonic() + WITHIN_S
    while f"alice_{collection}" not in [each.id for each in alice.catalog.get_collections()] or not (
        new <= ids(alice, collection)
    ):
        assert time.monotonic() < end, "they were not staged"
        time.sleep(0.5)
    assert ids(alice, collection) == new
    assert found.looked is not None
    assert made.since <= found.cursor

    assert found.id in [one.id for one in alice.staging.subscriptions()]
    assert made.id not in [one.id for one in bob.staging.subscriptions()]
    for look in (bob.staging.subscription, bob.staging.unsubscribe):
        with pytest.raises(NotFound, match="no subscription"):
            look(made.id)

    alice.staging.unsubscribe(made.id)
    over = alice.staging.subscription(made.id)
    assert over.state == "ended"
    assert over.ended is not None
    again = alice.staging.subscribe(wanted, to=collection, priority=60)
    assert again.id != made.id


def test_a_search_and_its_address_are_the_same(alice: RsClient, collection: str) -> None:
    made = alice.staging.subscribe(alice.cadip.search(filter="platform = 'sentinel-1a'", ids=["a", "b"]), collection)
    address = "/cadip/search?filter=platform%20%3D%20%27sentinel-1a%27&ids=a,b&limit=3"
    assert alice.staging.subscribe({"href": address}, collection).id == made.id
    stated = {"ids": ["a", "b"], "filter": "platform = 'sentinel-1a'", "filter-lang": "cql2-text"}
    assert alice.staging.subscribe({"service": "cadip", "search": stated}, collection).id == made.id
    elsewhere = alice.server_url.replace("127.0.0.1", "localhost")  # not the name that the server calls itself by
    with rs_client.connect(elsewhere, auth=alice.http.auth) as other:
        assert other.staging.subscribe(f"{alice.server_url}{address}", collection).id == made.id
        with pytest.raises(rs_client.Invalid, match="not an address of"):
            other.staging.subscribe(f"http://rs.example.org{address}", collection)
    by_collection = alice.staging.subscribe("/cadip/collections/s1-sgs/items?ids=a", collection)
    assert alice.staging.subscribe(alice.cadip.search(station="sgs", ids="a"), collection).id == by_collection.id


async def test_the_same_with_asyncio(platform: Any, alice: RsClient, collection: str) -> None:
    variables = platform.env("alice")
    async with await rs_client.connect_async(variables["RS_SERVER_URL"], auth=ApiKey(variables["RS_API_KEY"])) as again:
        made = await again.staging.subscribe(again.cadip.search(station="sgs", ids=["none"]), collection, follow=False)
        assert made.options["follow"] is False
        other = alice.staging.subscribe(alice.cadip.search(station="sgs", ids=["none"]), collection, follow=False)
        assert other.id == made.id
        assert made.id in [one.id for one in await again.staging.subscriptions()]
        await again.staging.unsubscribe(made.id)
        assert (await again.staging.subscription(made.id)).state == "ended"


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("/moon/search", {}, rs_client.Invalid, "service"),
    ("/cadip/search?fly=1", {}, rs_client.Invalid, "fly"),
    (
        {"service": "cadip", "search": {"filter": {"op": "=", "args": [{"property": "fly"}, 1]}}},
        {},
        rs_client.Invalid,
        "fly",
    ),
    ("/cadip/search", {"since": datetime(2026, 1, 1)}, rs_client.Invalid, "since"),  # noqa: DTZ001 - no time zone
    ("/cadip/search", {"existing": "keep"}, rs_client.Invalid, "existing"),
    ("/cadip/search", {"to": "bob:x"}, rs_client.Forbidden, "may not write"),
    ("/cadip/search", {"to": ""}, rs_client.Invalid, "collection"),
    ("/cadip/collections/moon/items", {}, NotFound, "no collection"),
]


@pytest.mark.parametrize(("search", "given", "kind", "said"), WRONG)
def test_what_is_wrong_is_told(
    alice: RsClient, search: Any, given: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        alice.staging.subscribe(search, **{"to": "t", **given})


def test_the_command_line(platform: Any, alice: RsClient, collection: str, tmp_path: Path) -> None:
    environment = {**os.environ, **platform.env("alice"), "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "200"}

    def rs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RS, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    search = ("-c", "s1-sgs", "-w", "platform=sentinel-1a", "--since", "2026-11-26T10:00:00")
    made = json.loads(rs("subscribe", "cadip", *search, "--to", collection, "--json").stdout)
    assert (made["to"], made["since"]) == (f"alice_{collection}", "2026-11-26 10:00:00+00:00")
    assert alice.staging.subscription(made["id"]).search == made["search"]
    assert made["id"] in [one["id"] for one in json.loads(rs("subscriptions", "list", "--json").stdout)]
    assert f"→ alice_{collection} · standing" in rs("subscriptions", "show", made["id"]).stdout
    assert rs("subscriptions", "end", made["id"]).stdout == "ended\n"
    assert json.loads(rs("subscriptions", "show", made["id"], "--json").stdout)["ended"]
    unknown = rs("subscriptions", "end", "00000000-0000-0000-0000-000000000000")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("error: there is no subscription")
