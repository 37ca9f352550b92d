"""API keys for scripts: made once, stored as a digest, and worth what their owner may do now, within their scopes.

A key is ``rsk_``, 43 characters (256 random bits, base64url) and 6 characters that check the others, so that a
mistyped or invented key is refused without a look into the database.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.access import audit
from rs_server.access.changes import Changes
from rs_server.access.directory import Directory
from rs_server.access.limits import Guesses
from rs_server.access.metrics import AccessMetrics
from rs_server.access.policy import Principal
from rs_server.access.recent import Recent
from rs_server.database import Database, Row
from rs_server.errors import Conflict, NotAuthenticated, NotFound, RsError, TooManyRequests

PREFIX = "rsk_"
HEADER = "x-api-key"
DEFAULT_LIFE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=90)
BELIEVED_S = 30.0  # a key revoked by another server process lives at most this much longer
GRACE_S = 0.05  # until a key that another server process just made is known here; it also slows a guess down
REMEMBERED_KEYS = 10_000
MOST_KEYS = 100  # that one owner has at a time

_RESULTS: Mapping[type[RsError], str] = {NotAuthenticated: "refused", TooManyRequests: "limited"}
_HOLDS = "revoked IS NULL AND (expires IS NULL OR expires > now())"
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
    expires: datetime | None  # None: until it is revoked
    last_used: datetime | None
    scopes: tuple[str, ...] | None  # None: all that the owner may
    digest: bytes  # SHA-256 of the key

    @classmethod
    def from_row(cls, row: Row) -> ApiKey:
        """Read a row of ``rs.api_keys``."""
        scopes = None if row["scopes"] is None else tuple(row["scopes"])
        return cls(**{name: row[name] for name in cls.__slots__ if name != "scopes"}, scopes=scopes)

    def ended(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


class ApiKeys:
    """The keys in the database.

    Which digests there are is held in memory and read again when a key was made or revoked, so that a wrong key costs
    no look into the database; what is known of the keys in use is remembered for a moment.
    """

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._valid: Recent[bytes, tuple[int | None, ApiKey]] = Recent(size=REMEMBERED_KEYS, max_age_s=BELIEVED_S)
        self._digests: frozenset[bytes] = frozenset()
        self._digests_of: int | None = None  # the version of the changes they were read at
        self._reading = asyncio.Lock()

    async def create(
        self,
        who: Principal,
        *,
        name: str,
        owner: str,
        subject: str,
        life: timedelta | None = DEFAULT_LIFE,
        scopes: Sequence[str] | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key, on record; the text is returned here and can never be had again. ``Conflict`` if it is one too
        many for its owner.
        """
        key, made = new_key(), datetime.now(UTC)
        expires = None if life is None else made + life
        values = [digest(key), name, owner, subject, who.login, made, expires, None if scopes is None else [*scopes]]
        async with self._database.connection() as conn:
            if await _count(conn, owner) >= MOST_KEYS:
                raise Conflict(f"{owner} has {MOST_KEYS} API keys", hint="revoke one that is not used any more")
            cursor = await conn.execute(
                "INSERT INTO rs.api_keys (digest, name, owner, subject, created_by, created, expires, scopes) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
                values,
            )
            row = await cursor.fetchone()
            assert row is not None
            found = ApiKey.from_row(row)
            entry = audit.Entry(who, "api_key.create", str(found.id), details={"owner": owner, "name": name})
            await audit.write(conn, entry)
        self._changes.happened()
        audit.tell(entry)
        return key, found

    async def of(self, owner: str) -> list[ApiKey]:
        """The keys of a user that still hold, the newest first."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                f"SELECT * FROM rs.api_keys WHERE owner = %s AND {_HOLDS} ORDER BY created DESC, id",  # noqa: S608
                [owner],
            )
            return [ApiKey.from_row(row) for row in await cursor.fetchall()]

    async def revoke(self, who: Principal, key_id: UUID) -> None:
        """End a key of that user at once, on record; ``NotFound`` if there is none."""
        entry = audit.Entry(who, "api_key.revoke", str(key_id))
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "UPDATE rs.api_keys SET revoked = now() WHERE id = %s AND owner = %s AND revoked IS NULL",
                [key_id, who.login],
            )
            if cursor.rowcount == 0:
                raise NotFound(f"there is no API key {key_id}")
            await audit.write(conn, entry)
        self._changes.happened()
        self._valid.forget(lambda known: known[1].id == key_id)
        audit.tell(entry)

    async def valid(self, text: str) -> ApiKey:
        """The key behind a text that a caller sent; ``NotAuthenticated`` if it does not hold."""
        if not well_formed(text):
            raise NotAuthenticated("this is not an API key")
        known_as = digest(text)
        key = self._remembered(known_as) or await self._look_up(known_as)
        if key is None or key.ended():
            raise NotAuthenticated(
                "the API key is not valid (any more)", hint="make a new one with POST /auth/api_keys"
            )
        return key

    def _remembered(self, known_as: bytes) -> ApiKey | None:
        version, key = self._valid.get(known_as) or (None, None)
        return key if version == (self._changes.version or version) else None

    async def _look_up(self, known_as: bytes) -> ApiKey | None:
        """Read the key, and note that it is used: once in a while, not at each use."""
        if not await self._is_there(known_as):
            return None
        version = self._changes.version
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                f"UPDATE rs.api_keys SET last_used = now() WHERE digest = %s AND {_HOLDS} RETURNING *",  # noqa: S608
                [known_as],
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        key = ApiKey.from_row(row)
        self._valid.put(known_as, (version, key))
        return key

    async def _is_there(self, known_as: bytes) -> bool:
        """Whether such a key holds, without asking the database; yes when that cannot be known."""
        version = self._changes.version
        if version is None or known_as in await self._there(version):
            return True
        await asyncio.sleep(GRACE_S)
        later = self._changes.version
        return later is None or known_as in await self._there(later)

    async def _there(self, version: int) -> frozenset[bytes]:
        """The digests of all keys that hold, as of that version of the changes or a later one."""
        async with self._reading:
            if self._digests_of is None or self._digests_of < version:
                version = self._changes.version or version
                async with self._database.connection() as conn:
                    cursor = await conn.execute(f"SELECT digest FROM rs.api_keys WHERE {_HOLDS}")  # noqa: S608
                    self._digests = frozenset(bytes(row["digest"]) for row in await cursor.fetchall())
                self._digests_of = version
        return self._digests


async def _count(conn: AsyncConnection[Row], owner: str) -> int:
    cursor = await conn.execute(f"SELECT count(*) AS n FROM rs.api_keys WHERE owner = %s AND {_HOLDS}", [owner])  # noqa: S608
    row = await cursor.fetchone()
    return int(row["n"]) if row else 0


class KeyVerifier:
    """Turns an API key into its owner, with the roles the owner holds now."""

    def __init__(
        self, keys: ApiKeys, directory: Directory, guesses: Guesses, metrics: AccessMetrics | None = None
    ) -> None:
        self._metrics = metrics or AccessMetrics()
        self._keys = keys
        self._directory = directory
        self._guesses = guesses

    async def verify(self, text: str, address: str) -> Principal:
        """The owner of a key that holds, as the directory has them.

        Raises ``NotAuthenticated`` for other keys, and ``TooManyRequests`` for an address that sent many of those.
        """
        try:
            who = await self._verified(text, address)
        except RsError as error:
            self._metrics.key_checked(_RESULTS.get(type(error), "unavailable"))
            raise
        self._metrics.key_checked("ok")
        return who

    async def _verified(self, text: str, address: str) -> Principal:
        known_as = digest(text)
        self._guesses.admit(address, known_as)
        try:
            key = await self._keys.valid(text)
        except NotAuthenticated:
            self._guesses.wrong(address)
            raise
        self._guesses.right(address, known_as)
        user = await self._directory.user(key.subject)
        if user is None or not user.enabled:
            raise NotAuthenticated("the owner of this API key may not log in")
        who = user.principal("api_key")
        return who if key.scopes is None else replace(who, scopes=frozenset(key.scopes))
