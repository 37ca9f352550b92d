"""What a token says of itself, read without checking it: only for tokens that came straight from their issuer."""

from __future__ import annotations

import base64
import json
from typing import Any


def claims(token: str) -> dict[str, Any]:
    """The payload of a JSON web token; ``ValueError`` if it is not one."""
    try:
        payload = token.split(".")[1]
        return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError("not a JSON web token") from error


def life_left(token: str, now: float) -> float:
    """Seconds until an access token expires, negative once it has; ``now`` in seconds since 1970."""
    return float(claims(token).get("exp", 0)) - now
