"""What the kinds with a ``Products`` entity set have in common (ground segment ICDs: AUXIP, PRIP, LTA)."""

from __future__ import annotations

import re

from rs_server.stations import multihash, platforms
from rs_server.stations.model import Assets, Match, ValueType, prop

INTEGER, INSTANT = ValueType.INTEGER, ValueType.INSTANT

# File class, file type of ten characters and, at some stations, the site: OPER_AUX_RESORB_OPOD
_CLASSED_TYPE = re.compile(r"(?:OPER|TEST|RPRO)_([A-Z0-9_]{10})(?:_[A-Z0-9_]{4})?")
_CONTAINER = re.compile(r"(\.(SAFE|SEN3|EOF|zip|ZIP|tar|TAR|tgz|TGZ|gz|xml|XML|dbl|DBL|nc))+$")


def product_type(text: str) -> str:
    """``OPER_AUX_RESORB_OPOD`` → ``AUX_RESORB``; a bare type stays as it is."""
    found = _CLASSED_TYPE.fullmatch(text)
    return found[1] if found else text


def without_container(name: str) -> str:
    """A file name less the suffixes that tell how it is packed: ``X.SAFE.zip`` → ``X``."""
    return _CONTAINER.sub("", name) or name


COMMON = (
    prop("id", "Name", sortable=True, required=True, match=Match.PREFIX, decode=without_container),
    prop("datetime", "ContentDate/Start", INSTANT, sortable=True, required=True, otherwise="PublicationDate"),
    prop("start_datetime", "ContentDate/Start", INSTANT, sortable=True),
    prop("end_datetime", "ContentDate/End", INSTANT, sortable=True),
    prop("created", "OriginDate", INSTANT, sortable=True, required=True, otherwise="PublicationDate"),
    prop("published", "PublicationDate", INSTANT, sortable=True, required=True),
    prop("expires", "EvictionDate", INSTANT, sortable=True),
    prop("eopf:origin_datetime", "OriginDate", INSTANT, sortable=True),
    prop(
        "platform",
        ("@platformShortName", "@platformSerialIdentifier"),
        decode=platforms.from_attributes,
        encode=platforms.to_attributes,
        enum=platforms.PLATFORMS,
    ),
    prop(
        "constellation",
        "@platformShortName",
        decode=platforms.from_short_name,
        encode=platforms.to_short_name,
        enum=platforms.CONSTELLATIONS,
    ),
    prop("product:type", "@productType", also="Name", decode=product_type),
    prop("processing:datetime", "@processingDate", INSTANT, local=True),
    prop("processing:facility", "@processingCenter"),
    prop("processing:version", "@processorVersion"),
)

FILE = Assets(
    download="Products({id})/$value",
    role="data",
    properties=(
        prop("type", "ContentType"),
        prop("file:size", "ContentLength", INTEGER),
        prop("file:checksum", "Checksum", decode=multihash.of),
        prop("file:local_path", "Name"),
        prop("created", "PublicationDate", INSTANT),
        prop("expires", "EvictionDate", INSTANT),
    ),
)
