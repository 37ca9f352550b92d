"""The client that everybody uses: pystac-client against a served application."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from pystac import Item
from pystac_client import Client
from pystac_client.exceptions import APIError

from rs_server.settings import Settings
from rs_server.stations.app import create_app
from rs_server.stations.client import open_stations
from rs_server.stations.kinds import KINDS
from tests.unit.stations.far import CALLERS, SESSION, FarSide, demo

PATIENCE_S = 20.0


@contextmanager
def _served(far: FarSide) -> Iterator[str]:
    """A server with nothing but the station services; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
            async with open_stations(demo(), public_url=url, transport=far) as stations:
                yield {"stations": stations, "authenticator": CALLERS}

        app = FastAPI(lifespan=lifespan)
        for kind in KINDS.values():
            app.mount(f"/{kind.name}", create_app(kind, Settings(public_url=url, secret=SecretStr("s"))))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        end = time.monotonic() + PATIENCE_S
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with _served(FarSide()) as address:
        yield address


def _open(url: str, service: str, login: str = "alice") -> Client:
    return Client.open(f"{url}/{service}", headers={"x-login": login})


def test_browse(url: str) -> None:
    client = _open(url, "cadip")
    assert client.title == "CADU Interface delivery Point"
    (collection,) = client.get_collections()
    assert collection.id == "s1-sgs"
    item = collection.get_item(SESSION)
    assert isinstance(item, Item)
    assert len(item.assets) == 38
    assert [each.id for each in collection.get_items()] == [SESSION]
    assert "cadip:num_channels" in client.get_merged_queryables(["s1-sgs"])["properties"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_pages(url: str, method: str) -> None:
    client = _open(url, "auxip")
    pages = list(client.search(method=method, limit=3, sortby="-properties.published").pages())
    assert [len(page.items) for page in pages] == [3, 3, 1]
    ids = [item.id for page in pages for item in page.items]
    assert len(set(ids)) == 7
    whole = [item.id for item in client.search(method=method, limit=100).items()]
    assert ids == whole


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_filters(url: str, method: str) -> None:
    client = _open(url, "auxip")
    found = client.search(
        method=method,
        collections=["s1-aux"],
        datetime="2024-11-14/2024-11-15",
        filter="\"product:type\" = 'AUX_RESORB' and published > TIMESTAMP('2024-11-14T15:00:00Z')",
        fields=["id", "properties.published"],
    )
    assert len(list(found.items_as_dicts())) == 2
    as_json = {"op": "=", "args": [{"property": "product:type"}, "AUX_CAL"]}
    assert len(list(client.search(method=method, filter=as_json).items())) == 1
    assert list(client.search(method=method, bbox=[0, 0, 1, 1]).items()) == []


def test_errors_and_access(url: str) -> None:
    with pytest.raises(APIError, match="colour"):
        list(_open(url, "auxip").search(filter="colour = 'red'").items())
    assert list(_open(url, "cadip", "eve").get_collections()) == []
    with pytest.raises(APIError, match="login"):
        Client.open(f"{url}/cadip")
