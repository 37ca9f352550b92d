"""How often somebody may try: wrong keys are counted by address, requests by caller; both in bounded memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address

from rs_server.access.recent import Recent
from rs_server.errors import TooManyRequests

REMEMBERED = 10_000  # addresses, callers
REFUSED_COSTS = 0.25
"""Of a request, what being refused costs: who heeds ``Retry-After`` does not notice, and who asks four times as often
as is allowed, and goes on, is not answered any more, so that the others have the machine."""
WINDOW_S = 60.0
PROVEN_S = 3600.0


@dataclass(slots=True)
class _Tally:
    began: float
    wrong: int = 0


class Guesses:
    """Slows down who guesses keys: after so many wrong ones within a minute, an address is told to wait.

    Keys that were right from that address within the last hour go on working: behind one address there may be many
    people, and one of them with an old key does not lock the others out.
    """

    def __init__(self, allowed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = allowed
        self._clock = clock
        self._wrong: Recent[str, _Tally] = Recent(size=REMEMBERED, max_age_s=WINDOW_S, clock=clock)
        self._proven: Recent[tuple[str, bytes], bool] = Recent(size=REMEMBERED, max_age_s=PROVEN_S, clock=clock)

    def admit(self, address: str, known_as: bytes) -> None:
        """Raise ``TooManyRequests`` unless this address may try that key now."""
        place = network(address)
        tally = self._wrong.get(place)
        if tally is None or tally.wrong < self._allowed or self._proven.get((place, known_as)):
            return
        wait = math.ceil(tally.began + WINDOW_S - self._clock())
        raise TooManyRequests("too many wrong API keys came from this address", retry_after_s=max(1, wait))

    def wrong(self, address: str) -> None:
        """Count a key that was not right."""
        place = network(address)
        tally = self._wrong.get(place)
        if tally is None:
            tally = _Tally(self._clock())
            self._wrong.put(place, tally)
        tally.wrong += 1

    def right(self, address: str, known_as: bytes) -> None:
        """Remember a key that was right."""
        self._proven.put((network(address), known_as), value=True)


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Rates:
    """Requests of one caller: so many a second in the long run, more at once after quiet (a token bucket each).

    Whoever was refused once is known by the credential from then on, so that refusing it costs next to nothing. A
    refused request is not free for its caller either; but after a second of quiet the next one is answered.
    """

    def __init__(self, per_s: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._clock = clock
        self._buckets: Recent[str, _Bucket] = Recent(size=REMEMBERED, max_age_s=math.inf, clock=clock)
        self._busy: Recent[bytes, str] = Recent(size=REMEMBERED, max_age_s=math.inf, clock=clock)

    def take(self, subject: str, credential: str) -> None:
        """Count one request; raises ``TooManyRequests`` when it is one too many."""
        bucket = self._filled(subject)
        if bucket.level < 1:
            self._busy.put(_known_as(credential), subject)
            raise self._refused(bucket)
        bucket.level -= 1

    def refusal(self, credential: str) -> TooManyRequests | None:
        """The answer to a caller who was refused before and still asks too often."""
        subject = self._busy.get(_known_as(credential))
        if subject is None:
            return None
        bucket = self._filled(subject)
        return self._refused(bucket) if bucket.level < 1 else None

    def _filled(self, subject: str) -> _Bucket:
        """The bucket of a caller, as full as it is by now."""
        now = self._clock()
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = _Bucket(self._at_once, now)
            self._buckets.put(subject, bucket)
        bucket.level = min(self._at_once, bucket.level + (now - bucket.at) * self._per_s)
        bucket.at = now
        return bucket

    def _refused(self, bucket: _Bucket) -> TooManyRequests:
        lowest = min(0.0, 1 - self._per_s)  # full enough again after a second
        bucket.level = max(lowest, bucket.level - REFUSED_COSTS)
        wait = max(1, math.ceil((1 - bucket.level) / self._per_s))
        return TooManyRequests(f"more than {self._per_s:g} requests a second", retry_after_s=wait)


def _known_as(credential: str) -> bytes:
    return sha256(credential.encode()).digest()  # no credential is kept


def network(address: str) -> str:
    """What is counted as one place: an IPv4 address, or the /64 that one subscriber has of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:
        return address  # a Unix socket, a test
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found.ipv4_mapped or found) if isinstance(found, IPv6Address) else str(found)
