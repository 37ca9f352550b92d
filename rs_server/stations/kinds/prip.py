"""PRIP (ESA-EOPG-EOPGC IF-3): products fresh from a production service; an item is a product with one asset."""

from __future__ import annotations

from rs_server.stations.kinds import extensions
from rs_server.stations.kinds.products import COMMON, FILE, PRODUCT
from rs_server.stations.model import StationKind

PRIP = StationKind(
    name="prip",
    title="Production Interface delivery Point",
    description="Products of the Sentinel missions, fresh from the production services.",
    entity_set="Products",
    expand="Attributes",
    extensions=extensions.OF_PRODUCTS,
    properties=(*COMMON, *PRODUCT),
    assets=FILE,
)
