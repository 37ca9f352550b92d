"""Carries one file from its station into the object storage: whole and checked, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from rs_server.errors import StationError, StationRefused, StationTimeout, StationUnavailable
from rs_server.staging.checksum import Checker
from rs_server.staging.plan import Transfer

log = structlog.get_logger(__name__)

Count = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections a file may take, each going on where the one before broke off, and the first pause between.

    The pauses double.
    """

    tries: int = 4
    pause_s: float = 0.5


PATIENCE = Patience()


class Source(Protocol):
    """What staging needs of the stations."""

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        """The STAC item; ``NotFound``."""
        ...

    def station_of(self, service: str, collection: str) -> str:
        """The station that a collection belongs to; ``NotFound``."""
        ...

    def stream(
        self, service: str, collection: str, asset: Mapping[str, Any], *, offset: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a file from ``offset`` on."""
        ...


class Sink(Protocol):
    """What a transfer needs of the object storage."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Write one object; an error of ``chunks`` leaves nothing behind."""
        ...

    async def size(self, key: str) -> int | None:
        """Size of an object, None without one."""
        ...


async def carry(transfer: Transfer, source: Source, sink: Sink, count: Count, patience: Patience = PATIENCE) -> None:
    """Carry one file, unless it is there already; ``count`` is told the bytes as they come.

    Raises the station's error when the file does not come, and ``StationRefused`` when it is not what was announced.
    """
    if await sink.size(transfer.key) == transfer.size:
        count(transfer.size)
        return
    async with aclosing(_whole(transfer, source, count, patience)) as chunks:
        await sink.put_stream(transfer.key, chunks)


async def _whole(transfer: Transfer, source: Source, count: Count, patience: Patience) -> AsyncGenerator[bytes]:
    """All bytes of the file; ends by raising unless they are the right ones, so that the object never appears."""
    done, checker = 0, Checker(transfer.checksum)
    async with aclosing(_persistent(transfer, source, patience)) as chunks:
        async for chunk in chunks:
            done += len(chunk)
            checker.update(chunk)
            count(len(chunk))
            yield chunk
    station = source.station_of(transfer.source.service, transfer.source.collection)
    if done != transfer.size:
        raise StationRefused(station, f"{transfer.name} has {done} bytes, not the {transfer.size} announced")
    if not checker.met:
        raise StationRefused(station, f"{transfer.name} does not have the checksum announced")


async def _persistent(transfer: Transfer, source: Source, patience: Patience) -> AsyncGenerator[bytes]:
    """The file's bytes over as many connections as it takes, as many as ``patience`` has."""
    done = 0
    for tries in range(1, patience.tries + 1):
        try:
            async with source.stream(
                transfer.source.service, transfer.source.collection, transfer.asset, offset=done
            ) as chunks:
                async for chunk in chunks:
                    done += len(chunk)
                    yield chunk
            if done >= transfer.size:
                return
        except (StationUnavailable, StationTimeout) as error:
            await _pause(transfer, patience, tries, error)
        else:
            await _pause(transfer, patience, tries, None)


async def _pause(transfer: Transfer, patience: Patience, tries: int, error: StationError | None) -> None:
    """Wait before the next connection; after the last one, let the error go on."""
    reason = error.detail if error else "the station ended the file early"
    log.warning("transfer_broke_off", file=transfer.name, tries=tries, reason=reason)
    if tries < patience.tries:
        await asyncio.sleep(patience.pause_s * 2 ** (tries - 1))
    elif error:
        raise error
