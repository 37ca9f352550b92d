"""CADIP (ESA-EOPG-EOPGC IF-15): raw downlink sessions; an item is a session, its assets are its files."""

from __future__ import annotations

from rs_server.stations import platforms
from rs_server.stations.kinds import extensions
from rs_server.stations.model import Assets, Files, Match, StationKind, ValueType, prop

BOOLEAN, INTEGER, INSTANT = ValueType.BOOLEAN, ValueType.INTEGER, ValueType.INSTANT

CADIP = StationKind(
    name="cadip",
    title="CADU Interface delivery Point",
    description="Raw downlink sessions of the Sentinel satellites, channel by channel.",
    entity_set="Sessions",
    expand="Files",
    most_items=250,  # of some 40 files each
    quality="QualityInfo",
    totals=("TotalChunks", "TotalVolume"),
    extensions=(
        extensions.CADIP,
        extensions.EXTERNAL_IDS,
        extensions.FILE,
        extensions.TIMESTAMPS,
        extensions.SAT,
        extensions.EOPF,
    ),
    properties=(
        prop("id", "SessionId", sortable=True, required=True),
        prop("datetime", "DownlinkStart", INSTANT, sortable=True, required=True, otherwise="PublicationDate"),
        prop("start_datetime", "DownlinkStart", INSTANT, sortable=True),
        prop("end_datetime", "DownlinkStop", INSTANT, sortable=True),
        prop("created", "PublicationDate", INSTANT, sortable=True, required=True),
        prop("published", "PublicationDate", INSTANT, sortable=True, required=True),
        prop("eopf:origin_datetime", "DownlinkStop", INSTANT, sortable=True),
        prop(
            "platform",
            "Satellite",
            decode=platforms.from_satellite,
            encode=platforms.to_satellite,
            enum=platforms.PLATFORMS,
        ),
        prop(
            "constellation",
            "Satellite",
            match=Match.PREFIX,
            decode=platforms.constellation_of_satellite,
            encode=platforms.to_satellite_prefix,
            enum=platforms.CONSTELLATIONS,
        ),
        prop("sat:absolute_orbit", "DownlinkOrbit", INTEGER, sortable=True),
        prop("cadip:num_channels", "NumChannels", INTEGER),
        prop("cadip:station_id", "StationId", local=True),  # newer stations only: others refuse to filter by it
        prop("cadip:station_unit_id", "StationUnitId"),
        prop("cadip:acquisition_id", "AcquisitionId"),
        prop("cadip:antenna_id", "AntennaId"),
        prop("cadip:front_end_id", "FrontEndId"),
        prop("cadip:planned_data_start", "PlannedDataStart", INSTANT),
        prop("cadip:planned_data_stop", "PlannedDataStop", INSTANT),
        prop("cadip:retransfer", "Retransfer", BOOLEAN),
        prop("cadip:antenna_status_ok", "AntennaStatusOK", BOOLEAN),
        prop("cadip:front_end_status_ok", "FrontEndStatusOK", BOOLEAN),
        prop("cadip:downlink_status_ok", "DownlinkStatusOK", BOOLEAN),
        prop("cadip:delivery_push_ok", "DeliveryPushOK", BOOLEAN),
    ),
    assets=Assets(
        download="Files({id})/$value",
        role="cadu",
        files=Files(
            entity_set="Files",
            belongs_to="SessionId",
            series="Channel",
            number="BlockNumber",
            count="NumChannels",
            last="FinalBlock",
            again="Retransfer",
        ),
        properties=(
            prop("cadip:channel", "Channel", INTEGER, required=True),
            prop("cadip:block_number", "BlockNumber", INTEGER, required=True),
            prop("cadip:final_block", "FinalBlock", BOOLEAN, required=True),
            prop("cadip:retransfer", "Retransfer", BOOLEAN),
            prop("file:size", "Size", INTEGER),
            prop("created", "PublicationDate", INSTANT),
            prop("expires", "EvictionDate", INSTANT),
        ),
    ),
)
