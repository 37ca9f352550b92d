"""Moments in time as stations and callers write them: RFC 3339 text and microseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)
_UTC_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_UTC_TEXTS = re.compile(rf"(?:{_UTC_TEXT.pattern})*", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DAY_US = 86_400_000_000
_FIRST_US = -62_135_596_800_000_000  # 0001-01-01
_LAST_US = 253_402_300_799_999_999  # 9999-12-31


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment, exact to the microsecond."""

    us: int

    @classmethod
    def of(cls, text: str) -> Instant:
        """The moment that an RFC 3339 text names."""
        return cls(micros(text))

    def __str__(self) -> str:
        text = (EPOCH + timedelta(microseconds=self.us)).isoformat(timespec="microseconds")
        return text.removesuffix("+00:00").removesuffix("000") + "Z"


BEFORE_ALL = Instant(_FIRST_US - 1)  # the open start of an interval
AFTER_ALL = Instant(_LAST_US + 1)  # its open end


def micros(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 text; without an offset it is UTC. ``ValueError`` for another text."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{text!r} is not a moment in time (RFC 3339)")
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    us = (moment - EPOCH) // _MICROSECOND
    if not _FIRST_US <= us <= _LAST_US:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999")
    return us


def strict(text: str) -> int:
    """Microseconds since 1970 of a text that is RFC 3339 to the letter; ``ValueError`` for another."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text!r} is not a moment in time with its offset (RFC 3339)")
    return micros(text)


@lru_cache(maxsize=16_384)  # the files of a session share some of their dates
def utc(text: str) -> str:
    """The same moment as RFC 3339 text that ends in Z; what already does is not touched."""
    return text if _UTC_TEXT.fullmatch(text) else str(Instant(micros(text)))


def are_utc(texts: Iterable[str]) -> bool:
    """Whether ``utc`` leaves all of them as they are."""
    return _UTC_TEXTS.fullmatch("".join(texts)) is not None


def span(text: str) -> tuple[Instant, Instant]:
    """First and last microsecond of what a text means: a whole day (``2024-11-14``) or one moment."""
    if _DATE.fullmatch(text):
        start = micros(f"{text}T00:00:00Z")
        return Instant(start), Instant(start + _DAY_US - 1)
    moment = Instant(micros(text))
    return moment, moment
