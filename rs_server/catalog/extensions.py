"""Holds items against the JSON schemas of the STAC extensions that they name; no schema is ever fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource
from referencing.jsonschema import DRAFT7

from rs_server.errors import BadInput


class Extensions:
    """The schemas of a folder, where each lies at its address without the scheme."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._registry: Registry[Any] = Registry(retrieve=self._retrieve)  # type: ignore[call-arg]  # made by attrs
        self._known: dict[str, Validator] = {}

    def check(self, item: Mapping[str, Any]) -> None:
        """Raise ``BadInput`` for the first fault, naming the field and the extension."""
        for uri in item.get("stac_extensions") or ():
            fault = best_match(self._validator(uri).iter_errors(item))
            if fault is not None:
                field = ".".join(map(str, fault.absolute_path)) or "the item"
                raise BadInput(f"item {item.get('id')}: {field}: {fault.message[:300]} ({uri})", field=field)

    def _validator(self, uri: str) -> Validator:
        if uri not in self._known:
            try:
                self._retrieve(uri)
            except NoSuchResource as error:
                raise BadInput(
                    f"stac_extensions: this server does not hold the schema {uri[:200]}",
                    hint="leave validate_extensions out, or ask an operator to add the schema",
                ) from error
            self._known[uri] = Draft7Validator({"$ref": uri}, registry=self._registry)
        return self._known[uri]

    def _retrieve(self, uri: str) -> Resource[Any]:
        scheme, _, rest = uri.partition("://")
        path = rest.partition("#")[0]
        steps = path.split("/")
        if self._folder is None or scheme not in ("http", "https") or {"", ".", ".."} & set(steps):
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]  # made by attrs
        file = self._folder.joinpath(*steps)
        if not file.is_file():
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]  # made by attrs
        return DRAFT7.create_resource(json.loads(file.read_text()))
