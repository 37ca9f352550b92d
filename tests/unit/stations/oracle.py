"""A second opinion on CQL2: evaluates a CQL2-JSON expression on an item's properties, slowly and plainly.

Written apart from the engine: no normal form, no pushing down, three-valued logic spelled out. None is "unknown".
"""

# ruff: noqa: C901, PLR0911, PLR0912 - one case for each operator of the standard

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from shapely.geometry import box, shape

MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT.*")
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
OPEN = {"first": datetime.min.replace(tzinfo=UTC), "last": datetime.max.replace(tzinfo=UTC)}


def holds(node: Any, item: dict[str, Any]) -> bool | None:
    """Whether the expression is true, false or unknown of the item."""
    if isinstance(node, bool):
        return node
    if "property" in node:
        return item.get(node["property"])
    op, args = node["op"].lower(), node["args"]
    match op:
        case "and":
            found = [holds(arg, item) for arg in args]
            return False if False in found else None if None in found else True
        case "or":
            found = [holds(arg, item) for arg in args]
            return True if True in found else None if None in found else False
        case "not":
            inner = holds(args[0], item)
            return None if inner is None else not inner
        case "isnull":
            return item.get(args[0]["property"]) is None
        case "between":
            low = holds({"op": ">=", "args": [args[0], args[1]]}, item)
            high = holds({"op": "<=", "args": [args[0], args[2]]}, item)
            return False if False in (low, high) else None if None in (low, high) else True
        case "in":
            options = [holds({"op": "=", "args": [args[0], option]}, item) for option in args[1]]
            return True if True in options else None if None in options else False
        case "like":
            text, pattern = _value(args[0], item), _value(args[1], item)
            return None if text is None else bool(_pattern(pattern).fullmatch(text))
        case _ if op.startswith("s_"):
            left, right = (_shape(arg, item) for arg in args)
            return None if left is None or right is None else bool(getattr(left, op.removeprefix("s_"))(right))
        case _ if op.startswith("a_"):
            a, b = (item.get(arg["property"]) if isinstance(arg, dict) else arg for arg in args)
            return None if a is None or b is None else _SETS[op](set(a), set(b))
        case _ if op.startswith("t_"):
            return _temporal(op, _span(args[0], item), _span(args[1], item))
    return _compare(op, _value(args[0], item), _value(args[1], item))


_SETS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "a_contains": set.issuperset,
    "a_containedby": set.issubset,
    "a_equals": set.__eq__,
    "a_overlaps": lambda a, b: not a.isdisjoint(b),
}


def _shape(node: Any, item: dict[str, Any]) -> Any:
    if "property" in node:
        found = item.get(node["property"])
        return found and shape(found)
    return box(*node["bbox"]) if "bbox" in node else shape(node)


def _value(node: Any, item: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "property" in node:
            value = item.get(node["property"])
            return _moment(value) if isinstance(value, str) and MOMENTS.fullmatch(value) else value
        if "timestamp" in node:
            return _moment(node["timestamp"])
        if "date" in node:
            first = _moment(node["date"] + "T00:00:00Z")
            return (first, first + DAY - TICK)
        args = [_value(arg, item) for arg in node["args"]]
        if None in args:
            return None
        match node["op"]:
            case "casei":
                return args[0].lower()
            case "accenti":
                return "".join(c for c in unicodedata.normalize("NFD", args[0]) if not unicodedata.combining(c))
            case "+":
                return args[0] + args[1]
            case "-":
                return args[0] - args[1]
            case "*":
                return args[0] * args[1]
    return node


def _compare(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    first, last = right if isinstance(right, tuple) else (right, right)
    match op:
        case "=":
            return bool(first <= left <= last) if isinstance(right, tuple) else bool(left == right)
        case "<>":
            return bool(left < first or left > last) if isinstance(right, tuple) else bool(left != right)
        case "<":
            return bool(left < first)
        case "<=":
            return bool(left <= last)
        case ">":
            return bool(left > last)
        case ">=":
            return bool(left >= first)
    raise AssertionError(op)


def _span(node: Any, item: dict[str, Any]) -> tuple[Any, Any]:
    if isinstance(node, dict) and "interval" in node:
        first, last = node["interval"]
        start = OPEN["first"] if first == ".." else _span(first, item)[0]
        return start, OPEN["last"] if last == ".." else _span(last, item)[1]
    value = _moment(node) if isinstance(node, str) else _value(node, item)
    return value if isinstance(value, tuple) else (value, value)


def _temporal(op: str, left: tuple[Any, Any], right: tuple[Any, Any]) -> bool | None:
    """The definitions of OGC 21-065r2 §7.8, on two spans."""
    (s1, e1), (s2, e2) = left, right

    def lt(a: Any, b: Any) -> bool | None:
        return None if a is None or b is None else bool(a < b)

    def eq(a: Any, b: Any) -> bool | None:
        return None if a is None or b is None else bool(a == b)

    def no(a: bool | None) -> bool | None:
        return None if a is None else not a

    def every(*terms: bool | None) -> bool | None:
        return False if False in terms else None if None in terms else True

    match op:
        case "t_after":
            return lt(e2, s1)
        case "t_before":
            return lt(e1, s2)
        case "t_contains":
            return every(lt(s1, s2), lt(e2, e1))
        case "t_disjoint":
            return no(every(no(lt(e1, s2)), no(lt(e2, s1))))
        case "t_during":
            return every(lt(s2, s1), lt(e1, e2))
        case "t_equals":
            return every(eq(s1, s2), eq(e1, e2))
        case "t_finishedby":
            return every(lt(s1, s2), eq(e1, e2))
        case "t_finishes":
            return every(lt(s2, s1), eq(e1, e2))
        case "t_intersects":
            return every(no(lt(e2, s1)), no(lt(e1, s2)))
        case "t_meets":
            return eq(e1, s2)
        case "t_metby":
            return eq(s1, e2)
        case "t_overlappedby":
            return every(lt(s2, s1), lt(s1, e2), lt(e2, e1))
        case "t_overlaps":
            return every(lt(s1, s2), lt(s2, e1), lt(e1, e2))
        case "t_startedby":
            return every(eq(s1, s2), lt(e2, e1))
        case "t_starts":
            return every(eq(s1, s2), lt(e1, e2))
    raise AssertionError(op)


def _pattern(like: str) -> re.Pattern[str]:
    found, escaped = "", False
    for character in like:
        if escaped:
            found, escaped = found + re.escape(character), False
        elif character == "\\":
            escaped = True
        else:
            found += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.compile(found, re.DOTALL)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
