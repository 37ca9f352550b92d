"""Keeps the tutorials and chains in a user's home up to date without touching what she has edited."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

SHELVES = ("tutorials", "chains")

_RECORD = Path(".local/share/rs-python/notebooks.json")


def deliver(source: Path, home: Path) -> list[Path]:
    """Copy the shelves of ``source`` to ``notebooks/`` in a home; the files written, relative to it.

    A file is written where it is absent, or is still what was delivered before; a user who wants a fresh copy
    deletes hers. What was delivered is recorded in the home.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    target, record = home / "notebooks", home / _RECORD
    target.mkdir(exist_ok=True)
    delivered = _read(record)
    written = [name for name in _files(source) if _outdated(source / name, target / name, delivered.get(str(name)))]
    for name in written:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        delivered[str(name)] = _digest(source / name)
    if written:
        _write(record, delivered)
    return written


def _files(source: Path) -> Iterator[Path]:
    found = (path for shelf in SHELVES for path in (source / shelf).rglob("*") if path.is_file())
    for name in sorted(path.relative_to(source) for path in found):
        if not any(part.startswith((".", "__")) for part in name.parts):
            yield name


def _outdated(ours: Path, theirs: Path, delivered: str | None) -> bool:
    if not theirs.exists():
        return True
    have = _digest(theirs)
    return have == delivered and have != _digest(ours)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(record: Path) -> dict[str, str]:
    try:
        stored = json.loads(record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # never delivered, or the user damaged the record
        return {}
    return {str(name): str(digest) for name, digest in stored.items()} if isinstance(stored, dict) else {}


def _write(record: Path, delivered: Mapping[str, str]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    fresh = record.with_suffix(".new")
    fresh.write_text(json.dumps(delivered, indent=1, sort_keys=True))
    fresh.replace(record)
