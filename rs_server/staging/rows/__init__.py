"""Items, transfers and parts as rows of PostgreSQL.

A carrier takes a transfer up under a new number, its fence, and for the time of a lease that it renews. It writes only
while the fence is its own: one that was taken for dead learns so at its next write, and changes nothing any more.
"""

from __future__ import annotations

from rs_server.staging.rows.base import CHANNEL
from rs_server.staging.rows.carriers import CarrierRows
from rs_server.staging.rows.jobs import JobRows
from rs_server.staging.rows.upkeep import UpkeepRows

__all__ = ["CHANNEL", "CarrierRows", "JobRows", "StagingRows", "UpkeepRows"]


class StagingRows(JobRows, CarrierRows, UpkeepRows):
    """All of them."""
