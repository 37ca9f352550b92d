"""CQL2 filters from the few words that people search by, joined with a filter of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

type Filter = str | Mapping[str, Any]
"""A CQL2 filter (OGC 21-065r2): text, or the JSON form as a dict."""


def joined(own: Filter | None, words: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of ``pystac_client`` for a filter and the words (property → value or values) beside it.

    A filter in the JSON form stays in it, a text stays a text: neither is translated, so neither changes its meaning.
    """
    if isinstance(own, str):
        terms = [f"({own})", *(_text(name, value) for name, value in words.items())]
        text = own if len(terms) == 1 else " AND ".join(terms)
        return {"filter": text, "filter_lang": "cql2-text", "method": "GET"}
    terms_json = [*([dict(own)] if own else []), *(_json(name, value) for name, value in words.items())]
    if not terms_json:
        return {}
    return {"filter": terms_json[0] if len(terms_json) == 1 else {"op": "and", "args": terms_json}}


def said(given: Filter) -> str:
    """A filter for a person to read: comparisons of properties as CQL2 text has them, all else in the JSON form."""
    match given:
        case str():
            return given
        case {"op": "and", "args": [*terms]}:
            return " AND ".join(said(term) for term in terms)
        case {"op": "in", "args": [{"property": str(name)}, [*values]]}:
            return f"{_quoted(name)} IN ({', '.join(_compared(each) for each in values)})"
        case {"op": "=" | "<>" | "<" | "<=" | ">" | ">=" as sign, "args": [{"property": str(name)}, value]}:
            return f"{_quoted(name)} {sign} {_compared(value)}"
    return json.dumps(given)


def _compared(value: Any) -> str:
    return json.dumps(value) if isinstance(value, Mapping) else _literal(value)


def _json(name: str, value: Any) -> dict[str, Any]:
    here = {"property": name}
    if isinstance(value, list | tuple | set | frozenset):
        return {"op": "in", "args": [here, sorted(value)]}
    return {"op": "=", "args": [here, value]}


def _text(name: str, value: Any) -> str:
    here = _quoted(name)
    if isinstance(value, list | tuple | set | frozenset):
        return f"{here} IN ({', '.join(_literal(each) for each in sorted(value))})"
    return f"{here} = {_literal(value)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"
