"""What of CQL2 a catalog search takes (OGC 21-065r2): bounded in size and depth before a parser sees it.

The parser works recursively in native code, where too deep a text ends the process; bounds come first. It is not
asked to validate: that costs 30 ms for each filter and seconds for a nested one. Whether the filter is a condition at
all is looked at here, the rest is pgstac's to evaluate or refuse.
"""

from __future__ import annotations

import json
import re
from typing import Any

import cql2

from rs_server.bodies import as_json
from rs_server.errors import UnsupportedFilter

LONGEST = 16_384  # characters, in a URL
LARGEST = 262_144  # bytes, in a body
DEEPEST = 16
ADDED = 1  # levels that the server itself puts around a filter
MOST_NOTS = 32

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_NOT = re.compile(r"\bnot\b", re.IGNORECASE)
_SIGNS = re.compile(r"(?:[-+]\s*){4,}")
_LOGIC = frozenset({"and", "or", "not"})
_CONDITIONS = frozenset(
    {"=", "<>", "<", "<=", ">", ">=", "like", "between", "in", "isNull", "eq", "neq", "lt", "lte", "gt", "gte"}
)
_RELATIONS = ("s_", "t_", "a_")  # spatial, temporal and array comparisons
# What may stand within a condition: pgstac's, of those that CQL2 has. Its %, div and ^ it cannot compute.
_ARITHMETIC = frozenset({"+", "-", "*", "/"})
_VALUES = frozenset({"casei", "accenti", "upper", "lower"}) | _ARITHMETIC
_OTHER_WAY = {"s_contains": "s_within", "s_within": "s_contains"}


def parsed(text: str, language: str | None) -> Any:
    """A filter of a GET request as CQL2 JSON; ``UnsupportedFilter`` says what is wrong with it."""
    if len(text) > LONGEST:
        raise UnsupportedFilter(f"the filter is longer than {LONGEST} characters")
    condition = _from_text(text) if language == "cql2-text" else _from_json(text)
    return checked(condition)


def checked(condition: Any) -> Any:
    """The same filter, if it is a condition and not too deep; pgstac takes true and false alone, not within others."""
    require_depth(condition, DEEPEST + ADDED)
    if len(as_json(condition)) > LARGEST:
        raise UnsupportedFilter(f"the filter is larger than {LARGEST} bytes")
    _require_condition(condition)
    _require_known(condition)
    return _folded(_spelt(condition))


def require_depth(condition: Any, most: int) -> None:
    """Raise for a filter of more levels; an operation is two of JSON: itself and its arguments."""
    if _depth(condition) > most * 2:
        raise UnsupportedFilter(f"the filter is nested more than {most} levels deep")


def calculated(condition: Any) -> Any:
    """A checked condition as pgstac calculates it: with parentheses, and with numbers and properties as fractions.

    By itself it takes the numbers of a comparison for text where they stand beside nothing that says otherwise. What is
    under ``filter`` it looks at anew, and a single argument of ``and`` stands in parentheses.
    """
    if not isinstance(condition, dict) or not isinstance(condition.get("args"), list):
        return condition
    if condition["op"] in _LOGIC:
        return {**condition, "args": [calculated(each) for each in condition["args"]]}
    if not any(_is_sum(each) for each in condition["args"]):
        return condition
    return {"filter": {**condition, "args": [_number(each) for each in condition["args"]]}}


def _is_sum(value: Any) -> bool:
    return isinstance(value, dict) and value.get("op") in _ARITHMETIC


def _number(value: Any) -> Any:
    if _is_property(value):  # a whole one as well: added to a fraction, it is divided as one
        return _apart("+", [_apart("+", [value, 0]), 0.0])
    return _apart(value["op"], [_number(each) for each in value["args"]]) if _is_sum(value) else value


def _apart(operation: str, arguments: list[Any]) -> Any:
    """What is looked at anew, in parentheses."""
    return {"op": "and", "args": [{"filter": {"op": operation, "args": arguments}}]}


def _from_text(text: str) -> Any:
    bare = _QUOTED.sub("''", text)
    if _parentheses(bare) > DEEPEST or len(_NOT.findall(bare)) > MOST_NOTS or _SIGNS.search(bare):
        raise UnsupportedFilter(f"the filter is nested more than {DEEPEST} levels deep")
    try:
        return cql2.parse_text(text).to_json()
    except cql2.ParseError as error:
        where = " ".join(str(error).split())[:300]
        raise UnsupportedFilter(f"the filter is not CQL2 text: {where}") from error


def _from_json(text: str) -> Any:
    if _parentheses(_QUOTED.sub('""', text), opening="{[", closing="}]") > DEEPEST * 2:
        raise UnsupportedFilter(f"the filter is nested more than {DEEPEST} levels deep")
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnsupportedFilter(f"the filter is not CQL2 JSON: {error}", hint="filter-lang=cql2-text?") from error


def _parentheses(text: str, *, opening: str = "(", closing: str = ")") -> int:
    deepest = level = 0
    for character in text:
        level += (character in opening) - (character in closing)
        deepest = max(deepest, level)
    return deepest


def _depth(value: Any) -> int:
    """Levels of arrays and objects; walks without recursion."""
    deepest, open_ = 0, [(value, 1)]
    while open_:
        each, level = open_.pop()
        if isinstance(each, dict | list):
            deepest = max(deepest, level)
            open_ += [(inner, level + 1) for inner in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _require_condition(value: Any) -> None:
    """Raise unless this is true or false for an item; the depth is bounded already."""
    if isinstance(value, bool):
        return
    operation = value.get("op") if isinstance(value, dict) else None
    if operation in _LOGIC and isinstance(value.get("args"), list) and value["args"]:
        for argument in value["args"]:
            _require_condition(argument)
    elif not (isinstance(operation, str) and (operation in _CONDITIONS or operation.lower().startswith(_RELATIONS))):
        raise UnsupportedFilter(f"{_shown(value)} is not a condition that the catalog can evaluate")


def _require_known(condition: Any) -> None:
    """Raise for an operator that cannot be evaluated, naming it; walks without recursion."""
    open_ = [condition]
    while open_:
        each = open_.pop()
        open_ += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        operation = each.get("op") if isinstance(each, dict) else None
        if operation is None or operation in _LOGIC | _CONDITIONS | _VALUES:
            continue
        if not (isinstance(operation, str) and operation.lower().startswith(_RELATIONS)):
            raise UnsupportedFilter(f"the catalog cannot evaluate the operator {str(operation)[:100]!r}")


def _spelt(value: Any) -> Any:
    """The same condition as pgstac has it; the depth is bounded already."""
    if not isinstance(value, dict) or not isinstance(value.get("args"), list):
        return value
    if value["op"] in _LOGIC:
        return {**value, "args": [_spelt(argument) for argument in value["args"]]}
    return _relation(value, value["op"].lower(), value["args"])


def _relation(value: dict[str, Any], name: str, arguments: list[Any]) -> Any:
    if name == "in" and arguments[1:] == [[]]:
        return False
    if name == "a_containedby":
        return {**value, "op": "a_contained_by"}
    if name == "a_equals":  # of sets: their order says nothing (OGC 21-065r2), which pgstac would compare
        return {"op": "and", "args": [{**value, "op": each} for each in ("a_contains", "a_contained_by")]}
    if name.startswith("s_") and len(arguments) == 2 and _is_property(arguments[1]) and not _is_property(arguments[0]):
        return {**value, "op": _OTHER_WAY.get(name, name), "args": arguments[::-1]}  # it takes the property first
    return value


def _is_property(value: Any) -> bool:
    return isinstance(value, dict) and "property" in value


def _folded(value: Any) -> Any:
    """The same condition without true and false within others; the depth is bounded already."""
    if not isinstance(value, dict) or value["op"] not in _LOGIC:
        return value
    arguments = [_folded(argument) for argument in value["args"]]
    if value["op"] == "not":
        return not arguments[0] if isinstance(arguments[0], bool) else {**value, "args": arguments}
    decides = value["op"] == "or"  # one of these decides; the other changes nothing
    if decides in [argument for argument in arguments if isinstance(argument, bool)]:
        return decides
    kept = [argument for argument in arguments if not isinstance(argument, bool)]
    return {**value, "args": kept} if len(kept) > 1 else kept[0] if kept else not decides


def _shown(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"property"}:
        return f"the property {str(value['property'])[:100]!r}"
    named = value.get("op") if isinstance(value, dict) else value
    return f"{str(named)[:100]!r}"
