"""The ``query`` of old STAC clients, as CQL2: a filter of comparisons that must all hold.

Standard: STAC API query extension 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rs_server.errors import BadInput

_COMPARISONS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_PATTERNS: Mapping[str, Callable[[str], str]] = {
    "startsWith": lambda text: f"{text}%",
    "endsWith": lambda text: f"%{text}",
    "contains": lambda text: f"%{text}%",
}
_KNOWN = ", ".join((*_COMPARISONS, *_PATTERNS, "in"))


def as_cql2(query: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """CQL2-JSON of a query; ``BadInput`` names the operator that is not known."""
    terms = [_term(name, op, value) for name, tests in query.items() for op, value in tests.items()]
    if not terms:
        raise BadInput("query: it asks nothing", hint="leave it out")
    return terms[0] if len(terms) == 1 else {"op": "and", "args": terms}


def _term(name: str, op: str, value: Any) -> dict[str, Any]:
    ref = {"property": name}
    if op in _COMPARISONS:
        return {"op": _COMPARISONS[op], "args": [ref, value]}
    if op == "in" and isinstance(value, list):
        return {"op": "in", "args": [ref, value]}
    if op in _PATTERNS and isinstance(value, str):
        return {"op": "like", "args": [ref, _PATTERNS[op](_escaped(value))]}
    raise BadInput(f"query: {name} {op!r} cannot be evaluated here", hint=f"known are {_KNOWN}")


def _escaped(text: str) -> str:
    for character in "\\%_":
        text = text.replace(character, f"\\{character}")
    return text
