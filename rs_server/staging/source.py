"""The bytes of a file from its station, from any offset on, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import structlog

from rs_server import tracing
from rs_server.errors import NotFound, RsError, StationError, StationRefused, StationTimeout, StationUnavailable
from rs_server.processes.references import Reference

log = structlog.get_logger(__name__)

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_ONE_SECOND = timedelta(seconds=1)
_WEAK = "W/"  # before a date as before an ETag: two answers may have the same, and be of different bytes
_BARREN = 4  # connections in a row that bring nothing, until the file is put back
_SLOW_S = 20.0
_SLOW_BYTES_PER_S = 4_000


class Gone(RsError):
    """The station does not have the file any more."""


class Changed(RsError):
    """What the station sends is not what was announced, or not of what it sent before: nothing of it can be kept."""


class RangesIgnored(RsError):
    """The station sent the whole file where a part was asked for."""


class Download(Protocol):
    """An answer of a station under way."""

    @property
    def status(self) -> int:
        """200, 206 or 416."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come; an error of the station when they break off."""
        ...


class Source(Protocol):
    """What carrying needs of the stations."""

    def download(
        self,
        service: str,
        collection: str,
        asset: Mapping[str, Any],
        *,
        range_: str | None = None,
        if_range: str | None = None,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> AbstractAsyncContextManager[Download]:
        """The bytes of a file, or a range of them if it is still the one that ``if_range`` names.

        ``again`` is awaited before each request that repeats the first.
        """
        ...


class Turns(Protocol):
    """The paces of the stations."""

    async def before_request(self, station: str) -> None:
        """Wait for the turn of a request."""
        ...

    async def after_bytes(self, station: str, owner: str, count: int) -> None:
        """Wait until so many bytes may have been fetched by a user."""
        ...

    def is_paced(self, station: str) -> bool:
        """Whether the bytes of a station are counted."""
        ...


@dataclass(slots=True)
class File:
    """One file at its station. ``validator`` names the bytes that were met first: all others must be of the same.

    A weak one, marked by ``W/``, only tells when they are not: no part is asked for under it.
    """

    stations: Source
    turns: Turns
    station: str
    owner: str
    reference: Reference
    name: str
    asset: Mapping[str, Any]
    size: int
    validator: str | None = None
    ranges: bool = True
    pause_s: float = 0.2

    async def read(self, start: int, end: int, *, alone: bool) -> AsyncGenerator[bytes]:
        """The bytes ``start`` to ``end``; goes on where a connection broke off, as long as some bring something.

        ``alone`` says that nothing else is read of the file meanwhile: a station that ignores ranges is then borne
        with, by passing over what comes before ``start``; else it raises ``RangesIgnored``.
        """
        at, barren, asked = start, 0, False
        while at < end or not (self.size or asked):  # an empty file is asked for as well: it may be gone, or have grown
            before, error = at, None
            try:
                async with aclosing(self._once(at, end, alone=alone)) as chunks:
                    async for chunk in chunks:
                        at += len(chunk)
                        yield chunk
                asked = True
            except (StationUnavailable, StationTimeout) as broken:
                error = broken
            if at >= end and (asked or self.size):
                return
            barren = 0 if at > before else barren + 1
            reason = error or StationUnavailable(self.station, f"it ended {self.name} early")
            if barren >= _BARREN or _asked_away(reason):
                raise reason
            log.info("download_broke_off", station=self.station, file=self.name, at=at, reason=reason.detail)
            await asyncio.sleep(self.pause_s * 2**barren * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret

    async def _once(self, start: int, end: int, *, alone: bool) -> AsyncGenerator[bytes]:
        """What one connection brings of the bytes ``start`` to ``end``."""
        async with self._open(start, end) as download:
            skip = start - self._begins(download, start, alone=alone)
            wanted = end - start
            longer = _end_of(download) != end
            async with aclosing(_steady(download.chunks, self.station)) as chunks:
                async for chunk in chunks:
                    if self.turns.is_paced(self.station):  # whatever they are
                        await self.turns.after_bytes(self.station, self.owner, len(chunk))
                    view = chunk[skip:] if skip else chunk
                    skip = max(0, skip - len(chunk))
                    if len(view) > wanted and end == self.size:
                        raise Changed(
                            f"station {self.station}: {self.name} has more than the {self.size} bytes announced"
                        )
                    longer = longer or len(view) > wanted  # whatever its header says
                    if view := view[:wanted]:
                        wanted -= len(view)
                        yield view
                    if not wanted and end < self.size and longer:
                        return  # a part is read to its end, though nothing comes any more: its connection is used again

    @asynccontextmanager
    async def _open(self, start: int, end: int) -> AsyncIterator[Download]:
        whole = start == 0 and end == self.size
        await self.turns.before_request(self.station)
        try:
            with tracing.leaf("station download", station=self.station, first=start):
                async with self.stations.download(
                    self.reference.service,
                    self.reference.collection,
                    self.asset,
                    range_=None if whole or not self.ranges else f"bytes={start}-{end - 1}",
                    if_range=None if whole or _is_weak(self.validator) else self.validator,
                    again=partial(self.turns.before_request, self.station),
                ) as download:
                    yield download
        except NotFound as error:
            raise Gone(error.detail) from error

    def _begins(self, download: Download, start: int, *, alone: bool) -> int:
        """Where the answer begins, after a look at whether it is of the file that was announced."""
        self._recognize(download)
        match download.status:
            case HTTPStatus.PARTIAL_CONTENT:
                found = _CONTENT_RANGE.fullmatch(download.headers.get("content-range", ""))
                if not found or int(found[1]) > start:
                    raise StationRefused(self.station, f"it sends a part of {self.name} that was not asked for")
                self._check_size(found[3])
                return int(found[1])
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise Changed(f"station {self.station}: {self.name} is shorter than the {self.size} bytes announced")
            case _:
                self._check_size(download.headers.get("content-length", "*"))
                if start:
                    self.ranges = False
                if start and not alone:
                    raise RangesIgnored(f"station {self.station} sends whole files only")
                return 0

    def _recognize(self, download: Download) -> None:
        if download.headers.get("content-type", "").startswith("text/html"):
            raise StationRefused(self.station, f"it sends a web page instead of {self.name}")
        now = _validator(download.headers)
        if self.validator and now and now.removeprefix(_WEAK) != self.validator.removeprefix(_WEAK):
            raise Changed(f"station {self.station}: {self.name} is another file than before")
        if now and (self.validator is None or _is_weak(self.validator)):
            self.validator = now

    def _check_size(self, told: str) -> None:
        if told != "*" and told != str(self.size):
            raise Changed(f"station {self.station}: {self.name} has {told} bytes, not the {self.size} announced")


def _end_of(download: Download) -> int | None:
    """Where a part of a file ends; None for a whole one."""
    found = _CONTENT_RANGE.fullmatch(download.headers.get("content-range", ""))
    return int(found[2]) + 1 if found and download.status == HTTPStatus.PARTIAL_CONTENT else None


def _validator(headers: Mapping[str, str]) -> str | None:
    """What names the bytes of an answer: a strong ETag, or its date, marked where it is weak.

    A date is strong when the answer is a second younger (RFC 9110 §8.8.2.2 and §13.1.5): of a file that was written in
    the second in which it is sent, another may have the same date.
    """
    if (etag := headers.get("etag", "")).startswith('"'):
        return etag if etag.isascii() else _WEAK + etag  # which octets it was written with, nobody knows
    if not (date := headers.get("last-modified")):
        return None
    written, sent = _date(date), _date(headers.get("date", ""))
    strong = written is not None and sent is not None and sent - written >= _ONE_SECOND
    return date if strong else _WEAK + date


def _is_weak(validator: str | None) -> bool:
    return validator is not None and validator.startswith(_WEAK)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of numbers without end
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)


async def _steady(chunks: AsyncIterator[bytes], station: str) -> AsyncGenerator[bytes]:
    """The chunks, as long as they do not come in drops."""
    begin, count = time.monotonic(), 0
    async for chunk in chunks:
        yield chunk
        count += len(chunk)
        now = time.monotonic()
        if now - begin > _SLOW_S:
            if count < _SLOW_BYTES_PER_S * (now - begin):
                raise StationTimeout(station, f"it sends no more than {count / (now - begin):.0f} bytes per second")
            begin, count = now, 0


def _asked_away(error: StationError) -> bool:
    """Whether the station named the time to come back: then nobody should ask before."""
    return bool(error.members.get("retry_after_s"))
