"""A station in memory: one session whose files are made of a seed, and the ways in which such a thing goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from rs_server.errors import NotFound, StationUnavailable

SESSION = "S1A_20241114143038056552"
CHUNK = 1000

Fault = Callable[[str, int, bytes], bytes | None]
"""Name of a file, number of the connection and the bytes it would carry → those it does carry; None: breaks off."""


def content(name: str, size: int) -> bytes:
    """The bytes of a file."""
    return Random(name).randbytes(size)


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


class Station:
    """The far side; ``fault`` decides what each connection carries."""

    def __init__(self, fault: Fault = lambda _name, _connection, data: data, *, down: bool = False) -> None:
        self.fault = fault
        self.down = down
        self.connections: list[tuple[str, int]] = []
        self.session = item()

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

    @asynccontextmanager
    async def stream(
        self, service: str, collection: str, asset: Mapping[str, Any], *, offset: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file, in small chunks."""
        self.station_of(service, collection)
        name = next(name for name, known in self.session["assets"].items() if known["href"] == asset["href"])
        self.connections.append((name, offset))
        if self.down:
            raise StationUnavailable("sgs", "refused the connection")
        yield self._chunks(name, content(name, asset["file:size"])[offset:])

    async def _chunks(self, name: str, data: bytes) -> AsyncIterator[bytes]:
        carried = self.fault(name, sum(name == seen for seen, _ in self.connections), data)
        broken = carried is None
        whole = data[: len(data) // 2] if carried is None else carried
        for start in range(0, len(whole), CHUNK):
            yield whole[start : start + CHUNK]
        if broken:
            raise StationUnavailable("sgs", "broke the connection")


class Bucket:
    """Objects in memory: whole ones only, as the real one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.aborted: list[str] = []

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Keep an object once all of it came."""
        data = b"".join([chunk async for chunk in chunks])
        self.objects[key] = data
        return len(data)

    async def size(self, key: str) -> int | None:
        """Size of an object."""
        return len(self.objects[key]) if key in self.objects else None

    async def abort_uploads(self, prefix: str) -> int:
        """Note that it was asked for."""
        self.aborted.append(prefix)
        return 0
