"""LTA (ESA-EOPG-EOPGC IF-2): the long-term archive; a product that is not online must be ordered first."""

from __future__ import annotations

from rs_server.stations.kinds import extensions, values
from rs_server.stations.kinds.products import COMMON, FILE, PRODUCT
from rs_server.stations.model import Orders, StationKind, ValueType, prop

LTA = StationKind(
    name="lta",
    title="Long-Term Archive",
    description="All products of the Sentinel missions; those that are not online come when they are ordered.",
    entity_set="Products",
    expand="Attributes",
    extensions=(*extensions.OF_PRODUCTS, extensions.ORDER),
    properties=(
        *COMMON,
        *PRODUCT,
        prop("rs:online", "Online", ValueType.BOOLEAN),
        prop("order:status", "Online", decode=values.online, queryable=False),  # of the moment: it is not searched
    ),
    assets=FILE,
    orders=Orders(
        place="Products({id})/OData.CSC.Order",
        entity_set="Orders",
        product="Product",
        submitted="SubmissionDate",
        cancel="Orders({id})/OData.CSC.Cancel",
    ),
)
