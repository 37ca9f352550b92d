"""Public JSON schemas (STAC and its extensions, OGC API – Processes) for checking answers, with or without a network.

The folder is named by ``RSPY_TEST_SCHEMAS``, else it is ``../shared/schemas`` beside the checkout; a schema's address
without its scheme is its path in there. Where there is no folder, schemas come from where they are published; tests
that need them are skipped where neither is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft4Validator, Draft7Validator, FormatChecker
from referencing import Registry
from referencing.exceptions import NoSuchResource
from referencing.jsonschema import DRAFT4, DRAFT7

ROOT = Path(os.environ.get("RSPY_TEST_SCHEMAS") or Path(__file__).parents[2] / "shared" / "schemas")
ITEM = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
OGC = "https://schemas.opengis.net/ogcapi/processes/part1/1.0/openapi/schemas"


class _Loader(yaml.SafeLoader):
    """YAML in which a bare ``=`` is text."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


def _path(uri: str) -> Path:
    return ROOT / uri.partition("://")[2].partition("#")[0]


@cache  # reading schemas takes longer than checking answers
def _retrieve(uri: str) -> Any:
    text = _text(uri.partition("#")[0]) if "://" in uri else None
    if text is None:
        raise NoSuchResource(ref=uri)  # type: ignore[call-arg]  # made by attrs
    if uri.endswith(".yaml"):
        return DRAFT4.create_resource(yaml.load(text, _Loader))
    return DRAFT7.create_resource(json.loads(text))


@cache
def _text(uri: str) -> str | None:
    """A schema, or None if it is not where schemas come from; skips the test where none come from anywhere."""
    if ROOT.is_dir():
        return _path(uri).read_text() if _path(uri).is_file() else None
    try:
        answer = httpx.get(uri, follow_redirects=True, timeout=10)
    except httpx.TransportError as error:
        pytest.skip(f"no schemas in {ROOT} (RSPY_TEST_SCHEMAS names their folder), and none from the network: {error}")
    return answer.text if answer.is_success else None


def faults(document: Any, uri: str) -> list[str]:
    """What is wrong with a document by one schema; skips the test where the schemas cannot be had."""
    return [
        f"{uri}: {'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(uri).iter_errors(document)
    ]


@cache
def _validator(uri: str) -> Any:
    kind = Draft4Validator if uri.endswith(".yaml") else Draft7Validator
    registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # made by attrs
    return kind({"$ref": uri}, registry=registry, format_checker=_formats())


def _formats() -> FormatChecker:
    """Those of jsonschema; an IRI of ASCII alone is checked as the URI that it is, a thousand times faster."""
    checker = FormatChecker()
    known = dict(checker.checkers)
    for iri, uri in (("iri", "uri"), ("iri-reference", "uri-reference")):
        (any_iri, raised), (plain, _) = known[iri], known[uri]
        known[iri] = (partial(_is_iri, any_iri, plain), raised)
    checker.checkers = known
    return checker


def _is_iri(any_iri: Callable[[object], bool], plain: Callable[[object], bool], value: object) -> bool:
    return plain(value) if isinstance(value, str) and value.isascii() else any_iri(value)


def item_faults(item: dict[str, Any]) -> list[str]:
    """What is wrong with a STAC item by the core schema and those of the extensions that it names."""
    served = dict(item)
    if item.get("collection") and not any(link["rel"] == "collection" for link in item["links"]):
        # the catalog adds this link when it serves the item
        served["links"] = [*item["links"], {"rel": "collection", "href": "https://server/collections/x"}]
    known = [uri for uri in item["stac_extensions"] if _text(uri) is not None]
    return [fault for uri in [ITEM, *known] for fault in faults(served, uri)]


def ogc_faults(document: Any, name: str) -> list[str]:
    """What is wrong with a document by one schema of OGC API – Processes, e.g. ``statusInfo``."""
    return faults(document, f"{OGC}/{name}.yaml")
