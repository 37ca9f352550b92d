"""The properties that catalog searches may filter and sort on, with their types.

A numeric property that is not declared here sorts as text, so each of them is listed. They are declared for every
collection at once: those bound to a collection would vanish with it.
"""

from __future__ import annotations

from typing import Any

_TEXT = (
    "constellation",
    "eopf:datastrip_id",
    "eopf:datatake_id",
    "instrument_mode",
    "instruments",
    "platform",
    "processing:facility",
    "processing:level",
    "product:timeliness",
    "product:type",
    "sar:instrument_mode",
    "sat:orbit_state",
    "sat:platform_international_designator",
)
_TIMES = (
    "created",
    "end_datetime",
    "eopf:origin_datetime",
    "expires",
    "processing:datetime",
    "published",
    "start_datetime",
    "unpublished",
    "updated",
)
_NUMBERS = ("eo:cloud_cover", "eo:snow_cover", "gsd", "view:sun_azimuth", "view:sun_elevation")
_INTEGERS = (
    "cadip:channels",
    "cadip:num_channels",
    "cadip:retransfer",
    "product:size",
    "sat:absolute_orbit",
    "sat:relative_orbit",
)


def queryables() -> dict[str, Any]:
    """The queryables as the JSON schema that pgstac loads."""
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "type": "object",
        "title": "Queryables of every collection",
        "properties": dict(
            sorted(
                {
                    **{name: {"title": name, "type": "string"} for name in _TEXT},
                    **{name: {"title": name, "type": "string", "format": "date-time"} for name in _TIMES},
                    **{name: {"title": name, "type": "number"} for name in _NUMBERS},
                    # pgstac would read what an integer is compared with as one, too: below 10.5, below 10
                    **{name: {"title": name, "type": "number", "multipleOf": 1} for name in _INTEGERS},
                }.items()
            )
        ),
    }
