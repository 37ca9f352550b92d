"""How a large file is cut: parts of one size, of which those that are missing are fetched in runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

MOST_PARTS = 10_000  # of one multipart upload, by S3
_LARGEST_PART = 5 * 1024**3
MOST_BYTES = min(5 * 1024**4, MOST_PARTS * _LARGEST_PART)  # of one object, as S3 servers have it at the least
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``start`` to ``end`` (exclusive) of a file; ``number`` counts from 1."""

    number: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Cut:
    """A file cut into parts of ``part_size`` bytes, but for the last one."""

    size: int
    part_size: int

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_size)

    def part(self, number: int) -> Part:
        """One part."""
        start = (number - 1) * self.part_size
        return Part(number, start, min(self.size, start + self.part_size))

    def runs(self, done: Collection[int], *, single: bool = False) -> Iterator[tuple[Part, ...]]:
        """The parts that are missing: those that follow one another together, or each for itself."""
        run: list[Part] = []
        for number in range(1, self.count + 1):
            if number not in done:
                run.append(self.part(number))
            if run and (number in done or single or number == self.count):
                yield tuple(run)
                run = []

    def rest(self, done: Collection[int]) -> Iterator[tuple[Part, ...]]:
        """All parts from the first missing one on, those between that are there included, in one run."""
        missing = [number for number in range(1, self.count + 1) if number not in done]
        if missing:
            yield tuple(self.part(number) for number in range(missing[0], missing[-1] + 1))


def cut(size: int, part_bytes: int, most: int = MOST_PARTS) -> Cut:
    """Cut a file into ``most`` parts at most; those of a huge one are larger than ``part_bytes``, in whole MiB."""
    least = -(-size // most)
    return Cut(size, part_bytes if least <= part_bytes else -(-least // _MIB) * _MIB)
