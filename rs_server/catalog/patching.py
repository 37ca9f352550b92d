"""What a document becomes after a patch: a merge patch (RFC 7396) or a list of operations (RFC 6902)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpatch
from json_merge_patch import merge
from jsonpointer import JsonPointerException
from stac_fastapi.extensions.transaction.request import BasePartial, PatchOperation

from rs_server.errors import BadInput, Conflict


def patched(existing: dict[str, Any], patch: BasePartial | list[PatchOperation]) -> dict[str, Any]:
    """The new document; ``BadInput`` for a patch that does not fit, ``Conflict`` where its ``test`` fails."""
    if not isinstance(patch, list):
        merged: dict[str, Any] = merge(deepcopy(existing), patch.model_dump(mode="json"))
        return merged
    try:
        result = jsonpatch.JsonPatch([op.model_dump(mode="json") for op in patch]).apply(existing)
    except jsonpatch.JsonPatchTestFailed as error:
        raise Conflict("the document is not what the patch expects", hint="read it again") from error
    except (jsonpatch.JsonPatchException, JsonPointerException) as error:
        raise BadInput(f"the patch does not fit the document: {error}") from error
    if not isinstance(result, dict):
        raise BadInput("the patch leaves no document")
    return result
