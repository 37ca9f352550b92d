"""The processing unit ``s1-l0``: the CADU files of a Sentinel-1 downlink session → one Level-0 product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import xarray as xr
from eopf.computing.abstract import EOProcessingUnit
from eopf.computing.types import DataTypeValue, MappingAuxiliary, MappingDataType

from rs_client.processing.errors import BadPayload
from rs_client.processing.frames import Octets, frames_of
from rs_client.processing.packets import ChannelPackets, packets_of
from rs_client.processing.product import Session, assemble

INPUT = "cadu"
OUTPUT = "l0"


def cadu_block(octets: Octets, channel: int, block: int) -> xr.DataTree:
    """One file of a session as an input of the unit: its octets as they came, and where it belongs."""
    dataset = xr.Dataset({"octets": ("octet", octets)}, attrs={"channel": channel, "block": block})
    return xr.DataTree(dataset)


class SentinelOneLevelZero(EOProcessingUnit):
    """CADU → frames → packets by APID.

    The input ``cadu`` is a row of :func:`cadu_block` trees in order of channel, then block. It is read once, one file
    after the other, so a generator that fetches each when it is asked for keeps only one in memory.
    """

    PROCESSOR_NAME = "s1_l0"
    PROCESSOR_VERSION = "1.0.0"
    PROCESSOR_LEVEL = "L0"
    # A contract is a JSON file that lists products by name; the names of a session's files are not known beforehand.
    PROCESSOR_CONTRACT = False

    @classmethod
    def get_mandatory_input_list(cls, mode: str | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG003 - eopf's
        """The names of the inputs: ``cadu``."""
        return [INPUT]

    @classmethod
    def get_provided_output_list(cls, mode: str | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG003 - eopf's
        """The names of the outputs: ``l0``."""
        return [OUTPUT]

    def run(
        self,
        inputs: MappingDataType,
        adfs: MappingAuxiliary | None = None,  # noqa: ARG002 - eopf's; this unit needs no auxiliary file
        mode: str | None = None,  # noqa: ARG002 - eopf's; this unit has one mode
        **kwargs: Any,
    ) -> dict[str, xr.DataTree]:
        """Make the product. Parameters: ``name`` of the product, ``session`` (a ``Session``).

        Raises ``BadPayload`` when blocks are not in order, ``NothingFound`` when there is no packet in them.
        """
        blocks = _row(inputs[INPUT])
        channels = [_channel(number, row) for number, row in groupby(blocks, lambda tree: int(tree.attrs["channel"]))]
        if len({channel.channel for channel in channels}) < len(channels):
            raise BadPayload("the blocks of a downlink channel must follow one another")
        session = _session(kwargs.get("session"), kwargs.get("name") or OUTPUT)
        return {OUTPUT: assemble(kwargs.get("name") or session.id, session, _together(channels))}


def _session(told: Session | Mapping[str, Any] | None, name: str) -> Session:
    """The session as it is told, in a payload by a mapping."""
    if isinstance(told, Session):
        return told
    known = {key: value for key, value in (told or {}).items() if value is not None}
    return Session(**{"id": name, **known})


def _row(value: DataTypeValue) -> Iterable[xr.DataTree]:
    """One block, the blocks that are a tree's children, or blocks as they come."""
    if not isinstance(value, xr.DataTree):
        return value
    return list(value.children.values()) or [value]


def _channel(number: int, row: Iterator[xr.DataTree]) -> ChannelPackets:
    return packets_of(number, frames_of(_octets(row)))


def _octets(row: Iterator[xr.DataTree]) -> Iterator[Octets]:
    before = -1
    for tree in row:
        block = int(tree.attrs["block"])
        if block <= before:
            raise BadPayload(f"block {block} of channel {tree.attrs['channel']} does not come after block {before}")
        before = block
        yield np.asarray(tree["octets"].values, np.uint8)


def _together(channels: Sequence[ChannelPackets]) -> list[ChannelPackets]:
    return sorted(channels, key=lambda channel: channel.channel)
