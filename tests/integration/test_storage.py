"""The object storage of a running installation: whole objects or none, and keys that open what they should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from rs_server.database import open_database
from rs_server.storage.buckets import PART_BYTES, Storage, open_storage
from rs_server.storage.credentials import CredentialIssuer, Credentials, Scope, key_maker
from tests.integration.jobs import SESSION, caller, s3, settings, some_collection, staged


@pytest.fixture
async def storage(platform: Any) -> AsyncIterator[Storage]:
    async with open_storage(settings(platform).storage) as storage:
        yield storage


@pytest.fixture
async def issuer(platform: Any) -> AsyncIterator[CredentialIssuer]:
    values = settings(platform)
    async with open_database(values.database) as database:
        yield CredentialIssuer(database, key_maker(values.storage), values.storage)


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "alice") as client:
        yield client


class Failed(Exception):
    """What a source raises half way."""


async def chunks(count: int, *, fail_at: int = -1, pause_s: float = 0) -> AsyncIterator[bytes]:
    for number in range(count):
        if number == fail_at:
            raise Failed
        await asyncio.sleep(pause_s)
        yield bytes([number % 256]) * (1024 * 1024)


def opened_with(key: Credentials) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=key.endpoint,
        region_name=key.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )


def refused(call: Any, **arguments: Any) -> str:
    """The code with which a call is refused; empty when it is not."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def unfinished(platform: Any, storage: Storage, prefix: str) -> list[Any]:
    found: list[Any] = s3(platform).list_multipart_uploads(Bucket=storage.bucket, Prefix=prefix).get("Uploads", [])
    return found


class TestStreams:
    @pytest.mark.parametrize("count", [0, 1, 2 * PART_BYTES // (1024 * 1024) + 3])
    async def test_all_chunks_become_one_object(self, storage: Storage, count: int) -> None:
        prefix = f"test/{some_collection()}/item/"
        assert await storage.put_stream(f"{prefix}a", chunks(count)) == count * 1024 * 1024
        assert await storage.size(f"{prefix}a") == count * 1024 * 1024
        assert await storage.prefix_size(prefix) == count * 1024 * 1024
        await storage.delete_prefix(prefix)
        assert await storage.size(f"{prefix}a") is None

    async def test_a_source_that_fails_leaves_nothing(self, platform: Any, storage: Storage) -> None:
        prefix = f"test/{some_collection()}/item/"
        with pytest.raises(Failed):
            await storage.put_stream(f"{prefix}a", chunks(20, fail_at=18))
        assert await storage.size(f"{prefix}a") is None
        assert unfinished(platform, storage, prefix) == []

    async def test_a_cancelled_stream_leaves_nothing(self, platform: Any, storage: Storage) -> None:
        prefix = f"test/{some_collection()}/item/"
        task = asyncio.create_task(storage.put_stream(f"{prefix}a", chunks(100, pause_s=0.02)))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await storage.size(f"{prefix}a") is None
        assert unfinished(platform, storage, prefix) == []

    async def test_no_more_than_an_item_is_deleted_at_once(self, storage: Storage) -> None:
        for prefix in ("", "alice/", "alice/s1-cadu/", "alice/s1-cadu/item"):
            with pytest.raises(ValueError, match="not the prefix of an item"):
                await storage.delete_prefix(prefix)


class TestKeys:
    async def test_a_key_opens_its_prefixes_only(self, issuer: CredentialIssuer, storage: Storage) -> None:
        base = f"test/{some_collection()}"
        for name in ("in", "out", "other"):
            await storage.put_stream(f"{base}/{name}/a", chunks(1))
        key = await issuer.issue("alice", "test", Scope(read=(f"{base}/in/",), write=(f"{base}/out/",)))
        try:
            client, bucket = opened_with(key), {"Bucket": key.bucket}
            assert refused(client.get_object, **bucket, Key=f"{base}/in/a") == ""
            assert refused(client.list_objects_v2, **bucket, Prefix=f"{base}/in/") == ""
            assert refused(client.put_object, **bucket, Key=f"{base}/out/b", Body=b"x") == ""
            assert refused(client.delete_object, **bucket, Key=f"{base}/out/b") == ""
            assert refused(client.put_object, **bucket, Key=f"{base}/in/b", Body=b"x") == "AccessDenied"
            assert refused(client.delete_object, **bucket, Key=f"{base}/in/a") == "AccessDenied"
            assert refused(client.get_object, **bucket, Key=f"{base}/other/a") == "AccessDenied"
            assert refused(client.list_objects_v2, **bucket, Prefix=f"{base}/") == "AccessDenied"
            assert refused(client.list_objects_v2, **bucket) == "AccessDenied"
        finally:
            await issuer.revoke(key.name)
        assert refused(client.get_object, **bucket, Key=f"{base}/in/a") == "InvalidAccessKeyId"
        await issuer.revoke(key.name)

    async def test_the_worker_revokes_what_has_expired(self, issuer: CredentialIssuer, storage: Storage) -> None:
        prefix = f"test/{some_collection()}/item/"
        await storage.put_stream(f"{prefix}a", chunks(1))
        key = await issuer.issue("alice", "test", Scope(read=(prefix,)), timedelta(seconds=1))
        client, end = opened_with(key), time.monotonic() + 30
        assert refused(client.get_object, Bucket=key.bucket, Key=f"{prefix}a") == ""
        while not refused(client.get_object, Bucket=key.bucket, Key=f"{prefix}a"):
            assert time.monotonic() < end, "the key still opens"
            await asyncio.sleep(0.5)


class TestRoute:
    def test_a_reader_gets_a_key_to_the_item(self, platform: Any, alice: httpx.Client) -> None:
        collection = some_collection()
        item = staged(alice, collection)
        answer = alice.post("/storage/credentials", json={"collection": item["collection"], "item": SESSION})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["prefix"] == f"alice/{collection}/{SESSION}/"
        client = boto3.client(
            "s3",
            endpoint_url=told["endpoint"],
            region_name=told["region"],
            aws_access_key_id=told["access_key_id"],
            aws_secret_access_key=told["secret_access_key"],
        )
        asset = next(iter(item["assets"].values()))
        key = asset["href"].removeprefix(f"s3://{told['bucket']}/")
        assert key.startswith(told["prefix"])
        got = client.get_object(Bucket=told["bucket"], Key=key)
        assert len(got["Body"].read()) == asset["file:size"]
        assert refused(client.put_object, Bucket=told["bucket"], Key=f"{told['prefix']}x", Body=b"x") == "AccessDenied"

    def test_who_may_not_read_finds_nothing(self, platform: Any, alice: httpx.Client) -> None:
        item = staged(alice, some_collection())
        wanted = {"collection": item["collection"]}
        assert alice.post("/storage/credentials", json=wanted).status_code == 200
        with caller(platform, "bob") as bob, caller(platform, "operator") as operator:
            assert bob.post("/storage/credentials", json=wanted).status_code == 404
            assert bob.post("/storage/credentials", json=wanted | {"item": SESSION}).status_code == 404
            assert operator.post("/storage/credentials", json=wanted).status_code == 403  # reads items, not their files
        assert alice.post("/storage/credentials", json=wanted | {"item": "none"}).status_code == 404
        assert alice.post("/storage/credentials", json={"collection": some_collection()}).status_code == 404
