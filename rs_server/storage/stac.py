"""What the STAC items that we write say of our storage, and of the times that we stamp."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

STORAGE = "https://stac-extensions.github.io/storage/v2.0.0/schema.json"
TIMESTAMPS = "https://stac-extensions.github.io/timestamps/v1.1.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
ALTERNATE = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"
EOPF = "https://cs-si.github.io/eopf-stac-extension/v1.2.0/schema.json"

AUTHENTICATION = "https://stac-extensions.github.io/authentication/v1.1.0/schema.json"
ALTERNATE = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"

SCHEME = "rs"  # the key of our storage among an item's storage:schemes, and what storage:refs of assets say


@dataclass(frozen=True, slots=True)
class Place:
    """Where files lie, and the address of the server that writes them there."""

    bucket: str
    endpoint: str
    region: str
    public_url: str
    issuer: str | None = None

    def at(self, bucket: str) -> Place:
        """The same with another bucket."""
        return replace(self, bucket=bucket)


def storage_schemes(place: Place) -> dict[str, Any]:
    """Our storage as the STAC storage extension describes it."""
    return {
        SCHEME: {
            "type": "custom-s3",
            "platform": place.endpoint,
            "region": place.region,
            "bucket": place.bucket,
            "requester_pays": False,
        }
    }


def auth_schemes(place: Place) -> dict[str, Any]:
    """How to get in there, and into the server itself, as the STAC authentication extension describes it."""
    schemes: dict[str, Any] = {"s3": {"type": "s3"}}
    if place.issuer:
        url = f"{place.issuer.rstrip('/')}/.well-known/openid-configuration"
        schemes["oidc"] = {"type": "openIdConnect", "openIdConnectUrl": url}
    return schemes


def stamp(moment: datetime) -> str:
    """A moment as STAC writes it, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
