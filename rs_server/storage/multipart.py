"""Multipart uploads that outlive the process that began them.

A writer of obstore keeps the id of its upload to itself, so that no other process can go on with it; the calls that can
are boto3's, and run in threads. Bodies go unsigned, as a checksum of the whole is made and kept by who calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from rs_server.errors import RsError
from rs_server.settings import StorageSettings
from rs_server.storage.buckets import failures
from rs_server.storage.metrics import StorageMetrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = 16
_ATTEMPTS = 6
_COPIED_AT_ONCE = 512 * 1024**2  # no byte of it is in our memory, and all of it is copied within the time for an answer
_COPYING = TransferConfig(multipart_threshold=_COPIED_AT_ONCE, multipart_chunksize=_COPIED_AT_ONCE)


class NoSuchUpload(RsError):
    """The upload was completed or aborted."""


class InvalidPart(RsError):
    """A part is not there, or not the one that was written: somebody else has written one in its place."""


_NAMED: Mapping[str, tuple[type[RsError], str]] = {
    "NoSuchUpload": (NoSuchUpload, "an upload was ended"),
    "InvalidPart": (InvalidPart, "a part is missing or another one"),
}


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload under way."""

    key: str
    upload: str
    begun: datetime


class Uploads:
    """The multipart uploads of one bucket."""

    def __init__(self, client: S3Client, bucket: str, threads: ThreadPoolExecutor, metrics: StorageMetrics) -> None:
        self._client = client
        self._bucket = bucket
        self._threads = threads
        self._metrics = metrics

    def at(self, bucket: str) -> Uploads:
        """Those of another bucket of the same storage."""
        return Uploads(self._client, bucket, self._threads, self._metrics)

    async def begin(self, key: str) -> str:
        """Begin an upload; its id."""
        answer = await self._call(
            f"beginning {key}", self._client.create_multipart_upload, Bucket=self._bucket, Key=key
        )
        return str(answer["UploadId"])

    async def put(self, key: str, upload: str, number: int, data: bytes | bytearray) -> str:
        """Write one part; its ETag. ``NoSuchUpload``."""
        answer = await self._call(
            f"writing part {number} of {key}",
            self._client.upload_part,
            Bucket=self._bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=data,
        )
        return str(answer["ETag"])

    async def complete(self, key: str, upload: str, parts: Mapping[int, str]) -> None:
        """Make the object of its parts, number to ETag. ``NoSuchUpload``, ``InvalidPart``."""
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(parts.items())]
        await self._call(
            f"completing {key}",
            self._client.complete_multipart_upload,
            Bucket=self._bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": listed},
        )

    async def abort(self, key: str, upload: str) -> None:
        """Take the parts of an upload away; nothing happens when it is no more, or its bucket is gone."""
        with failures(self._metrics, f"aborting {key}"):
            gone = self._client.exceptions
            try:
                await self._in_thread(
                    partial(self._client.abort_multipart_upload, Bucket=self._bucket, Key=key, UploadId=upload)
                )
            except (gone.NoSuchUpload, gone.NoSuchBucket):
                return

    async def copy(self, bucket: str, source: str, key: str) -> None:
        """Copy an object inside the storage; a large one by parts."""
        await self._call(
            f"copying {source}",
            self._client.copy,
            CopySource={"Bucket": bucket, "Key": source},
            Bucket=self._bucket,
            Key=key,
            Config=_COPYING,
        )

    async def unfinished(self) -> list[Unfinished]:
        """All uploads under way in the bucket; there are none in one that is gone."""
        return await self._in_thread(self._unfinished)

    def _unfinished(self) -> list[Unfinished]:
        with failures(self._metrics, "listing uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket)
            try:
                return [
                    Unfinished(each["Key"], each["UploadId"], each["Initiated"])
                    for page in pages
                    for each in page.get("Uploads", [])
                ]
            except self._client.exceptions.NoSuchBucket:
                return []

    async def _call(
        self, doing: str, call: Callable[..., dict[str, object]] | Callable[..., object], **values: object
    ) -> dict[str, object]:
        with failures(self._metrics, doing):
            try:
                answer = await self._in_thread(partial(call, **values))
            except ClientError as error:
                if named := _NAMED.get(error.response.get("Error", {}).get("Code", "")):
                    kind, what = named
                    raise kind(f"{what} while {doing}") from error
                raise
        return answer if isinstance(answer, dict) else {}

    async def _in_thread[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def open_uploads(settings: StorageSettings, threads: ThreadPoolExecutor, metrics: StorageMetrics) -> Uploads:
    """The uploads of the bucket of the settings; what it refuses for the moment is asked again after pauses."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=THREADS,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": False},
        ),
    )
    return Uploads(client, settings.bucket, threads, metrics)
