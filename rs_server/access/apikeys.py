"""API keys for scripts: made once, stored as a digest, and worth what their owner may do now.

A key is ``rsk_``, 43 characters (256 random bits, base64url) and 6 characters that check the others, so that a
mistyped or invented key is refused without a look into the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rs_server.access.directory import Directory
from rs_server.access.policy import Principal
from rs_server.access.recent import Recent
from rs_server.database import Database, Row
from rs_server.errors import NotAuthenticated, NotFound

PREFIX = "rsk_"
HEADER = "x-api-key"
DEFAULT_LIFE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=90)
BELIEVED_S = 30.0  # a key revoked by another server process lives at most this much longer
REMEMBERED_KEYS = 10_000

_FORM = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{43}})([A-Za-z0-9_-]{{6}})")


def new_key() -> str:
    """A key nobody has yet."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{secret}{_check(secret)}"


def well_formed(key: str) -> bool:
    """Whether this can be a key of ours at all."""
    parts = _FORM.fullmatch(key)
    return parts is not None and hmac.compare_digest(_check(parts[1]), parts[2])


def digest(key: str) -> bytes:
    """What is stored of a key (SHA-256: the key has 256 random bits, so there is nothing to slow down)."""
    return hashlib.sha256(key.encode()).digest()


def _check(secret: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(secret.encode()).to_bytes(4)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known about a key, which is everything but the key."""

    id: UUID
    name: str
    owner: str
    subject: str
    created: datetime
    created_by: str
    expires: datetime
    last_used: datetime | None

    @classmethod
    def from_row(cls, row: Row) -> ApiKey:
        """Read a row of ``rs.api_keys``."""
        return cls(**{name: row[name] for name in cls.__slots__})


class ApiKeys:
    """The keys in the database. Those seen a moment ago are answered from memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._valid: Recent[bytes, ApiKey] = Recent(size=REMEMBERED_KEYS, max_age_s=BELIEVED_S)
        self._unknown: Recent[bytes, str] = Recent(size=REMEMBERED_KEYS, max_age_s=BELIEVED_S)

    async def create(
        self, *, name: str, owner: str, subject: str, created_by: str, life: timedelta = DEFAULT_LIFE
    ) -> tuple[str, ApiKey]:
        """Make a key; the text is returned here and can never be had again."""
        key = new_key()
        values = [digest(key), name, owner, subject, created_by, datetime.now(UTC) + life]
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "INSERT INTO rs.api_keys (digest, name, owner, subject, created_by, expires) "
                "VALUES (%s, %s, %s, %s, %s, %s) RETURNING *",
                values,
            )
            row = await cursor.fetchone()
        assert row is not None
        return key, ApiKey.from_row(row)

    async def of(self, owner: str) -> list[ApiKey]:
        """The keys of a user that still hold, the newest first."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "SELECT * FROM rs.api_keys WHERE owner = %s AND revoked IS NULL AND expires > now() "
                "ORDER BY created DESC, id",
                [owner],
            )
            return [ApiKey.from_row(row) for row in await cursor.fetchall()]

    async def revoke(self, owner: str, key_id: UUID) -> None:
        """End a key of that user at once; ``NotFound`` if there is none."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "UPDATE rs.api_keys SET revoked = now() WHERE id = %s AND owner = %s AND revoked IS NULL",
                [key_id, owner],
            )
        if cursor.rowcount == 0:
            raise NotFound(f"there is no API key {key_id}")
        self._valid.forget(lambda key: key.id == key_id)

    async def valid(self, text: str) -> ApiKey:
        """The key behind a text that a caller sent; ``NotAuthenticated`` if it does not hold."""
        if not well_formed(text):
            raise NotAuthenticated("this is not an API key")
        known_as = digest(text)
        key = self._valid.get(known_as) or await self._look_up(known_as)
        if key is None or key.expires <= datetime.now(UTC):
            raise NotAuthenticated(
                "the API key is not valid (any more)", hint="make a new one with POST /auth/api_keys"
            )
        return key

    async def _look_up(self, known_as: bytes) -> ApiKey | None:
        """Read the key, and note that it is used: once in a while, not at each use."""
        if self._unknown.get(known_as):
            return None
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "UPDATE rs.api_keys SET last_used = now() "
                "WHERE digest = %s AND revoked IS NULL AND expires > now() RETURNING *",
                [known_as],
            )
            row = await cursor.fetchone()
        if row is None:
            self._unknown.put(known_as, "unknown")
            return None
        key = ApiKey.from_row(row)
        self._valid.put(known_as, key)
        return key


class KeyVerifier:
    """Turns an API key into its owner, with the roles the owner holds now."""

    def __init__(self, keys: ApiKeys, directory: Directory) -> None:
        self._keys = keys
        self._directory = directory

    async def verify(self, text: str) -> Principal:
        """The owner of a key that holds, as the directory has them; ``NotAuthenticated`` otherwise."""
        key = await self._keys.valid(text)
        user = await self._directory.user(key.subject)
        if user is None or not user.enabled:
            raise NotAuthenticated("the owner of this API key may not log in")
        return Principal(user.login, user.subject, user.roles, user.groups, via="api_key")
