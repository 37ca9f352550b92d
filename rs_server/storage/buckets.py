"""The bucket: whole objects in, by streaming, or none at all.

An object becomes visible when its last part is in. A writer that fails or is cancelled takes its parts away. What
must survive a kill is written by ``multipart``, whose uploads staging knows by its rows and sweeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import boto3
import obstore
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError
from obstore.store import S3Store

from rs_server.errors import Unavailable
from rs_server.settings import StorageSettings
from rs_server.storage.metrics import StorageMetrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore import ObjectMeta

log = structlog.get_logger(__name__)

PART_BYTES = 8 * 1024 * 1024
_PARTS_IN_FLIGHT = 2  # of one object; with the buffer being filled, three parts of memory a transfer


class Storage:
    """One bucket, through obstore; the few calls that it has not, through boto3."""

    def __init__(self, store: S3Store, admin: S3Client, settings: StorageSettings, metrics: StorageMetrics) -> None:
        self.metrics = metrics
        self._store = store
        self._admin = admin
        self._settings = settings
        self._others: dict[str, Storage] = {}
        self.bucket = settings.bucket
        self.endpoint = settings.endpoint
        self.region = settings.region

    def at(self, bucket: str) -> Storage:
        """The same storage's other bucket."""
        if bucket == self.bucket:
            return self
        if bucket not in self._others:
            settings = self._settings.model_copy(update={"bucket": bucket})
            self._others[bucket] = Storage(_store(settings), self._admin, settings, self.metrics)
        return self._others[bucket]

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Write all chunks as one object, and answer its size in bytes.

        An error of ``chunks``, or cancellation, leaves no object and no parts behind.
        """
        size = 0
        with failures(self.metrics, f"writing {key}"):
            writer = obstore.open_writer_async(
                self._store, key, buffer_size=PART_BYTES, max_concurrency=_PARTS_IN_FLIGHT
            )
            async with writer:
                async for chunk in chunks:
                    await writer.write(chunk)
                    size += len(chunk)
        return size

    async def put(self, key: str, data: bytes) -> None:
        """Write one small object."""
        with failures(self.metrics, f"writing {key}"):
            await obstore.put_async(self._store, key, data, use_multipart=False)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object."""
        with failures(self.metrics, f"reading {key}"):
            answer = await obstore.get_async(self._store, key)
            async for chunk in answer.stream(min_chunk_size=PART_BYTES):
                yield bytes(chunk)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there do not matter, nor does a bucket that is gone."""
        with failures(self.metrics, f"deleting {len(keys)} objects"), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, list(keys))

    async def size(self, key: str) -> int | None:
        """Size of an object in bytes, or None when there is none."""
        with failures(self.metrics, f"looking at {key}"):
            try:
                return (await obstore.head_async(self._store, key))["size"]
            except FileNotFoundError:
                return None

    async def keys(self, prefix: str, after: str = "") -> AsyncIterator[tuple[str, int]]:
        """Keys under a prefix with their sizes in bytes, in the order of the keys, from after one on."""
        with failures(self.metrics, f"listing {prefix}"):
            async for page in obstore.list(self._store, prefix, offset=after or None):
                for entry in page:
                    yield entry["path"], entry["size"]

    async def signed(self, key: str, life: timedelta) -> str:
        """An address that reads this one object, by GET alone, for so long without any further login."""
        with failures(self.metrics, f"signing {key}"):
            return await obstore.sign_async(self._store, "GET", key, life)

    async def delete_older(self, key: str, moment: datetime) -> int:
        """Delete an object and what lies under it as under a folder; how many objects that were.

        What was written after the moment stays: somebody has put it there anew. In a bucket that is gone is nothing.
        """
        gone = 0
        name = key.removesuffix("/")
        with failures(self.metrics, f"deleting {key}"), suppress(FileNotFoundError):
            async for page in obstore.list(self._store, f"{name}/"):
                gone += await self._delete(page, moment)
            gone += await self._delete([await obstore.head_async(self._store, name)], moment)
        return gone

    async def _delete(self, entries: Sequence[ObjectMeta], moment: datetime) -> int:
        old = [entry["path"] for entry in entries if entry["last_modified"] <= moment]
        if old:
            await obstore.delete_async(self._store, old)
        return len(old)

    async def prefix_size(self, prefix: str) -> int:
        """Bytes of all objects under a prefix."""
        total = 0
        with failures(self.metrics, f"listing {prefix}"):
            async for page in obstore.list(self._store, prefix):
                total += sum(entry["size"] for entry in page)
        return total

    async def etags(self, prefix: str) -> dict[str, str]:
        """What the storage itself tells objects under a prefix apart by: their entity tags, by key."""
        found: dict[str, str] = {}
        with failures(self.metrics, f"listing {prefix}"):
            async for page in obstore.list(self._store, prefix):
                found |= {entry["path"]: entry["e_tag"] or "" for entry in page}
        return found

    async def delete_prefix(self, prefix: str) -> None:
        """Delete every object under a prefix, which ends with a slash."""
        if not prefix.endswith("/") or prefix.count("/") < 3:  # owner/collection/item/
            raise ValueError(f"{prefix} is not the prefix of an item")
        with failures(self.metrics, f"deleting {prefix}"):
            async for page in obstore.list(self._store, prefix):
                await obstore.delete_async(self._store, [entry["path"] for entry in page])

    async def ping(self) -> None:
        """Raise ``Unavailable`` unless the bucket answers."""
        with failures(self.metrics, "looking at the bucket"):
            await obstore.list_with_delimiter_async(self._store, "ready/")


@asynccontextmanager
async def open_storage(settings: StorageSettings, others: Iterable[str] = ()) -> AsyncIterator[Storage]:
    """The bucket of the settings; a storage that does not answer yet tells at first use.

    It is made if it is not there, and so are the ``others``.
    """
    admin, metrics = _admin(settings), StorageMetrics()
    try:
        for bucket in sorted({settings.bucket, *others}):
            await asyncio.to_thread(_ensure_bucket, admin, bucket, metrics)
    except Unavailable as error:
        log.warning("storage_not_ready", reason=error.detail)
    yield Storage(_store(settings), admin, settings, metrics)


def _store(settings: StorageSettings) -> S3Store:
    return S3Store(
        settings.bucket,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key_id=settings.access_key,
        secret_access_key=settings.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": settings.endpoint.startswith("http:"), "connect_timeout": timedelta(seconds=5)},
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
    )


def _admin(settings: StorageSettings) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2}),
    )


def _ensure_bucket(admin: S3Client, bucket: str, metrics: StorageMetrics) -> None:
    with failures(metrics, f"making the bucket {bucket}"):
        try:
            admin.create_bucket(Bucket=bucket)
        except (admin.exceptions.BucketAlreadyOwnedByYou, admin.exceptions.BucketAlreadyExists):
            return
    log.info("bucket_created", bucket=bucket)


@contextmanager
def failures(metrics: StorageMetrics, doing: str) -> Iterator[None]:
    """Count what the two clients raise, by the verb that ``doing`` begins with, and turn it into our own error.

    The first line of theirs says enough.
    """
    try:
        yield
    except (BaseError, FileNotFoundError, BotoCoreError, ClientError) as error:  # obstore has Python's own for 404
        metrics.failed(doing.partition(" ")[0], _code(error))
        reason = str(error).partition("\n")[0][:300]
        raise Unavailable(f"the object storage failed while {doing}: {reason}") from error


def _code(error: Exception) -> str:
    """S3's own code where the client tells it, else the kind of the client's error."""
    told = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return told or type(error).__name__
