"""The public validators, pystac-client and random requests against the catalog, as an owner and as a reader."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pystac_client
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from tests import validators
from tests.conftest import Platform
from tests.integration.callers import Callers, calling, collection, item
from tests.integration.jobs import s3
from tests.schemas import item_faults

RUN = uuid4().hex[:8]
OWNER, READER = f"owner{RUN}", f"reader{RUN}"
FULL, OTHER = f"{OWNER}_valid", f"{OWNER}_written"
BUCKET = "rs-data"
ROLES = {OWNER: (), READER: (f"rs_catalog_{OWNER}:valid_read",)}
AREA = json.dumps({"type": "Polygon", "coordinates": [[[95, 0], [105, 0], [105, 20], [95, 20], [95, 0]]]})
ITEMS = 30
EXAMPLES = 5

# The item that stac-api-validator writes: it first deletes the one that is there, and lays its asset at that host.
WRITTEN = "S2A_47XNF_20230423_0_L2A"
TILES = "sentinel-cogs.s3.us-west-2.amazonaws.com"
EXPECTED = frozenset({200, 201, 204, 302, 400, 403, 404, 405, 409, 412, 413})


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    with calling(platform, catalog={"asset_hosts": [TILES]}) as callers:
        summaries = {"platform": ["sentinel-1a"], "constellation": ["sentinel-1"]}
        for full in (FULL, OTHER):
            made = callers.ask(OWNER, "POST", "/catalog/collections", json=collection(full, summaries=summaries))
            assert made.status_code == 201, made.text
        items = {each["id"]: each for each in _items(random.Random(1))}
        for each in items:
            s3(platform).put_object(Bucket=BUCKET, Key=f"{OWNER}/valid/{each}/quicklook.png", Body=b"png")
        made = callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/bulk_items", json={"items": items})
        assert made.status_code == 200, made.text
        made = callers.ask(OWNER, "POST", f"/catalog/collections/{OTHER}/items", json=item(WRITTEN, OTHER))
        assert made.status_code == 201, made.text
        yield callers
        for full in (FULL, OTHER):
            callers.ask(OWNER, "DELETE", f"/catalog/collections/{full}?force=true")


def _items(chosen: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(ITEMS):
        west, south = (chosen.uniform(90, 110), chosen.uniform(-5, 25)) if number else (20.0, 20.0)
        ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
        properties = {
            "datetime": f"2024-01-{number % 28 + 1:02}T00:00:00Z",
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "description": "an item to be valid",
        }
        place = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, south, west + 1, south + 1]}
        href = f"s3://{BUCKET}/{OWNER}/valid/v{number}/quicklook.png"
        asset = {"href": href, "type": "image/png", "title": "Quicklook", "roles": ["overview"]}
        yield item(f"v{number}", FULL, properties=properties, assets={"quicklook": asset}, **place)


def _headers(callers: Callers, who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {callers.issuer.token(who, ROLES[who])}"}


@pytest.mark.filterwarnings("ignore")  # the validators' own
@pytest.mark.parametrize("who", ROLES)
def test_validators_find_nothing(callers: Callers, who: str) -> None:
    """stac-api-validator, and stac-check within it; transactions by the owner, into a collection of their own."""
    url, into = f"{callers.url}/catalog/", OTHER if who == OWNER else None
    warnings, faults = validators.complaints(url, FULL, AREA, _headers(callers, who), into=into)
    assert [*faults, *warnings] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("who", ROLES)
def test_pystac_client_finds_all(callers: Callers, who: str) -> None:
    with validators.offline():
        client = pystac_client.Client.open(f"{callers.url}/catalog/", headers=_headers(callers, who))
        assert FULL in [each.id for each in client.get_collections()]
        found = client.search(collections=[FULL], limit=7, sortby="-properties.datetime")
        assert found.matched() == ITEMS
        items = list(found.items())
        assert len({each.id for each in items}) == ITEMS
        moments = [str(each.datetime) for each in items]
        assert moments == sorted(moments, reverse=True)
        assert [item_faults(each.to_dict()) for each in items[:3]] == [[]] * 3
        assert client.search(ids=["v3"]).matched() == 1
        text = "platform = 'sentinel-1a' AND datetime > TIMESTAMP('2024-01-15T00:00:00Z')"
        assert client.search(filter=text, filter_lang="cql2-text", method="GET").matched() == 13
    for words, matched in (("valid", ITEMS), ("absent", 0)):
        found_by_text = callers.ask(who, "GET", f"/catalog/search?q={words}", roles=ROLES[who])
        assert found_by_text.json()["numberMatched"] == matched


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("who", ROLES)
def test_no_request_is_answered_by_an_error_of_ours(callers: Callers, who: str) -> None:
    """Requests made up from the OpenAPI description: none is answered by 500, each refusal says what is wrong."""
    url, headers = f"{callers.url}/catalog", _headers(callers, who)
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/api", headers=headers, trust_env=False).json())
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def answered(case: schemathesis.Case[Any]) -> None:
            answer = case.call(base_url=url, headers=headers, allow_redirects=False)
            assert answer.status_code in EXPECTED, (case.method, case.path, case.query, case.body, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0] == "application/problem+json"

        answered()
