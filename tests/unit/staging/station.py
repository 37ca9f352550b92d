"""A station in memory: one session whose files are made of a seed, and the ways in which such a thing goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rs_server.errors import NotFound, StationUnavailable
from rs_server.staging.model import Lost, Transfer
from rs_server.stations.client import Page
from rs_server.stations.filters import conjunction
from rs_server.stations.search import SearchRequest
from rs_server.stations.station import Collection
from rs_server.stations.totals import Totals
from rs_server.storage.multipart import InvalidPart, NoSuchUpload

SESSION = "S1A_20241114143038056552"
CADU = bytes.fromhex("1acffc1d") + bytes(2040)


def content(name: str, size: int) -> bytes:
    """The bytes of a file: CADUs, as far as they are whole."""
    noise = Random(name).randbytes(size)
    return b"".join(CADU[:4] + noise[at + 4 : at + 2044] for at in range(0, size, 2044))[:size]


def asset(channel: int, block: int, size: int = 4088, *, final: bool = False) -> dict[str, Any]:
    """A file as the station's STAC item has it."""
    return {
        "href": f"http://station/odata/v1/Files(00000000-0000-0000-000{channel}-{block:012})/$value",
        "roles": ["cadu"],
        "type": "application/octet-stream",
        "file:size": size,
        "cadip:channel": channel,
        "cadip:block_number": block,
        "cadip:final_block": final,
        "externalIds": [{"scheme": "cadip", "value": f"00000000-0000-0000-000{channel}-{block:012}"}],
        "created": "2024-11-14T14:31:26.576Z",
        "eviction_datetime": "2024-11-21T14:30:00Z",
        "auth:refs": ["sgs-oidc"],
    }


def name_of(channel: int, block: int) -> str:
    """The name of a file."""
    return f"DCS_04_{SESSION}_ch{channel}_DSDB_{block:05}.raw"


def item() -> dict[str, Any]:
    """The session: two channels of two files."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://home.rs-python.eu/cadip-stac-extension/v1.4.0/schema.json",
            "https://stac-extensions.github.io/external-ids/v1.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.1.0/schema.json",
            "https://stac-extensions.github.io/timestamps/v1.1.0/schema.json",
        ],
        "id": SESSION,
        "collection": "s1-sgs",
        "geometry": None,
        "properties": {
            "datetime": "2024-11-14T14:30:44.018Z",
            "start_datetime": "2024-11-14T14:30:44.018Z",
            "end_datetime": "2024-11-14T14:33:48.812Z",
            "created": "2024-11-14T14:31:11.032Z",
            "published": "2024-11-14T14:31:11.032Z",
            "updated": "2024-11-14T14:31:11.032Z",
            "expires": "2024-11-21T14:30:00Z",
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "sat:absolute_orbit": 56552,
            "cadip:acquisition_id": "565521",
            "cadip:num_channels": 2,
            "cadip:station_unit_id": "04",
            "externalIds": [{"scheme": "cadip", "value": "6894eb36-416e-469e-8788-9a0a2b8f3a8d"}],
        },
        "assets": {name_of(ch, block): asset(ch, block, final=block == 2) for ch in (1, 2) for block in (1, 2)},
        "links": [],
    }


def checksum(data: bytes) -> str:
    """The MD5 of some bytes as a multihash."""
    return f"d50110{hashlib.md5(data, usedforsecurity=False).hexdigest()}"


@dataclass(frozen=True)
class Answer:
    """What a connection to the station brings."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    broken: bool = False

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes in small pieces."""
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), CHUNK):
            yield self.data[start : start + CHUNK]
        if self.broken:
            raise StationUnavailable("sgs", "broke the connection")


CHUNK = 1000
Fault = Callable[[int, Answer], Answer]
"""Number of the connection and what it would bring → what it does bring."""


@dataclass
class Station:
    """The far side; ``fault`` decides what each connection brings."""

    fault: Fault = lambda _, answer: answer
    down: bool = False
    ranges: bool = True
    session: dict[str, Any] = field(default_factory=item)
    requests: list[str] = field(default_factory=list)

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        """The session."""
        self.station_of(service, collection)
        if self.down:
            raise StationUnavailable("sgs", "did not answer")
        if item_id != SESSION:
            raise NotFound(f"item {item_id} does not exist")
        return self.session

    def station_of(self, service: str, collection: str) -> str:
        """The one station."""
        if (service, collection) != ("cadip", "s1-sgs"):
            raise NotFound(f"collection {collection} does not exist")
        return "sgs"

    def collections(self, service: str) -> list[Collection]:
        """The one collection."""
        return [Collection("s1-sgs", "sgs", "", "", {}, conjunction([]))] if service == "cadip" else []

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        """The session, whatever was asked for."""
        return Page([self.session])

    async def totals(self, service: str, collection: str, item: Mapping[str, Any]) -> Totals:
        """Nothing is ever said."""
        return Totals()

    @asynccontextmanager
    async def download(
        self,
        service: str,
        collection: str,
        asset: Mapping[str, Any],
        *,
        range_: str | None = None,
        if_range: str | None = None,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Answer]:
        """A file, or a range of it."""
        name = next(name for name, known in self.session["assets"].items() if known["href"] == asset["href"])
        self.requests.append(range_ or "whole")
        yield self.fault(len(self.requests), self._answer(content(name, asset["file:size"]), range_, if_range))

    def _answer(self, data: bytes, range_: str | None, if_range: str | None) -> Answer:
        etag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        if range_ is None or not self.ranges or if_range not in (None, etag):
            return Answer(200, {"etag": etag, "content-length": str(len(data))}, data)
        first, last = (int(end) for end in range_.removeprefix("bytes=").split("-"))
        headers = {"etag": etag, "content-range": f"bytes {first}-{last}/{len(data)}"}
        return Answer(206, headers, data[first : last + 1])


class Turns:
    """No limits."""

    async def before_request(self, station: str) -> None:
        """At once."""

    async def after_bytes(self, station: str, owner: str, count: int) -> None:
        """At once."""

    def is_paced(self, station: str) -> bool:
        """Never."""
        return False


@dataclass
class Bucket:
    """Objects and uploads in memory."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)

    async def begin(self, key: str) -> str:
        """A new upload."""
        self.uploads[f"upload-{len(self.uploads)}"] = {}
        return list(self.uploads)[-1]

    async def put_part(self, key: str, upload: str, number: int, data: bytes | bytearray) -> str:
        """Keep a part."""
        if upload not in self.uploads:
            raise NoSuchUpload("no such upload")
        self.uploads[upload][number] = bytes(data)
        return f"etag-{number}"

    async def complete(self, key: str, upload: str, parts: Mapping[int, str]) -> None:
        """Make the object of the parts."""
        if upload not in self.uploads:
            raise NoSuchUpload("no such upload")
        if any(etag != f"etag-{number}" for number, etag in parts.items()):
            raise InvalidPart("another part")
        there = self.uploads.pop(upload)
        self.objects[key] = b"".join(there[number] for number in sorted(parts))

    async def abort(self, key: str, upload: str) -> None:
        """Forget the parts."""
        self.uploads.pop(upload, None)

    async def put(self, key: str, data: bytes) -> None:
        """Keep an object."""
        self.objects[key] = data

    async def size(self, key: str) -> int | None:
        """Size of an object."""
        return len(self.objects[key]) if key in self.objects else None

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object."""
        yield self.objects[key]


class Uploads:
    """The multipart side of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.begin, self.put, self.complete, self.abort = bucket.begin, bucket.put_part, bucket.complete, bucket.abort

    async def copy(self, bucket: str, source: str, key: str) -> None:
        """Not here."""
        raise NotImplementedError


@dataclass
class Notes:
    """What a carrier leaves for the next; ``lost`` after so many writes."""

    there: dict[int, str] = field(default_factory=dict)
    upload: str | None = None
    validator: str | None = None
    ranges: bool = True
    lost_after: int | None = None

    def _write(self) -> None:
        if self.lost_after is not None:
            self.lost_after -= 1
            if self.lost_after < 0:
                raise Lost

    async def parts(self, transfer: Transfer) -> dict[int, str]:
        """The parts noted."""
        return dict(self.there)

    async def begin_upload(self, transfer: Transfer, upload: str, part_size: int) -> None:
        """Note the upload."""
        self._write()
        self.upload, self.there = upload, {}

    async def add_part(self, transfer: Transfer, number: int, etag: str) -> None:
        """Note a part."""
        self._write()
        self.there[number] = etag

    async def set_validator(self, transfer: Transfer, validator: str | None, *, ranges: bool) -> None:
        """Note what the parts are of."""
        self.validator, self.ranges = validator, ranges

    async def check(self, transfer: Transfer) -> None:
        """Note nothing."""
        self._write()
