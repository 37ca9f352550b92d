"""A small memory of what was just looked up: bounded in number and in age."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Recent[K: Hashable, V]:
    """Holds at most ``size`` values for at most ``max_age_s`` seconds; the oldest go first."""

    def __init__(self, *, size: int, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._max_age_s = max_age_s
        self._clock = clock
        self._held: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, unless it was never put, has been pushed out or is too old."""
        at, value = self._held.get(key, (0.0, None))
        if value is None or self._clock() - at < self._max_age_s:
            return value
        del self._held[key]
        return None

    def put(self, key: K, value: V) -> None:
        """Remember a value from now on."""
        self._held.pop(key, None)
        self._held[key] = (self._clock(), value)
        if len(self._held) > self._size:
            self._held.popitem(last=False)

    def forget(self, wanted: Callable[[V], bool]) -> None:
        """Drop each value that ``wanted`` says yes to."""
        for key in [key for key, (_, value) in self._held.items() if wanted(value)]:
            del self._held[key]

    def __len__(self) -> int:
        return len(self._held)
