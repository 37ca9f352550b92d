"""API keys: what a script shows instead of a login."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.flow import Flow, Server
from rs_client.glance import glance

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.session import RsClient

_ROUTE = "/auth/api_keys"
_USES = (
    ("list them", "s.keys.list()"),
    ("make one", 's.keys.create("chain", days=30)'),
    ("end one", "s.keys.revoke(id)"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about an API key; ``secret`` only in the answer that made it. Times have their zone.

    One that does not expire, as operators make them for service accounts, holds until it is revoked.
    """

    id: str
    name: str
    owner: str
    expires: datetime | None
    last_used: datetime | None = None
    secret: str = field(default="", repr=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Key:
        """Read a key's record."""
        return cls(
            id=document["id"],
            name=document["name"],
            owner=document["owner"],
            expires=_instant(document.get("expires")),
            last_used=_instant(document.get("last_used")),
            secret=document.get("api_key", ""),
        )

    def _repr_html_(self) -> str:
        note = "its secret is in .secret, and is told nowhere else" if self.secret else ""
        return display.card((), more=display.keys([self]), note=note)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class KeyList(list[Key]):
    """Keys, shown as a table."""

    def __repr__(self) -> str:
        return display.keys_text(self)

    def _repr_html_(self) -> str:
        return display.keys(self)


def created(server: Server, name: str, days: int | None) -> Flow[Key]:
    """Make a key. Raises as ``KeyClient.create``."""
    life = {} if days is None else {"expires_in_days": days}
    return Key.of((yield from server.post(_ROUTE, {"name": name, **life})))


def listed(server: Server) -> Flow[KeyList]:
    """The keys that still hold."""
    return KeyList(Key.of(document) for document in (yield from server.get(_ROUTE)))


def revoked(server: Server, key_id: str) -> Flow[None]:
    """End a key. Raises as ``KeyClient.revoke``."""
    yield from server.delete(f"{_ROUTE}/{key_id}")


class KeyClient:
    """Makes, lists and revokes your API keys."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def create(self, name: str, days: int | None = None) -> Key:
        """Make a key; its ``secret`` is told here and never again. ``days`` is its life; the server knows a default.

        Raises ``Forbidden`` when you are in by a key yourself, ``Invalid`` for a longer life than the server allows.
        """
        http = self._session.http
        return http.run(created(http.server, name, days))

    def list(self) -> KeyList:
        """Your keys that still hold."""
        http = self._session.http
        return http.run(listed(http.server))

    def revoke(self, key_id: str) -> None:
        """End a key at once; ``NotFound`` if it is not yours."""
        http = self._session.http
        http.run(revoked(http.server, key_id))

    def __repr__(self) -> str:
        return f"<KeyClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        held = glance(self._session.http, lambda http: http.run(listed(http.server)))
        more = display.keys(held.value, parts=2) if held.value else ""
        return display.card([("API keys", self._session.server_url), *_USES], more=more, note=held.excuse)


class AsyncKeyClient:
    """Makes, lists and revokes your API keys, for asyncio; raises as ``KeyClient``."""

    def __init__(self, session: AsyncRsClient) -> None:
        self._session = session

    async def create(self, name: str, days: int | None = None) -> Key:
        """Make a key; see ``KeyClient.create``."""
        http = self._session.http
        return await http.run(created(http.server, name, days))

    async def list(self) -> KeyList:
        """Your keys that still hold."""
        http = self._session.http
        return await http.run(listed(http.server))

    async def revoke(self, key_id: str) -> None:
        """End a key at once; ``NotFound`` if it is not yours."""
        http = self._session.http
        await http.run(revoked(http.server, key_id))

    def __repr__(self) -> str:
        return f"<AsyncKeyClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        uses = [(what, f"await {call}") for what, call in _USES]
        return display.card([("API keys", self._session.server_url), *uses])
