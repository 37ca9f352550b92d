"""What was asked of a station, and what it sent: one record a request, and for each file what was sent again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from rs_server.simulators.faults import Operation

KEPT = 200_000


@dataclass
class Record:
    """One request. ``sent`` counts octets of the body that left the station; ``first`` is the place of the first in the
    file; ``whole``: the body was sent to its end."""

    number: int
    operation: Operation
    method: str
    path: str
    query: str = ""
    target: str = ""  # a file's name, or an entity set
    client: str = ""  # whose token it brought
    size: int | None = None  # of the file
    range: str | None = None
    began: float = field(default_factory=time.time)  # seconds since 1970
    seconds: float = 0.0
    status: int | None = None
    first: int = 0
    sent: int = 0
    whole: bool = False
    faults: tuple[str, ...] = ()

    @property
    def carried(self) -> bool:
        """Whether octets of a file were in it."""
        return self.operation is Operation.DOWNLOAD and self.status in (200, 206) and self.sent > 0


@dataclass(frozen=True)
class Download:
    """What was sent of one file. ``again``: octets sent that had been sent before; ``after_whole``: answers with octets
    of the file that began after a whole pass over it had been sent."""

    name: str
    size: int | None
    requests: int
    sent: int
    again: int
    after_whole: int


class RequestLog:
    """The last requests, oldest first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._records: deque[Record] = deque(maxlen=kept)
        self._count = 0

    def open(self, operation: Operation, method: str, path: str, **more: Any) -> Record:
        """A new record, to be completed while the request is answered."""
        self._count += 1
        record = Record(self._count, operation, method, path, **more)
        self._records.append(record)
        return record

    def clear(self) -> None:
        """Forget; numbers go on."""
        self._records.clear()

    def records(self, operation: str | None = None, name: str = "*", since: int = 0) -> Iterator[Record]:
        """Those of an operation, with such a target, after that number."""
        return (
            record
            for record in self._records
            if record.number > since and operation in (None, record.operation) and fnmatchcase(record.target, name)
        )

    def downloads(self, name: str = "*") -> list[Download]:
        """What was sent of each file of such a name, in the order of their first requests."""
        by_name: dict[str, list[Record]] = {}
        for record in self.records(Operation.DOWNLOAD, name):
            by_name.setdefault(record.target, []).append(record)
        return [_download(name, records) for name, records in by_name.items()]


def _download(name: str, records: list[Record]) -> Download:
    carried = [record for record in records if record.carried]
    sent = sum(record.sent for record in carried)
    spans = [(record.first, record.first + record.sent) for record in carried]
    size = records[-1].size
    return Download(name, size, len(records), sent, sent - covered(spans), _after_whole(carried, size))


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """How many places half-open spans cover together."""
    total, reached = 0, 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return total


def _after_whole(carried: list[Record], size: int | None) -> int:
    """How many answers began when the file had been sent from end to end."""
    if not size:
        return 0
    spans: list[tuple[int, int]] = []
    for index, record in enumerate(carried):
        spans.append((record.first, record.first + record.sent))
        if covered(spans) >= size:
            ended = record.began + record.seconds
            return sum(later.began >= ended for later in carried[index + 1 :])
    return 0
