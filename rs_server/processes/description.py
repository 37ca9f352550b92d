"""What a process takes and gives, in the form of OGC API – Processes (OpenAPI 3.0 schemas)."""

from __future__ import annotations

from typing import Any

from rs_server.processes.model import Inputs, Process

JOB_CONTROL = ["async-execute", "dismiss"]
_KEPT = ("title", "description")
_REPORT = "What became of each thing that was asked for, where there is something to tell"
_NULL = {"type": "null"}


def summary(process: Process[Any]) -> dict[str, Any]:
    """The process in a list."""
    return {
        "id": process.id,
        "title": process.title,
        "description": process.description,
        "version": process.version,
        "jobControlOptions": JOB_CONTROL,
        "outputTransmission": ["reference"],
    }


def whole(process: Process[Any]) -> dict[str, Any]:
    """The process with its inputs and outputs."""
    return summary(process) | {"inputs": inputs(process.inputs), "outputs": _outputs(process)}


def inputs(model: type[Inputs]) -> dict[str, Any]:
    """Each input with its schema; all references are resolved, as the standard's description stands alone."""
    document = model.model_json_schema()
    required, definitions = document.get("required", []), document.get("$defs", {})
    return {
        name: {
            **{key: schema[key] for key in _KEPT if key in schema},
            "minOccurs": int(name in required),
            "schema": _plain({key: value for key, value in schema.items() if key not in _KEPT}, definitions),
        }
        for name, schema in document["properties"].items()
    }


def _outputs(process: Process[Any]) -> dict[str, Any]:
    link = {"type": "object", "required": ["href"], "properties": {"href": {"type": "string", "format": "uri"}}}
    made = {
        name: {"title": title, "schema": {"type": "array", "items": link}} for name, title in process.outputs.items()
    }
    return made | {"report": {"title": _REPORT, "schema": {"type": "array", "items": {"type": "object"}}}}


def _plain(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}  # such as its default
        return _plain({**definitions[schema["$ref"].rpartition("/")[2]], **beside}, definitions)
    if _NULL in schema.get("anyOf", ()):
        return _plain(_nullable(schema), definitions)
    return {key: _plain(value, definitions) for key, value in schema.items()}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be null, as OpenAPI 3.0 says it: it has no type of that name."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    others = [each for each in schema["anyOf"] if each != _NULL]
    return {**kept, **(others[0] if len(others) == 1 else {"anyOf": others}), "nullable": True}
