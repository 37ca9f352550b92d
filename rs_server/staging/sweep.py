"""Takes away what came to nothing: uploads of dead processes, objects that no item names, editions that were replaced.

Only what staging itself wrote is looked at, only after a time of grace, and never what is in use: an upload that a
transfer still goes on with, or an object that an item of the catalog names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from rs_server.errors import Unavailable
from rs_server.staging.model import Remains
from rs_server.staging.rows import UpkeepRows
from rs_server.storage import layout
from rs_server.storage.layout import Location
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

    async def ping(self) -> None:
        """Raise ``Unavailable`` unless the bucket answers."""
        ...


class Catalog(Protocol):
    """What sweeping needs of the catalog."""

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there."""
        ...


@dataclass(frozen=True, slots=True)
class Sweeper:
    """The sweep; any number of them may go on side by side."""

    rows: UpkeepRows
    uploads: Callable[[str], Uploads]  # of a bucket
    objects: Callable[[str], Objects]  # of a bucket
    catalog: Catalog
    grace_s: float

    @property
    def every_s(self) -> float:
        """How often it is worth while."""
        return max(2.0, min(60.0, self.grace_s / 4))

    async def sweep(self) -> None:
        """One pass over all there is; a bucket that does not answer holds up no other."""
        for bucket in await self.rows.buckets():
            try:
                await self._uploads(bucket)
            except Unavailable as error:
                log.warning("uploads_not_swept", bucket=bucket, reason=error.detail)
        await self._remains()

    async def _uploads(self, bucket: str) -> None:
        oldest, uploads = datetime.now(UTC) - timedelta(seconds=self.grace_s), self.uploads(bucket)
        old = [each for each in await uploads.unfinished() if each.begun <= oldest]
        ours = await self.rows.uploads_of(bucket, [each.key for each in old])
        for each in old:
            if each.key in ours and ours[each.key] != each.upload:
                await uploads.abort(each.key, each.upload)
                log.info("upload_swept", bucket=bucket, key=each.key)

    async def _remains(self) -> None:
        away: set[str] = set()
        while remains := await self.rows.remains(self.grace_s, away):
            used = await self._used(remains)
            of_bucket: dict[str, list[Remains]] = {}
            for each in remains:
                of_bucket.setdefault(each.place.bucket, []).append(each)
            for bucket, theirs in of_bucket.items():
                try:
                    kept = await self._take_away(bucket, [each for each in theirs if each.place not in used])
                except Unavailable as error:
                    log.warning("objects_not_swept", bucket=bucket, reason=error.detail)
                    away.add(bucket)
                else:
                    await self.rows.swept(theirs, kept, self.grace_s)

    async def _take_away(self, bucket: str, remains: Sequence[Remains]) -> list[Remains]:
        """Delete objects; those that could not be, though their bucket answers, are to hold up no others."""
        if not remains:
            return []
        objects = self.objects(bucket)
        try:
            await objects.delete([each.place.key for each in remains])
        except Unavailable:
            await objects.ping()
            kept = [each for each in remains if not await _deleted(objects, each)]
        else:
            kept = []
        log.info("objects_swept", bucket=bucket, count=len(remains) - len(kept))
        return kept

    async def _used(self, remains: Iterable[Remains]) -> set[Location]:
        """What items of the catalog name."""
        items: dict[str, set[str]] = {}
        for each in remains:
            items.setdefault(each.collection, set()).add(each.item)
        used: set[Location] = set()
        for collection, names in items.items():
            for item in (await self.catalog.items(collection, sorted(names))).values():
                used |= set(layout.named(item))
        return used


async def _deleted(objects: Objects, each: Remains) -> bool:
    try:
        await objects.delete([each.place.key])
    except Unavailable as error:
        log.warning("object_not_swept", bucket=each.place.bucket, key=each.place.key, reason=error.detail)
        return False
    return True
