"""Where a station sends downloads on to: its other door, which wants the token again, or a presigned address.

A presigned address carries its right in the query, as S3's do, and like S3 it refuses a request that brings a token.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from rs_server.simulators.clock import micros
from rs_server.simulators.model import text

MIRROR_ROOT = "/mirror/odata/v1"
OBJECTS_ROOT = "/objects"
_GOOD_FOR = timedelta(minutes=15)


@dataclass(frozen=True)
class Presigner:
    """Signs addresses of files, and knows its own signature again."""

    key: bytes

    def address(self, base: str, path: str, client: str, now: datetime) -> str:
        """The presigned address of a path below the objects' root, for a client and a quarter of an hour of the
        station's time."""
        until = micros(now + _GOOD_FOR)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "station/eu/s3/aws4_request",
            "X-Amz-Date": text(now),
            "X-Amz-Expires": str(until),
            "X-Amz-Signature": self._sign(path, client, until),
            "X-Station-Client": client,
        }
        return f"{base}{OBJECTS_ROOT}/{quote(path)}?{urlencode(query)}"

    def allows(self, path: str, client: str, expires: str, signature: str, now: datetime) -> bool:
        """Whether the signature is ours and still good."""
        if not (expires.isascii() and expires.isdigit()) or int(expires) < micros(now):
            return False
        return hmac.compare_digest(signature.encode(), self._sign(path, client, int(expires)).encode())

    def _sign(self, path: str, client: str, until: int) -> str:
        return hmac.new(self.key, f"{path}\0{client}\0{until}".encode(), hashlib.sha256).hexdigest()
