"""API keys: what a script shows instead of a login."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rs_client import display

if TYPE_CHECKING:
    from rs_client.session import RsClient


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
        return display.keys([self])


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class KeyList(list[Key]):
    """Keys, shown as a table."""

    def __repr__(self) -> str:
        return display.keys_text(self)

    def _repr_html_(self) -> str:
        return display.keys(self)


class KeyClient:
    """Makes, lists and revokes your API keys."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def create(self, name: str, days: int | None = None) -> Key:
        """Make a key; its ``secret`` is told here and never again. ``days`` is its life; the server knows a default.

        Raises ``Forbidden`` when you are in by a key yourself, ``Invalid`` for a longer life than the server allows.
        """
        life = {} if days is None else {"expires_in_days": days}
        return Key.of(self._session.http.post("/auth/api_keys", {"name": name, **life}))

    def list(self) -> KeyList:
        """Your keys that still hold."""
        return KeyList(Key.of(document) for document in self._session.http.get("/auth/api_keys"))

    def revoke(self, key_id: str) -> None:
        """End a key at once; ``NotFound`` if it is not yours."""
        self._session.http.delete(f"/auth/api_keys/{key_id}")

    def __repr__(self) -> str:
        return f"<KeyClient {self._session.server_url}>"
