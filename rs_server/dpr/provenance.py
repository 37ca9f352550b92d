"""How a product came to be: enough to make it again, and to say what was different when it comes out otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_server.dpr.payload import Order, Target
from rs_server.storage.stac import Place

FORMAT = "rs-provenance/1"


def document(
    order: Order, target: Target, request: Mapping[str, Any], made: Mapping[str, Any], place: Place
) -> dict[str, Any]:
    """The provenance of one product; plain JSON, without keys."""
    return {
        "format": FORMAT,
        "processor": order.payload["workflow"][0]["name"],
        "version": request["version"],
        "output": target.output,
        "mode": request["mode"],
        "parameters": dict(request["parameters"]),
        "inputs": [_source(each, place) for each in order.sources if not each.auxiliary],
        "adfs": [_source(each, place) for each in order.sources if each.auxiliary],
        "payload": dict(order.payload),
        "environment": made.get("environment"),
        "cluster": request["cluster"],
        "job": request["job"],
    }


def _source(source: Any, place: Place) -> dict[str, Any]:
    return {
        "name": source.name,
        "href": f"{place.public_url}{source.path}",
        "why": source.why,
        "files": [dict(file) for file in source.files],
    }
