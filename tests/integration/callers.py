"""A server in this process on the installation's database, reached by callers who hold just what a test says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import yaml

from tests.conftest import Platform
from tests.identity import Issuer
from tests.serving import issuing, serving

SHOW = {"Prefer": "return=representation"}  # the changed item in the answer


class Callers:
    """Sends requests as whoever a test wants; all of them have a token of the test's own identity provider."""

    def __init__(self, url: str, issuer: Issuer, dsn: str) -> None:
        self.url = url
        self.issuer = issuer
        self.dsn = dsn
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        *,
        roles: Iterable[str] = (),
        groups: Iterable[str] = (),
        **content: Any,
    ) -> httpx.Response:
        """One request of ``who`` with these roles and groups."""
        token = self.issuer.token(who, roles, groups=list(groups))
        headers = {"Authorization": f"Bearer {token}"} | content.pop("headers", {})
        return self.http.request(method, path, headers=headers, **content)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            return conn.execute(query, values).fetchall()


@contextmanager
def calling(platform: Platform, *, limits: dict[str, Any] | None = None, **changes: Any) -> Iterator[Callers]:
    """Serve with the installation's settings, the test's own issuer, no stations, and some changes.

    ``limits`` are settings of access, e.g. ``requests_per_s``.
    """
    issuer = Issuer()
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    with issuing(issuer) as access:
        limited = {"requests_at_once": 1_000_000, **(limits or {})}  # a test asks as fast as it can
        settings = {**values, "access": {**access, **limited}, "stations": {}, **changes}
        with serving(settings) as url:
            callers = Callers(url, issuer, values["database"]["dsn"])
            yield callers
            callers.http.close()


def collection(full: str, **changes: Any) -> dict[str, Any]:
    """A small valid collection."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    same = {"type": "Collection", "stac_version": "1.1.0", "license": "other", "links": [], "extent": extent}
    return {**same, "id": full, "description": full, **changes}


def item(item_id: str, full: str, **changes: Any) -> dict[str, Any]:
    """A small valid item."""
    same = {"type": "Feature", "stac_version": "1.1.0", "stac_extensions": [], "assets": {}, "links": []}
    place = {"geometry": {"type": "Point", "coordinates": [1, 2]}, "bbox": [1, 2, 1, 2]}
    when = {"properties": {"datetime": "2024-01-01T00:00:00Z"}}
    return {**same, **place, **when, "id": item_id, "collection": full, **changes}
