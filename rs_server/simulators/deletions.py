"""What a station tells about the products that it deleted."""

from __future__ import annotations

from datetime import datetime

from rs_server.simulators import products
from rs_server.simulators.model import Edm, Entity, EntityType

DELETED = EntityType(
    "DeletedProduct",
    {**products.COMMON, "DeletionDate": Edm.INSTANT, "DeletionCause": Edm.STRING},
    optional=("EvictionDate", "OriginDate"),
    indexed=("DeletionDate", "Name", "PublicationDate"),
)
CAUSES = ("Duplicated product", "Missing checksum", "Corrupted product", "Obsolete product or Other")


def deletion(product: Entity, at: datetime, cause: str) -> Entity:
    """The record of a product that was deleted at a moment."""
    told = {**product.values, "DeletionDate": at, "DeletionCause": cause}
    return Entity(DELETED, products.values(DELETED, told), appears=at)
