"""The client against a running installation: who one is, what the stations offer, and what others do not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pystac_client.exceptions import APIError

from rs_client import NotAuthenticated, NotFound, RsClient, connect
from rs_client.auth import ApiKey
from rs_client.stac import Item
from tests.integration.jobs import SESSION, caller, some_collection

ORBIT = 56552


def session(platform: Any, user: str) -> RsClient:
    """A session as the user's script opens it."""
    variables = platform.env(user)
    return connect(variables["RS_SERVER_URL"], auth=ApiKey(variables["RS_API_KEY"]))


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[RsClient]:
    with session(platform, "alice") as opened:
        yield opened


@pytest.fixture(scope="module")
def bob(platform: Any) -> Iterator[RsClient]:
    with session(platform, "bob") as opened:
        yield opened


@pytest.fixture(scope="module")
def private(platform: Any) -> Iterator[str]:
    """A collection of alice's that nobody else may read."""
    name = some_collection()
    document = {
        "id": name,
        "type": "Collection",
        "stac_version": "1.1.0",
        "description": "hers alone",
        "license": "other",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }
    client: httpx.Client
    with caller(platform, "alice") as client:
        made = client.post("/catalog/collections", json=document)
        assert made.status_code == 201, made.text
        yield f"alice_{name}"
        client.delete(f"/catalog/collections/alice_{name}")


def test_the_environment_of_a_script_is_enough(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in platform.env("alice").items():
        monkeypatch.setenv(name, value)
    for name in ("RS_TOKEN_URL", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with connect() as opened:
        me = opened.whoami()
    assert me.login == "alice"
    assert {"rs-users", "rs-producers"} <= set(me.groups)
    assert "rs_cadip_*_read" in me.roles


def test_a_wrong_key_is_refused(platform: Any) -> None:
    with connect(platform.url("rs-server"), auth=ApiKey("rsk_wrong")) as nobody, pytest.raises(NotAuthenticated):
        nobody.whoami()


class TestStations:
    def test_collections(self, alice: RsClient) -> None:
        assert "s1-sgs" in [collection.id for collection in alice.cadip.get_collections()]
        assert "s1-aux" in [collection.id for collection in alice.auxip.get_collections()]

    @pytest.mark.parametrize(
        "asked",
        [
            {"ids": [SESSION]},
            {"filter": {"op": "=", "args": [{"property": "sat:absolute_orbit"}, ORBIT]}},
            {"filter": f"\"sat:absolute_orbit\" = {ORBIT} AND platform = 'sentinel-1a'", "method": "GET"},
            {"datetime": "2024-11-14"},
        ],
    )
    def test_the_session_is_found(self, alice: RsClient, asked: dict[str, Any]) -> None:
        (found,) = alice.cadip.search(collections=["s1-sgs"], **asked).items()
        assert isinstance(found, Item)
        assert found.id == SESSION
        assert found.properties["sat:absolute_orbit"] == ORBIT
        assert found.assets

    @pytest.mark.parametrize(
        "asked",
        [
            {"ids": ["S1A_19990101000000000001"]},
            {"filter": {"op": "=", "args": [{"property": "sat:absolute_orbit"}, 1]}},
            {"datetime": "1999-01-01"},
        ],
    )
    def test_what_is_not_there_is_not_found(self, alice: RsClient, asked: dict[str, Any]) -> None:
        assert list(alice.cadip.search(collections=["s1-sgs"], **asked).items()) == []

    def test_small_pages_hold_what_one_large_page_holds(self, alice: RsClient) -> None:
        def ids(limit: int) -> list[str]:
            return [item.id for item in alice.auxip.search(collections=["s1-aux"], limit=limit).items()]

        whole = ids(100)
        assert len(whole) > 4  # so that there are three pages of two at least
        assert len(set(whole)) == len(whole)
        assert ids(2) == whole

    def test_one_item_by_its_id(self, alice: RsClient) -> None:
        assert alice.cadip.item("s1-sgs", SESSION).href.endswith(f"/cadip/collections/s1-sgs/items/{SESSION}")
        with pytest.raises(NotFound):
            alice.cadip.item("s1-sgs", "S1A_19990101000000000001")


class TestOthers:
    def test_a_collection_of_hers_is_seen_by_her(self, alice: RsClient, private: str) -> None:
        assert private in [collection.id for collection in alice.catalog.get_collections()]
        assert alice.catalog.get_collection(private).id == private

    def test_and_does_not_exist_for_others(self, bob: RsClient, private: str) -> None:
        assert private not in [collection.id for collection in bob.catalog.get_collections()]
        with pytest.raises(NotFound) as caught:
            bob.catalog.get_collection(private)
        assert isinstance(caught.value, APIError)
        assert caught.value.request_id
        with pytest.raises(NotFound):
            bob.catalog.item(private, "anything")
