"""The station kinds this server speaks to. A fifth is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from rs_server.stations.kinds.auxip import AUXIP
from rs_server.stations.kinds.cadip import CADIP
from rs_server.stations.kinds.lta import LTA
from rs_server.stations.kinds.prip import PRIP
from rs_server.stations.model import StationKind

KINDS: Mapping[str, StationKind] = {kind.name: kind for kind in (CADIP, AUXIP, PRIP, LTA)}
