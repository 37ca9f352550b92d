"""A staged session as the catalog has it, and the work of making its product."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.dpr.payload import Work, work
from rs_server.dpr.processors import TASKS, Processor
from rs_server.processes.references import Reference
from rs_server.storage.credentials import Credentials
from rs_server.storage.stac import Place

SESSION = "S1A_20241114143038056552"
PREFIX = f"alice/s1-cadu/{SESSION}/"
SOURCE = Reference("catalog", "alice_s1-cadu", SESSION)
TARGET = CollectionName("alice", "s1-l0")
PLACE = Place("rs-data", "http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:8000")
S1_L0 = Processor("s1-l0", "rs_client.processing.payload:run_payload", TASKS["s1-l0"])
KEYS = Credentials(
    "rs-1", "AK", "SECRET", PLACE.endpoint, PLACE.region, PLACE.bucket, datetime(2026, 11, 24, tzinfo=UTC)
)


def asset(channel: int, block: int, href: str = "") -> dict[str, Any]:
    """A staged file."""
    return {
        "href": href or f"s3://rs-data/{PREFIX}ch{channel}_{block}.raw",
        "roles": ["cadu"],
        "file:size": 100 * channel + block,
        "cadip:channel": channel,
        "cadip:block_number": block,
    }


def item() -> dict[str, Any]:
    """The session: two channels of two files, in no order."""
    return {
        "id": SESSION,
        "collection": SOURCE.collection,
        "properties": {
            "datetime": "2024-11-14T14:30:44.018Z",
            "start_datetime": "2024-11-14T14:30:44.018Z",
            "end_datetime": "2024-11-14T14:33:48.812Z",
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "sat:absolute_orbit": 56552,
            "eopf:origin_datetime": "2024-11-14T14:31:11.032Z",
        },
        "assets": {f"ch{c}_{b}.raw": asset(c, b) for c, b in ((2, 2), (1, 2), (2, 1), (1, 1))},
    }


def some_work() -> Work:
    """The work of making the product."""
    return work(S1_L0, SOURCE, item(), TARGET, PLACE.bucket)
