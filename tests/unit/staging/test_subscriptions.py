"""The search of a standing order: what its giver asked for, and newer than what was seen."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rs_server.errors import BadInput
from rs_server.staging.found import as_stored, understood
from rs_server.staging.inputs import Search
from rs_server.staging.subscriptions import _since

BEGIN = datetime(2026, 11, 25, 10, 0, 0, 500_000, tzinfo=UTC)
NEWER = {"op": ">=", "args": [{"property": "published"}, {"timestamp": "2026-11-25T10:00:00.500Z"}]}
OF_A = {"op": "=", "args": [{"property": "platform"}, "sentinel-1a"]}


@pytest.mark.parametrize(
    ("body", "filter_", "language"),
    [
        ({}, NEWER, "cql2-json"),
        ({"ids": ["A"], "filter-lang": "cql2-text"}, NEWER, "cql2-json"),
        ({"filter": OF_A, "filter-lang": "cql2-json"}, {"op": "and", "args": [OF_A, NEWER]}, "cql2-json"),
        ({"filter": json.dumps(OF_A)}, {"op": "and", "args": [OF_A, NEWER]}, None),
        (
            {"filter": "platform = 'sentinel-1a'", "filter-lang": "cql2-text"},
            "(platform = 'sentinel-1a') AND published >= TIMESTAMP('2026-11-25T10:00:00.500Z')",
            "cql2-text",
        ),
    ],
)
@pytest.mark.parametrize("service", ["cadip", "auxip"])
def test_only_what_is_newer_is_asked_for(
    service: Any, body: dict[str, Any], filter_: Any, language: str | None
) -> None:
    search = _since(Search(service=service, body=body), BEGIN)
    assert (search.body["filter"], search.body.get("filter-lang")) == (filter_, language)
    assert search.body["sortby"] == [{"field": "published", "direction": "asc"}]
    understood(search)
    as_stored(Search(service="catalog", body=search.body))


def test_a_filter_that_is_no_json_is_refused() -> None:
    with pytest.raises(BadInput, match="not CQL2 JSON"):
        _since(Search(service="cadip", body={"filter": "platform = 'sentinel-1a'"}), BEGIN)
