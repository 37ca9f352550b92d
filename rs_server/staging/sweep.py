"""Takes away what came to nothing: uploads of dead processes, objects that no item names, editions that were replaced.

Only what staging itself wrote is looked at, only after a time of grace, and never what is in use: an upload that a
transfer still goes on with, or an object that an item of the catalog names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from rs_server.staging.rows import Remains, StagingRows
from rs_server.storage import layout
from rs_server.storage.multipart import Unfinished

log = structlog.get_logger(__name__)


class Uploads(Protocol):
    """What sweeping needs of multipart uploads."""

    async def unfinished(self) -> list[Unfinished]:
        """All uploads under way."""
        ...

    async def abort(self, key: str, upload: str) -> None:
        """Take the parts away."""
        ...


class Objects(Protocol):
    """What sweeping needs of the object storage."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        ...


class Catalog(Protocol):
    """What sweeping needs of the catalog."""

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there."""
        ...


@dataclass(frozen=True, slots=True)
class Sweeper:
    """The sweep; any number of them may go on side by side."""

    rows: StagingRows
    uploads: Uploads
    objects: Objects
    catalog: Catalog
    bucket: str
    grace_s: float

    @property
    def every_s(self) -> float:
        """How often it is worth while."""
        return max(2.0, min(60.0, self.grace_s / 4))

    async def sweep(self) -> None:
        """One pass."""
        await self._uploads()
        await self._remains()

    async def _uploads(self) -> None:
        oldest = datetime.now(UTC) - timedelta(seconds=self.grace_s)
        old = [each for each in await self.uploads.unfinished() if each.begun <= oldest]
        ours = await self.rows.uploads_of([each.key for each in old])
        for each in old:
            if each.key in ours and ours[each.key] != each.upload:
                await self.uploads.abort(each.key, each.upload)
                log.info("upload_swept", key=each.key)

    async def _remains(self) -> None:
        remains = await self.rows.remains(self.grace_s)
        used = await self._used(remains)
        gone = [each.key for each in remains if each.key not in used]
        if gone:
            await self.objects.delete(gone)
            log.info("objects_swept", count=len(gone))
        await self.rows.swept(remains)

    async def _used(self, remains: Iterable[Remains]) -> set[str]:
        """The keys among them that items of the catalog name."""
        items: dict[str, set[str]] = {}
        for each in remains:
            items.setdefault(each.collection, set()).add(each.item)
        used: set[str] = set()
        for collection, names in items.items():
            for item in (await self.catalog.items(collection, sorted(names))).values():
                used |= set(_keys(item, self.bucket))
        return used


def _keys(item: Mapping[str, Any], bucket: str) -> Iterable[str]:
    place = layout.href(bucket, "")
    for asset in (item.get("assets") or {}).values():
        if str(asset.get("href", "")).startswith(place):
            yield str(asset["href"]).removeprefix(place)
