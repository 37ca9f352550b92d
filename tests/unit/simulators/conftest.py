"""Stations in this process, and clients that talk HTTP to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from rs_server.simulators.app import TOKEN_PATH, create_app
from rs_server.simulators.settings import SimulatorSettings

ADMIN = {"Authorization": "Bearer admin-token"}
FORM = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"}


class Open(Protocol):
    """Opens a client of a new station; ``token=False``: one that has not logged in."""

    def __call__(
        self, kind: str, *, token: bool = True, **settings: Any
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


def settings(kind: str, **changes: Any) -> SimulatorSettings:
    values = {
        "kind": kind,
        "port": 1,
        "client_id": "client",
        "client_secret": "client-secret",
        "admin_token": "admin-token",
        "scale": 0.0005 if kind == "cadip" else 1e-7,
    }
    return SimulatorSettings.model_validate(values | changes)


@pytest.fixture
def station(tmp_path: Path) -> Open:
    @asynccontextmanager
    async def opened(kind: str, *, token: bool = True, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings(kind, state_dir=tmp_path / "state", **changes))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://station") as client:
            if token:
                answer = await client.post(TOKEN_PATH, data=FORM)
                client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield client

    return opened


@pytest.fixture
async def cadip(station: Open) -> AsyncIterator[httpx.AsyncClient]:
    async with station("cadip") as client:
        yield client


@pytest.fixture
async def auxip(station: Open) -> AsyncIterator[httpx.AsyncClient]:
    async with station("auxip") as client:
        yield client
