"""What the kinds with a ``Products`` entity set have in common (ground segment ICDs: AUXIP, PRIP, LTA)."""

from __future__ import annotations

import re

from rs_server.stations import multihash, platforms
from rs_server.stations.kinds import values
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


# What AUXIP, PRIP and LTA say of any product
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
    prop("processing:datetime", "@processingDate", INSTANT, local=True),
    prop("processing:facility", "@processingCenter"),
    prop("processing:version", "@processorVersion"),
)

# What PRIP and LTA say of a product of a satellite
PRODUCT = (
    prop("updated", "ModificationDate", INSTANT, sortable=True, required=True, otherwise="PublicationDate"),
    prop("geometry", "GeoFootprint", ValueType.GEOMETRY, otherwise="Footprint", local=True),  # but for Intersects
    prop("product:type", "@productType"),
    prop("product:timeliness", "@timeliness", decode=values.timeliness, spellings=values.timeliness_spellings),
    prop("product:timeliness_category", "@timeliness", decode=values.timeliness_category),
    prop("processing:level", "@processingLevel", decode=values.level, spellings=values.level_spellings),
    prop(
        "processing:software",
        ("@processorName", "@processorVersion"),
        ValueType.OBJECT,
        decode=values.software,
        queryable=False,
    ),
    prop("instruments", "@instrumentShortName", ValueType.LIST, decode=values.instruments),
    prop("sat:absolute_orbit", "@orbitNumber", INTEGER, decode=values.positive),
    prop("sat:relative_orbit", "@relativeOrbitNumber", INTEGER, decode=values.positive),
    prop("sat:orbit_cycle", "@cycleNumber", INTEGER, decode=values.positive),
    prop(
        "sat:orbit_state",
        "@orbitDirection",
        decode=values.orbit_state,
        spellings=values.orbit_state_spellings,
        enum=("ascending", "descending"),
    ),
    prop(
        "sat:platform_international_designator",
        ("@platformShortName", "@platformSerialIdentifier"),
        decode=values.designator,
        local=True,
    ),
    prop(
        "sar:polarizations",
        "@polarisationChannels",
        ValueType.LIST,
        decode=values.polarisations,
        encode=values.to_polarisations,
    ),
    prop("sar:instrument_mode", ("@operationalMode", "@platformShortName"), decode=values.radar_mode, local=True),
    prop("sar:frequency_band", "@platformShortName", decode=values.band, local=True),
    prop("sar:center_frequency", "@platformShortName", ValueType.DOUBLE, decode=values.frequency, local=True),
    prop("sar:observation_direction", "@platformShortName", decode=values.side, local=True),
    prop("eopf:instrument_mode", ("@operationalMode", "@platformShortName"), decode=values.other_mode, local=True),
    prop("eopf:datatake_id", "@datatakeID", otherwise="@productGroupId", decode=str, local=True),
    prop("eopf:datastrip_id", "@datastripId"),
    prop("eopf:instrument_configuration_id", "@instrumentConfigurationID", INTEGER),
    prop("grid:code", "@tileId", decode=values.tile, spellings=values.tile_spellings),
    prop("eo:cloud_cover", "@cloudCover", ValueType.DOUBLE),
    prop("rs:production_type", "ProductionType"),
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
    instead=(prop("rs:checksum_unchecked", "Checksum", decode=multihash.unchecked),),
)
