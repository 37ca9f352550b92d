"""The realm as code: a file in Keycloak's own format with placeholders where secrets and addresses belong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Realm = dict[str, Any]  # Keycloak's realm representation

_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def read(path: Path) -> Realm:
    """The realm of a file, its placeholders not yet filled."""
    realm: Realm = json.loads(path.read_text())
    return realm


def read_all(path: Path) -> list[Realm]:
    """The realms of a file: one, or as many as Keycloak exported; ``ValueError`` if it holds something else."""
    found = json.loads(path.read_text())
    realms: list[Realm] = found if isinstance(found, list) else [found]
    if not realms or not all(isinstance(realm, dict) and isinstance(realm.get("realm"), str) for realm in realms):
        raise ValueError("it is not what Keycloak exports")
    return realms


def placeholders(realm: Realm) -> frozenset[str]:
    """The names that the file leaves open."""
    return frozenset(name for text in _texts(realm) for name in _PLACEHOLDER.findall(text))


def fill(realm: Realm, values: Mapping[str, str]) -> Realm:
    """The realm with every placeholder replaced; ``KeyError`` names one without a value."""
    filled: Realm = _fill(realm, values)
    return filled


def _fill(part: Any, values: Mapping[str, str]) -> Any:
    match part:
        case str():
            return _PLACEHOLDER.sub(lambda found: values[found[1]], part)
        case dict():
            return {name: _fill(value, values) for name, value in part.items()}
        case list():
            return [_fill(value, values) for value in part]
        case _:
            return part


def _texts(part: Any) -> Iterator[str]:
    match part:
        case str():
            yield part
        case dict():
            yield from (text for value in part.values() for text in _texts(value))
        case list():
            yield from (text for value in part for text in _texts(value))


def differs(have: Any, want: Any) -> bool:
    """Whether what Keycloak holds is other than what is wanted, as far as the wanted value says anything.

    Names that only Keycloak states are its defaults or somebody's data; lists of plain values have no order.
    """
    if isinstance(want, dict):
        return not isinstance(have, dict) or any(differs(have.get(name), value) for name, value in want.items())
    if isinstance(want, list):
        return not isinstance(have, list) or sorted(map(_comparable, have)) != sorted(map(_comparable, want))
    return bool(have != want)


def _comparable(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def merged(have: Mapping[str, Any], want: Mapping[str, Any]) -> dict[str, Any]:
    """What Keycloak holds, overlaid with what is wanted; mappings are overlaid entry by entry."""
    return {**have, **{name: _overlaid(have.get(name), value) for name, value in want.items()}}


def _overlaid(have: Any, want: Any) -> Any:
    return merged(have, want) if isinstance(have, dict) and isinstance(want, dict) else want
