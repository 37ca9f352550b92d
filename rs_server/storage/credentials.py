"""Storage keys that open a few prefixes for a short time: made, handed out once, and taken back.

A row is written before the key is made and closed after it is gone, so that a crash at any point leaves nothing that
``sweep`` does not find. Secrets are in the answer only.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString, Protocol

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rs_server.database import Database
from rs_server.errors import Unavailable
from rs_server.settings import StorageSettings
from rs_server.storage.layout import Buckets

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

log = structlog.get_logger(__name__)

_POLICY = "scope"
_SWEEP_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """What a key opens: prefixes that end with a slash."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would open more than it says."""
        for prefix in (*self.read, *self.write):
            if not prefix.endswith("/") or prefix.startswith("/") or any(sign in prefix for sign in "*?$"):
                raise ValueError(f"{prefix!r} is not a prefix that a key may be limited to")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and where it opens what; ``name`` is what it is revoked by."""

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    endpoint: str
    region: str
    bucket: str
    expires: datetime


class KeyMaker(Protocol):
    """The storage's own way of making keys: IAM users with inline policies, or temporary sessions (STS)."""

    async def make(self, name: str, policy: dict[str, Any], expires: datetime) -> tuple[str, str]:
        """Make a key that may do what the policy says; access key and secret."""
        ...

    async def remove(self, name: str) -> None:
        """Make sure that the key opens nothing any more; no error when it is gone already."""
        ...


class CredentialIssuer:
    """Hands out keys, and takes them back."""

    def __init__(
        self, database: Database, keys: KeyMaker, settings: StorageSettings, buckets: Buckets | None = None
    ) -> None:
        self._database = database
        self._keys = keys
        self._settings = settings
        self._buckets = buckets or Buckets(settings.bucket)

    async def issue(self, login: str, purpose: str, scope: Scope, life: timedelta | None = None) -> Credentials:
        """Make a key for what ``login`` may do; default life: that of the settings."""
        expires = datetime.now(UTC) + (life or timedelta(seconds=self._settings.credentials_ttl_s))
        name = f"rs-{secrets.token_hex(8)}"
        async with self._database.connection() as conn:
            await conn.execute(
                "INSERT INTO rs.storage_credentials (name, login, purpose, read, write, expires) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [name, login, purpose, list(scope.read), list(scope.write), expires],
            )
        access_key, secret_key = await self._keys.make(name, policy(self._buckets.all, scope), expires)
        log.info("storage_key_issued", name=name, login=login, purpose=purpose, expires=expires.isoformat())
        place = self._settings
        return Credentials(name, access_key, secret_key, place.endpoint, place.region, place.bucket, expires)

    async def revoke(self, name: str) -> None:
        """End a key at once."""
        await self._keys.remove(name)
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE rs.storage_credentials SET revoked = now() WHERE name = %s AND revoked IS NULL", [name]
            )
        log.info("storage_key_revoked", name=name)

    async def revoke_all(self, purpose: str) -> int:
        """End all keys that were made for a purpose; how many they were.

        Each was noted before it was made, so none is forgotten, whoever died in between.
        """
        return await self._revoke_open("purpose = %s", purpose)

    async def sweep(self) -> int:
        """Revoke the keys whose time is over; how many they were."""
        return await self._revoke_open("expires < now() ORDER BY expires LIMIT %s", _SWEEP_LIMIT)

    async def _revoke_open(self, which: LiteralString, value: object) -> int:
        async with self._database.connection() as conn:
            found = await conn.execute(
                f"SELECT name FROM rs.storage_credentials WHERE revoked IS NULL AND {which}",  # noqa: S608 - ours
                [value],
            )
            names = [str(row["name"]) for row in await found.fetchall()]
        for name in names:
            await self.revoke(name)
        return len(names)


def policy(buckets: Iterable[str], scope: Scope) -> dict[str, Any]:
    """The scope, in each of these buckets, as an IAM policy document."""
    whole = [f"arn:aws:s3:::{bucket}" for bucket in sorted(buckets)]
    everything = sorted({*scope.read, *scope.write})
    statements = [
        _allow(["s3:GetObject"], [f"{bucket}/{prefix}*" for bucket in whole for prefix in everything]),
        {
            **_allow(["s3:ListBucket"], whole),
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in everything]}},
        },
    ]
    if scope.write:
        changes = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        statements.append(_allow(changes, [f"{bucket}/{prefix}*" for bucket in whole for prefix in scope.write]))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


class IamUsers:
    """One IAM user with one inline policy and one key for each credential (VersityGW, Ceph)."""

    def __init__(self, client: IAMClient) -> None:
        self._client = client

    async def make(self, name: str, policy: dict[str, Any], expires: datetime) -> tuple[str, str]:  # noqa: ARG002
        """Make the user; it lives until it is removed, the expiry is ours to keep."""
        return await asyncio.to_thread(self._make, name, json.dumps(policy))

    async def remove(self, name: str) -> None:
        """Delete the user's keys first, so that a failure half way has already closed the door."""
        await asyncio.to_thread(self._remove, name)

    def _make(self, name: str, document: str) -> tuple[str, str]:
        try:
            self._client.create_user(UserName=name)
            self._client.put_user_policy(UserName=name, PolicyName=_POLICY, PolicyDocument=document)
            key = self._client.create_access_key(UserName=name)["AccessKey"]
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("the storage's IAM service made no key") from error
        return key["AccessKeyId"], key["SecretAccessKey"]

    def _remove(self, name: str) -> None:
        try:
            for key in self._client.list_access_keys(UserName=name)["AccessKeyMetadata"]:
                self._client.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
            for attached in self._client.list_user_policies(UserName=name)["PolicyNames"]:
                self._client.delete_user_policy(UserName=name, PolicyName=attached)
            self._client.delete_user(UserName=name)
        except self._client.exceptions.NoSuchEntityException:
            return
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("the storage's IAM service removed no key") from error


class NoKeys:
    """A storage without a service that makes keys."""

    async def make(self, name: str, policy: dict[str, Any], expires: datetime) -> tuple[str, str]:  # noqa: ARG002
        """Refuse, saying which setting is missing."""
        raise Unavailable("this server hands out no storage keys", hint="an operator sets storage.iam_endpoint")

    async def remove(self, name: str) -> None:
        """Nothing was made."""


def key_maker(settings: StorageSettings) -> KeyMaker:
    """The way of making keys that the settings name."""
    if settings.iam_endpoint is None:
        return NoKeys()
    client = boto3.client(
        "iam",
        endpoint_url=settings.iam_endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 3}),
    )
    return IamUsers(client)
