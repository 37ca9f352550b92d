"""Which fields of an item a search answers with, after the fields extension of STAC API 1.0.0.

Fields that are included are the only ones. Excluded alone, they are left out of all; excluded beside an empty list of
included ones, out of the few that make a valid item, which are also what an empty object asks for.
"""

from __future__ import annotations

from typing import Any

import orjson
from stac_fastapi.extensions.fields.request import PostFieldsExtension
from stac_fastapi.pgstac.utils import exclude_fields, include_fields

# Without its times an item is none, nor without its collection where a link leads to it.
_BASIC = frozenset(
    {
        "type",
        "stac_version",
        "id",
        "collection",
        "geometry",
        "bbox",
        "links",
        "assets",
        "properties.datetime",
        "properties.start_datetime",
        "properties.end_datetime",
    }
)


def chosen(items: list[dict[str, Any]], fields: PostFieldsExtension | None) -> list[dict[str, Any]]:
    """The items with the fields asked for; None: all of them."""
    if fields is None:
        return items
    included, excluded = _sets(fields)
    if not included and not excluded:
        return items
    return [_cut(item, included, excluded) for item in items]


def _sets(fields: PostFieldsExtension) -> tuple[frozenset[str], frozenset[str]]:
    included, excluded = frozenset(fields.include or ()), frozenset(fields.exclude or ())
    if included or (excluded and "include" not in fields.model_fields_set):
        return included, excluded
    return _BASIC, excluded


def _cut(item: dict[str, Any], included: frozenset[str], excluded: frozenset[str]) -> dict[str, Any]:
    whole: dict[str, Any] = orjson.loads(orjson.dumps(item))  # its geometry is the database's text until now
    cut: dict[str, Any] = include_fields(whole, set(included))
    exclude_fields(cut, set(excluded))
    return cut
