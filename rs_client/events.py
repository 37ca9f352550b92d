"""Server-sent events (WHATWG HTML, 9.2): text as it comes → events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MEDIA_TYPE = "text/event-stream"

_LINE_END = re.compile(r"\r\n|\n|\r(?=[^\n])")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its data, and the id by which a reader says later what it heard last."""

    name: str
    data: str
    id: str


@dataclass(slots=True)
class Decoder:
    """Takes text in pieces of any length; comments, as servers send them to be heard alive, are passed over."""

    last_id: str = ""
    _rest: str = ""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, text: str) -> Iterator[Event]:
        """The events that are whole with this piece."""
        *lines, self._rest = _LINE_END.split(self._rest + text)
        for line in lines:
            if line:
                self._take(line)
                continue
            if self._data:
                yield Event(self._name or "message", "\n".join(self._data), self.last_id)
            self._name, self._data = "", []

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_id = value
