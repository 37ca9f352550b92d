"""Fixtures of the tests that work on running services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import Platform, new_platform


@pytest.fixture(scope="module")
def small_platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """An installation with a few services, for tests that stop and kill: nobody else works on it."""
    yield from new_platform(request, "postgres", "s3", "cadip-station", "dask-gateway")


@pytest.fixture(scope="module")
def values(platform: Platform) -> dict[str, Any]:
    """The server's settings file, to start another server with."""
    found: dict[str, Any] = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def server(platform: Platform) -> Iterator[httpx.Client]:
    """The running server, before anybody has logged in."""
    with httpx.Client(base_url=platform.url("rs-server"), timeout=60, trust_env=False) as client:
        yield client
