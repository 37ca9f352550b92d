"""The processing unit ``s1-l0``: the CADU files of a Sentinel-1 downlink session → one Level-0 product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import xarray as xr

from rs_client.processing import lazily
from rs_client.processing.channel import (
    SEGMENT,
    Block,
    Channel,
    Decoded,
    Kept,
    Scan,
    Segment,
    put_together,
    scan,
    scan_with_octets,
)
from rs_client.processing.errors import BadPayload
from rs_client.processing.frames import Coding, Lock
from rs_client.processing.product import Session, assemble
from rs_client.processing.reedsolomon import Basis
from rs_client.processing.unit import Unit

INPUT = "cadu"
OUTPUT = "l0"


def cadu_block(octets: Any, channel: int, block: int) -> xr.DataTree:
    """One file of a session as an input of the unit: its octets as they came, and where it belongs.

    ``octets``: an array (uint8, one dimension), or a lazy variable of dimension ``octet``. ``channel`` and ``block``
    are the numbers in the file's name: ``…_ch<channel>_DSDB_<block>.raw``, both from 1.
    """
    variable = octets if isinstance(octets, xr.Variable) else xr.Variable(("octet",), octets)
    return xr.DataTree(xr.Dataset({"octets": variable}, attrs={"channel": channel, "block": block}))


class SentinelOneLevelZero(Unit):
    """CADU → frames → packets by APID.

    The input ``cadu`` are :func:`cadu_block` trees, in any order. They are decoded in segments, on the Dask cluster
    that is active or on threads; the packets of the product are lazy, and read their octets again from the inputs.
    The product is the same whatever the segments and the workers.
    """

    PROCESSOR_NAME = "s1_l0"
    PROCESSOR_VERSION = "1.0.0"
    PROCESSOR_LEVEL = "L0"
    PROCESSOR_CONTRACT = False  # eopf looks for it in each class
    INPUT = INPUT
    OUTPUT = OUTPUT

    def make(self, source: Any, **parameters: Any) -> xr.DataTree:
        """Make the product.

        Parameters: ``name`` of the product, ``session`` (a ``Session``, or a mapping of its facts), ``basis`` (``dual``
        or ``conventional``) and ``randomised`` (whether the pseudo-noise is still in), ``segment`` (octets decoded at
        once).

        Raises ``BadPayload`` when a block is given twice or the frames are not what the parameters say,
        ``NothingFound`` when there is no packet in them, ``InputUnreadable`` when a block cannot be read.
        """
        channels = _channels(_blocks(source) if isinstance(source, xr.DataTree) else source)
        session = _session(parameters.get("session"), parameters.get("name") or OUTPUT)
        coding = Coding(Basis(parameters.get("basis") or Basis.DUAL), randomised=bool(parameters.get("randomised")))
        decoded = _decode(channels, coding, int(parameters.get("segment") or SEGMENT))
        _refuse_foreign(decoded, coding)
        return assemble(parameters.get("name") or session.id, session, decoded)


def _blocks(tree: xr.DataTree) -> list[xr.DataTree]:
    """One block, or the blocks that are a tree's children, as eopf's triggering opens them."""
    return list(tree.children.values()) or [tree]


def _session(told: Session | Mapping[str, Any] | None, name: str) -> Session:
    from rs_client.processing.payload import SessionFacts

    return told if isinstance(told, Session) else SessionFacts.model_validate({"id": name, **(told or {})}).session()


def _channels(trees: Iterable[xr.DataTree]) -> list[Channel]:
    files: dict[int, dict[int, xr.Variable]] = {}
    for tree in trees:
        channel, block = int(tree.attrs["channel"]), int(tree.attrs["block"])
        if block in files.setdefault(channel, {}):
            raise BadPayload(f"block {block} of channel {channel} is there twice")
        files[channel][block] = tree["octets"].variable
    return [
        Channel(number, [Block(block, octets) for block, octets in sorted(blocks.items())])
        for number, blocks in sorted(files.items())
    ]


def _decode(channels: Sequence[Channel], coding: Coding, size: int) -> list[Decoded]:
    """All segments of all channels at once; then each channel put together."""
    pieces = [_piece(channel, segment, coding) for channel in channels for segment in channel.segments(size)]
    answers = iter(lazily.compute_keeping(pieces))
    return [_put_together(channel, coding, [next(answers) for _ in channel.segments(size)]) for channel in channels]


def _piece(channel: Channel, segment: Segment, coding: Coding) -> lazily.Piece[Scan]:
    make = partial(scan_with_octets, channel, segment, coding)
    return lazily.Piece(make, segment.seen - segment.start, segment.start / channel.size)


def _put_together(channel: Channel, coding: Coding, answers: Sequence[tuple[Scan, Any]]) -> Decoded:
    """One channel; of what is kept, not the segments that were decoded again: their frames lie elsewhere."""
    anew = list[Segment]()

    def again(channel: Channel, segment: Segment, coding: Coding, lock: Lock) -> Scan:
        anew.append(segment)
        return lazily.compute([(partial(scan, channel, segment, coding, lock), ())])[0]

    decoded = put_together(channel, coding, (found for found, _ in answers), again)
    kept = [Kept(found.segment, octets) for found, octets in answers if octets is not None]
    return replace(decoded, kept=[one for one in kept if one.segment not in anew])


def _refuse_foreign(decoded: Sequence[Decoded], coding: Coding) -> None:
    """The code does not see the pseudo-noise, but frames that nearly all say they are something else do tell."""
    for one in decoded:
        carrying = one.frames.good + one.frames.corrected
        if one.frames.foreign > carrying / 2:
            raise BadPayload(
                f"the frames of channel {one.channel.number} are no AOS frames with the parameter randomised"
                f" {'true' if coding.randomised else 'false'}; try the other"
            )
