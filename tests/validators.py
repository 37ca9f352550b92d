"""The public STAC validators, fed with the offline schemas where these are installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pystac
import requests
from pystac.stac_io import DefaultStacIO
from requests.adapters import HTTPAdapter
from stac_api_validator.validations import QueryConfig, validate_api

from tests.schemas import ROOT

CLASSES = [
    "core",
    "collections",
    "features",
    "filter",
    "item-search",
    "item-search#fields",
    "item-search#sort",
]


# The one request of stac-api-validator 0.6 that no answer to is right: it warns of every member that an item has, so
# also of the `properties` that it asks for, and wants at least five of them. Ours is that of the fields extension 1.0.0
# (include/exclude semantics): of what is included "these fields should be the only fields included", and with `["a.b"]`
# included and `["a"]` excluded "`a.b` should be the only field in `a`". It gets these two complaints.
_ASKED = "[Item Search - Fields Ext] : POST {'fields': {'exclude': ['properties'], 'include': ['properties.platform']}}"
_CONTRADICTION = (
    f"{_ASKED} response contained fewer than 5 fields ['properties']",
    f"{_ASKED} response contained extra fields ['properties']",
)


class _Offline(DefaultStacIO):
    """Schemas come from the folder, whatever else from the network."""

    def read_text_from_href(self, href: str) -> str:
        found = ROOT / href.partition("://")[2].partition("#")[0]
        return found.read_text() if "://" in href and found.is_file() else super().read_text_from_href(href)


@contextmanager
def offline() -> Iterator[None]:
    """Inside, the libraries that fetch schemas by themselves get them from the folder, if it is there."""
    real = HTTPAdapter.send

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        found = ROOT / str(request.url).partition("://")[2].partition("#")[0]
        if not str(request.url).startswith("https://") or not ROOT.is_dir():
            return real(adapter, request, *args, **more)
        text = found.read_bytes() if found.is_file() else b"{}"  # a schema that is not in the folder checks nothing
        answer = requests.Response()
        answer.status_code, answer._content, answer.url = 200, text, str(request.url)
        answer.request = request
        return answer

    before = pystac.StacIO._default_io
    pystac.StacIO.set_default(_Offline)
    try:
        with patch.object(HTTPAdapter, "send", send):
            yield
    finally:
        pystac.StacIO._default_io = before


def complaints(
    url: str,
    collection: str,
    geometry: str,
    headers: dict[str, str],
    *,
    into: str | None = None,
    classes: Sequence[str] = CLASSES,
    stac_check: Path | None = None,
) -> tuple[list[str], list[str]]:
    """The warnings and errors of stac-api-validator, which runs stac-check as well.

    ``into`` names a collection that it may write to, and has it check the transactions. ``classes`` are the
    conformance classes that it looks at, ``stac_check`` is a configuration of stac-check.
    """
    with offline():
        warnings, errors = validate_api(
            root_url=url,
            ccs_to_validate=list(classes) if into is None else [*classes, "transaction"],
            collection=collection,
            geometry=geometry,
            auth_bearer_token=None,
            auth_query_parameter=None,
            fields_nested_property="properties.platform",
            validate_pagination=True,
            query_config=QueryConfig(*[None] * len(fields(QueryConfig))),
            transaction_collection=into,
            headers=headers,
            stac_check_config=str(stac_check) if stac_check else None,
            open_assets_urls=False,
        )
    return _sound(warnings), _sound(errors)


def _sound(found: Iterable[object]) -> list[str]:
    return [text for each in found if (text := str(each)) not in _CONTRADICTION]
