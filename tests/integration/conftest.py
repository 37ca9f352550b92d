"""Fixtures of the tests that work on running services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Platform, new_platform


@pytest.fixture(scope="module")
def small_platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """An installation with a few services, for tests that stop and kill: nobody else works on it."""
    yield from new_platform(request, "postgres", "s3", "cadip-station", "dask-gateway")
