"""Carries one file into the object storage: whole and checked, or not at all; no part of it is fetched again.

A small file is one object at once. A large one is a multipart upload, whose parts are noted as they get there: whoever
takes the transfer up next goes on with those that are missing. The checksum is made on the way; of a file that was
taken up half way, the bytes before have not been seen, so the object is read once more before it counts as whole.
The state of a checksum cannot be kept with the parts: hashlib and blake3 give none out, and a station names the
checksum of the whole file. It costs a read from our own object storage, not from the station, and only after a kill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from rs_server import tracing
from rs_server.database import persistently
from rs_server.errors import Unavailable
from rs_server.staging.fetch import Connections, Fetch
from rs_server.staging.inspection import Inspector
from rs_server.staging.model import Transfer
from rs_server.staging.parts import Cut, Part, cut
from rs_server.staging.source import Changed, File, Gone, RangesIgnored, Source, Turns
from rs_server.storage import layout
from rs_server.storage.multipart import InvalidPart, NoSuchUpload

_LONG_S = 2.0

Reached = Callable[[str], Awaitable[None]]
"""Told the named points of the work: the tests of recovery kill there."""


async def nowhere(_point: str) -> None:
    """Nothing happens at any point."""


class Objects(Protocol):
    """What carrying needs of the object storage."""

    async def put(self, key: str, data: bytes) -> None:
        """Write one small object."""
        ...

    async def size(self, key: str) -> int | None:
        """Size of an object, None without one."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object."""
        ...


class Multipart(Protocol):
    """What carrying needs of multipart uploads."""

    async def begin(self, key: str) -> str:
        """Begin one; its id."""
        ...

    async def put(self, key: str, upload: str, number: int, data: bytes | bytearray) -> str:
        """Write a part; its ETag."""
        ...

    async def complete(self, key: str, upload: str, parts: Mapping[int, str]) -> None:
        """Make the object."""
        ...

    async def abort(self, key: str, upload: str) -> None:
        """Take the parts away."""
        ...

    async def copy(self, bucket: str, source: str, key: str) -> None:
        """Copy an object inside the storage."""
        ...


class Notes(Protocol):
    """What carrying keeps for the next carrier; each raises ``Lost`` when the transfer is no longer this one's."""

    async def parts(self, transfer: Transfer) -> dict[int, str]:
        """The parts that are there."""
        ...

    async def begin_upload(self, transfer: Transfer, upload: str, part_size: int) -> None:
        """The upload that the parts go to."""
        ...

    async def add_part(self, transfer: Transfer, number: int, etag: str) -> None:
        """A part is there."""
        ...

    async def set_validator(self, transfer: Transfer, validator: str | None, *, ranges: bool) -> None:
        """What the parts are of."""
        ...

    async def check(self, transfer: Transfer) -> None:
        """Nothing is noted."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a file is carried between."""

    stations: Source
    turns: Turns
    objects: Callable[[str], Objects]  # of a bucket
    uploads: Callable[[str], Multipart]  # of a bucket
    notes: Notes
    part_bytes: int
    most_parts: int
    reached: Reached
    pause_s: float = 0.2  # before the first connection after one that brought nothing; each further one twice as long


@dataclass(slots=True)
class Meter:
    """How many bytes of a transfer are there, while it runs."""

    bytes_done: int = 0


async def carry(transfer: Transfer, world: World, meter: Meter, connections: Connections | None = None) -> str:
    """Carry one file; the multihash of its bytes. Without ``connections`` of its own, it has one for its whole time.

    Raises ``Gone``, ``Changed`` when it is not what was announced (nothing of it is kept), ``Lost``, or the error
    of the station or of the storage that kept it from going on.
    """
    return await _Carrying(transfer, world, meter, connections or Connections()).run()


@dataclass(slots=True)
class _Carrying:
    transfer: Transfer
    world: World
    meter: Meter
    connections: Connections
    objects: Objects = field(init=False)
    uploads: Multipart = field(init=False)
    file: File = field(init=False)
    upload: str | None = field(init=False)
    _noted: tuple[str | None, bool] = field(init=False)
    _beginning: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        of = self.transfer
        self.objects, self.uploads = self.world.objects(of.bucket), self.world.uploads(of.bucket)
        self.file = File(
            *(self.world.stations, self.world.turns, of.station, of.owner, of.source, of.name, of.asset, of.size),
            validator=of.validator,
            ranges=of.ranges,
            pause_s=self.world.pause_s,
        )
        self.upload = of.upload
        self._noted = of.validator, of.ranges

    async def run(self) -> str:
        try:
            return await self._carried()
        except Changed:
            if self.upload:  # an object that was made of it is swept: by now another carrier's may be in its place
                await persistently(lambda: self.world.notes.check(self.transfer))
                await self.uploads.abort(self.transfer.key, self.upload)
            raise

    async def _carried(self) -> str:
        await self.world.reached("reserved")
        if self.transfer.fence > 1 and await self.objects.size(self.transfer.key) == self.transfer.size:
            return await self._read_back()  # an earlier carrier got this far
        if not self.transfer.station:
            return await self._copied()
        if self.transfer.size <= self.world.part_bytes:
            return await self._small()
        return await self._large()

    async def _small(self) -> str:
        inspector, begun = self._inspector(), time.monotonic()
        data = bytearray()
        async with aclosing(self.file.read(0, self.transfer.size, alone=True)) as chunks:
            async for chunk in chunks:
                data += chunk
                self.meter.bytes_done = len(data)
        self.connections.give_back(self.connections.count)
        await self.world.reached("mid-part")
        inspector.update(data)
        digest = inspector.verdict()
        if time.monotonic() - begun > _LONG_S:  # whoever was asleep may be taken for dead
            await persistently(lambda: self.world.notes.check(self.transfer))
        with tracing.leaf("storage object"):
            await self.objects.put(self.transfer.key, bytes(data))
        await self.world.reached("complete")
        return digest

    async def _copied(self) -> str:
        place = layout.parse(str(self.transfer.asset.get("href")))
        try:
            await self.uploads.copy(place.bucket, place.key, self.transfer.key)
        except Unavailable as error:
            if await self.world.objects(place.bucket).size(place.key) is None:
                raise Gone(f"{self.transfer.name} is no longer in the object storage") from error
            raise
        await self.world.reached("complete")
        return await self._read_back()

    async def _large(self) -> str:
        whole = self._cut()
        parts = await self.world.notes.parts(self.transfer) if self.upload else {}
        self.meter.bytes_done = sum(whole.part(number).size for number in parts)
        inspector = None if parts else self._inspector()
        try:
            digest = await self._fetched(whole, parts, inspector)
            upload = await self._uploading(whole)
            await persistently(lambda: self.world.notes.check(self.transfer))
            await self.world.reached("part done")
            await self._complete(upload, parts)
        except NoSuchUpload as error:
            await self.world.notes.check(self.transfer)
            if await self.objects.size(self.transfer.key) != self.transfer.size:
                raise Changed(f"the parts of {self.transfer.name} are gone from the object storage") from error
            digest = None  # somebody completed it; of which parts is seen by reading it
        except InvalidPart as error:
            raise Changed(f"the parts of {self.transfer.name} in the object storage are not those written") from error
        await self.world.reached("complete")
        return digest or await self._read_back()

    async def _complete(self, upload: str, parts: Mapping[int, str]) -> None:
        """Make the object; of a large one, a storage that is asked again may say so while it is still at it."""
        await self.uploads.complete(self.transfer.key, upload, parts)
        if await self.objects.size(self.transfer.key) != self.transfer.size:
            raise Unavailable(f"the object storage is still completing {self.transfer.name}")

    def _cut(self) -> Cut:
        """As it was cut when its upload was begun, or is now."""
        if self.upload and self.transfer.part_size:
            return Cut(self.transfer.size, self.transfer.part_size)
        return cut(self.transfer.size, self.world.part_bytes, self.world.most_parts)

    async def _uploading(self, whole: Cut) -> str:
        """The upload that the parts go to, begun with the first of them: bytes are not kept waiting for it."""
        async with self._beginning:
            self.upload = self.upload or await self._begin(whole)
            return self.upload

    async def _begin(self, whole: Cut) -> str:
        upload = await self.uploads.begin(self.transfer.key)
        try:
            await persistently(lambda: self.world.notes.begin_upload(self.transfer, upload, whole.part_size))
        except BaseException:
            await self.uploads.abort(self.transfer.key, upload)
            raise
        return upload

    async def _fetched(self, whole: Cut, parts: dict[int, str], inspector: Inspector | None) -> str | None:
        """Fetch all missing parts; the checksum, if all bytes passed by in order. ``Changed`` when it is wrong."""
        wide = self.connections.count > 1
        try:
            await self._fetch(whole, parts, inspector).all(
                deque(whole.runs(parts, single=wide) if self.file.ranges else whole.rest(parts))
            )
        except RangesIgnored:
            inspector = None
            await self._note_file()
            await self._fetch(whole, parts, None).all(deque(whole.rest(parts)))
        return inspector.verdict() if inspector else None

    def _fetch(self, whole: Cut, parts: dict[int, str], inspector: Inspector | None) -> Fetch:
        async def put(part: Part, data: bytearray) -> None:
            if part.number in parts:
                return
            upload = await self._uploading(whole)
            with tracing.leaf("storage part", number=part.number):
                etag = await self.uploads.put(self.transfer.key, upload, part.number, data)
            await self._note_file()
            await persistently(lambda: self.world.notes.add_part(self.transfer, part.number, etag))
            parts[part.number] = etag
            await self.world.reached("mid-part")

        def count(size: int) -> None:
            self.meter.bytes_done += size

        return Fetch(self.file, put, count, inspector, self.connections)

    async def _note_file(self) -> None:
        """Keep what was learnt of the file, when it is more than was known."""
        learnt = self.file.validator, self.file.ranges
        if learnt != self._noted:
            self._noted = learnt
            await persistently(
                lambda: self.world.notes.set_validator(self.transfer, self.file.validator, ranges=self.file.ranges)
            )

    async def _read_back(self) -> str:
        """The checksum of what is in the object storage; ``Changed`` when it is wrong."""
        inspector = self._inspector()
        async for chunk in self.objects.read(self.transfer.key):
            await asyncio.to_thread(inspector.update, chunk)
        self.meter.bytes_done = self.transfer.size
        return inspector.verdict()

    def _inspector(self) -> Inspector:
        of = self.transfer
        return Inspector(of.name, of.asset, of.size, of.checksum)
