"""AUXIP (ESA-EOPG-EOPGC IF-10): auxiliary data files; an item is a product with one asset."""

from __future__ import annotations

from rs_server.stations.kinds import extensions
from rs_server.stations.kinds.products import COMMON, FILE, product_type
from rs_server.stations.model import StationKind, ValueType, prop

AUXIP = StationKind(
    name="auxip",
    title="Auxiliary data Interface delivery Point",
    description="Orbits, calibration, meteorology and other auxiliary files that the processors need.",
    entity_set="Products",
    expand="Attributes",
    extensions=(
        extensions.AUXIP,
        extensions.EXTERNAL_IDS,
        extensions.FILE,
        extensions.TIMESTAMPS,
        extensions.PRODUCT,
        extensions.PROCESSING,
        extensions.EOPF,
    ),
    properties=(
        *COMMON,
        prop("product:type", "@productType", also="Name", decode=product_type),
        prop("updated", "PublicationDate", ValueType.INSTANT, required=True),
        prop("auxip:id", "Id", ValueType.GUID, required=True),
    ),
    assets=FILE,
)
