"""From the packets of all downlink channels to one Level-0 product: a tree with one group for each APID.

A group ``apid_NNNN`` (decimal) has

==========================  =======================  ===============================================================
``data``                    uint8, (octet)           all packets back to back, primary headers included
``offset``                  int64, (bound)           n + 1 offsets into ``data``
``time``                    datetime64[ns], (packet) UTC; NaT where a packet carries no time
``sequence_count``          uint16, (packet)         14-bit count of the APID (CCSDS 133.0-B-2, 4.1.3.4.3)
``virtual_channel``         uint8, (packet)
``channel``                 uint8, (packet)          downlink channel
``frame_corrected``         bool, (packet)           a frame under the packet had errors, all mended
``frame_uncorrectable``     bool, (packet)           a frame under the packet had errors that could not be mended
``gap_before``              bool, (packet)           octets were lost on its virtual channel since the packet before
``out_of_sequence``         bool, (packet)           its count does not follow that of the packet before it in the group
==========================  =======================  ===============================================================

and, where they are SAR packets, the fields of their secondary header, and a child for each data take and measurement
mode, ``take_XXXXXXXX_mode_NN`` (hexadecimal, decimal), whose ``packet`` (int64) says which packets belong to it.

Packets are ordered by time, then sequence count, then channel; those without a time come first, in order of arrival.
A packet that came down twice stands there once: packets of an APID with the same time, sequence count and octets, or
of which one is a copy that could not be mended, are the same; the better one stays.

``data`` is lazy: its octets are read again from the files of the session, chunk by chunk, when they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rs_client.processing import lazily, quality, sentinel1
from rs_client.processing.channel import Decoded
from rs_client.processing.errors import NothingFound
from rs_client.processing.frames import ZONE_SIZE
from rs_client.processing.gathering import Share, Stretch, collect
from rs_client.processing.packets import VirtualChannel, apid_of
from rs_client.processing.quality import GroupCount, Told
from rs_client.processing.reedsolomon import Flags, Integers, Octets

PRODUCT_TYPE = "S1_L0"
SEQUENCE_RANGE = 1 << 14
DATA_CHUNK = 1 << 24
"""Octets of packets in one chunk (16 MiB), the piece in which the product is made and stored."""

_EXTENSIONS = (
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/product/v1.0.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.1.0/schema.json",
    "https://cs-si.github.io/eopf-stac-extension/v1.2.0/schema.json",
)
_MEANING: Mapping[str, str] = {
    "data": "space packets back to back, primary headers included",
    "offset": "where each packet starts in data, and where the last one ends",
    "time": "sensing time of the packet",
    "sequence_count": "packet sequence count",
    "virtual_channel": "virtual channel of the transfer frames",
    "channel": "downlink channel",
    "frame_corrected": "a frame under the packet had errors, all mended",
    "frame_uncorrectable": "a frame under the packet had errors that could not be mended",
    "gap_before": "octets were lost on the virtual channel since the packet before",
    "out_of_sequence": "the sequence count does not follow that of the packet before",
}


@dataclass(frozen=True)
class Session:
    """What is known of a downlink session beside its octets; empty where it is not. ``orbit`` is the absolute one."""

    id: str
    platform: str = ""
    constellation: str = ""
    orbit: int | None = None
    told: tuple[Told, ...] = ()
    """What the station counted."""


@dataclass(frozen=True, eq=False)
class _Source:
    """One virtual channel of a downlink channel."""

    decoded: Decoded
    virtual: VirtualChannel


@dataclass(frozen=True, eq=False)
class _Pile:
    """Packets of one APID from all channels; a row a packet."""

    source: Integers
    """Index of the virtual channel that it came down on."""
    frame: Integers
    offset: Integers
    length: Integers
    head: Octets
    time: NDArray[np.datetime64]
    sequence_count: NDArray[np.uint16]
    virtual_channel: Octets
    channel: Octets
    frame_corrected: Flags
    frame_uncorrectable: Flags
    gap_before: Flags

    def __len__(self) -> int:
        return self.source.size

    def chosen(self, which: Integers | slice | Flags) -> _Pile:
        return _Pile(*(getattr(self, each.name)[which] for each in fields(self)))


_COLUMNS = (
    "time",
    "sequence_count",
    "virtual_channel",
    "channel",
    "frame_corrected",
    "frame_uncorrectable",
    "gap_before",
)


def assemble(name: str, session: Session, channels: Sequence[Decoded]) -> xr.DataTree:
    """The product of a session; ``data`` of its groups is lazy.

    Raises ``NothingFound`` when there is no packet in any channel, and ``InputUnreadable`` when packets that may be
    doubles cannot be read again. What is lazy raises ``InputUnreadable`` when it is looked at.
    """
    from eopf.product.conveniences import init_datatree

    sources = [
        _Source(one, virtual)
        for one in sorted(channels, key=lambda one: one.channel.number)
        for virtual in one.by_virtual_channel.values()
    ]
    apids = sorted({int(apid) for one in sources for apid in np.unique(apid_of(one.virtual.packets.head))})
    if not apids:
        raise NothingFound(f"session {session.id} holds no space packet, so there is no product to make")
    tree: xr.DataTree = init_datatree(name, enforce_eoproduct_rules=False)
    counts: dict[str, GroupCount] = {}
    for apid in apids:
        path = f"apid_{apid:04d}"
        tree[path], counts[path] = _group(apid, sources)
    groups = [tree[path].to_dataset() for path in counts]
    tree.attrs["stac_discovery"] = discovery(name, session, groups)
    tree.attrs["quality"] = quality.report(channels, counts, session.told)
    return tree


def _group(apid: int, sources: Sequence[_Source]) -> tuple[xr.DataTree, GroupCount]:
    """The packets of one APID from all channels, in order."""
    pile = _sorted(_pile(apid, sources))
    once = _without_doubles(pile, sources)
    offset = np.append(0, np.cumsum(once.length))
    columns: dict[str, NDArray[Any]] = {column: getattr(once, column) for column in _COLUMNS}
    steps = _steps(once.sequence_count)
    columns["out_of_sequence"] = np.append(False, steps != 1)
    variables = {name: _variable("packet", name, values) for name, values in columns.items()}
    sar = sentinel1.is_sar(once.head, once.length)
    if sar:
        variables |= _header_variables(once.head)
    variables["data"] = _variable("octet", "data", _data(once, offset, sources))
    variables["data"].encoding["compressors"] = ()  # they hardly compress, and plain chunks can be read in ranges
    variables["offset"] = _variable("bound", "offset", offset)
    dataset = xr.Dataset(variables, attrs={"apid": apid}).set_coords("time")
    tree = xr.DataTree(dataset, children=_takes(dataset) if sar else None)
    return tree, GroupCount(
        packets=len(once),
        octets=int(offset[-1]),
        duplicates=len(pile) - len(once),
        duplicate_octets=int(pile.length.sum() - offset[-1]),
        gaps=int(np.count_nonzero(once.gap_before)),
        missing=int((steps[(steps > 1) & (steps < SEQUENCE_RANGE // 2)] - 1).sum()),
    )


def _pile(apid: int, sources: Sequence[_Source]) -> _Pile:
    piles = [_of_source(apid, index, one) for index, one in enumerate(sources)]
    return _Pile(*(np.concatenate([getattr(pile, each.name) for pile in piles]) for each in fields(_Pile)))


def _of_source(apid: int, index: int, one: _Source) -> _Pile:
    packets = one.virtual.packets.chosen(apid_of(one.virtual.packets.head) == apid)
    number = next(key for key, virtual in one.decoded.by_virtual_channel.items() if virtual is one.virtual)
    return _Pile(
        source=np.full(len(packets), index, np.int64),
        frame=packets.frame,
        offset=packets.offset,
        length=packets.length,
        head=packets.head,
        time=sentinel1.times(packets.head, packets.length),
        sequence_count=sentinel1.sequence_count(packets.head),
        virtual_channel=np.full(len(packets), number, np.uint8),
        channel=np.full(len(packets), one.decoded.channel.number, np.uint8),
        frame_corrected=packets.corrected,
        frame_uncorrectable=packets.uncorrectable,
        gap_before=np.append(False, np.diff(packets.interruptions) > 0)[: len(packets)],
    )


def _sorted(pile: _Pile) -> _Pile:
    """By time, then sequence count, then channel; without a time, by channel, in order of arrival."""
    count = np.where(np.isnat(pile.time), 0, pile.sequence_count)
    return pile.chosen(np.lexsort((pile.channel, count, pile.time.astype(np.int64))))


def _without_doubles(pile: _Pile, sources: Sequence[_Source]) -> _Pile:
    """Every packet once. Only neighbours with the same time, sequence count and length can be doubles."""
    alike = (
        (pile.time[1:] == pile.time[:-1])  # never true of NaT
        & (pile.sequence_count[1:] == pile.sequence_count[:-1])
        & (pile.length[1:] == pile.length[:-1])
    )
    if not alike.any():
        return pile
    run = np.append(0, np.cumsum(~alike))  # packets with the same number may be doubles
    suspects = np.flatnonzero(np.append(alike, False) | np.append(False, alike))
    digests = _digests(pile.chosen(suspects), sources)
    kept = np.ones(len(pile), np.bool_)
    for members in np.split(np.arange(suspects.size), np.flatnonzero(np.diff(run[suspects])) + 1):
        kept[suspects[members]] = _best(pile.chosen(suspects[members]), [digests[n] for n in members])
    return pile.chosen(kept)


def _best(alike: _Pile, digests: Sequence[bytes]) -> Flags:
    """Which of packets that look the same are to stay: of the same octets, the one from the best frames."""
    kept = np.zeros(len(alike), np.bool_)
    seen: set[bytes] = set()
    for n in np.lexsort((alike.channel, alike.frame_corrected, alike.frame_uncorrectable)):
        spoiled_copy = bool(alike.frame_uncorrectable[n]) and bool(seen)
        kept[n] = not spoiled_copy and digests[n] not in seen
        seen.add(digests[n])
    return kept


def _digests(pile: _Pile, sources: Sequence[_Source]) -> list[bytes]:
    """Digests of packets, whose octets are read for it in pieces."""
    offset = np.append(0, np.cumsum(pile.length))
    bounds = np.unique([*np.searchsorted(offset, np.arange(0, offset[-1], DATA_CHUNK)).tolist(), len(pile)])
    work = [
        (partial(_digests_of, shares, offset[first : last + 1] - offset[first]), at_hand)
        for first, last in pairwise(bounds.tolist())
        for shares, at_hand in [_shares(pile, first, last, offset, sources)]
    ]
    return [digest for digests in lazily.compute(work) for digest in digests]


def _digests_of(shares: Sequence[Share], offset: Integers, *at_hand: Octets) -> list[bytes]:
    data = collect(shares, int(offset[-1]), slice(None), *at_hand)
    return [hashlib.blake2b(data[start:stop], digest_size=16).digest() for start, stop in pairwise(offset.tolist())]


def _data(pile: _Pile, offset: Integers, sources: Sequence[_Source]) -> Any:
    """The packets back to back as a lazy array."""
    size = int(offset[-1])
    chunks = [(start, min(start + DATA_CHUNK, size)) for start in range(0, size, DATA_CHUNK)]
    return lazily.array([(*_chunk(pile, offset, sources, *bounds), bounds[1] - bounds[0]) for bounds in chunks])


def _chunk(
    pile: _Pile, offset: Integers, sources: Sequence[_Source], start: int, stop: int
) -> tuple[Callable[..., Octets], Sequence[Any]]:
    """Octets ``start`` to ``stop`` of the product: of all packets that reach into it; and what is kept of them."""
    first = int(np.searchsorted(offset, start, "right")) - 1
    last = int(np.searchsorted(offset, stop, "left"))
    base = int(offset[first])
    shares, at_hand = _shares(pile, first, last, offset, sources)
    return partial(collect, shares, int(offset[last]) - base, slice(start - base, stop - base)), at_hand


def _shares(
    pile: _Pile, first: int, last: int, offset: Integers, sources: Sequence[_Source]
) -> tuple[Sequence[Share], Sequence[Any]]:
    """What each virtual channel gives to the packets ``first`` to ``last``, and the octets of it that are kept."""
    some = pile.chosen(slice(first, last))
    place = offset[first:last] - offset[first]
    shares, at_hand = list[Share](), list[Any]()
    for index in np.unique(some.source).tolist():
        members = np.flatnonzero(some.source == index)
        share, octets = _share(sources[index], some.chosen(members), place[members])
        shares.append(share)
        at_hand += octets
    return shares, at_hand


def _share(one: _Source, some: _Pile, place: Integers) -> tuple[Share, Sequence[Any]]:
    needed = _needed(some)
    start = one.virtual.start[needed]
    kept = [] if one.virtual.zone is not None else list(_kept(one.decoded, start))
    share = Share(
        channel=one.decoded.channel,
        coding=one.decoded.coding,
        start=start,
        fared=one.virtual.fared[needed],
        frame=np.searchsorted(needed, some.frame),
        offset=some.offset,
        length=some.length,
        place=place,
        zone=None if one.virtual.zone is None else one.virtual.zone[needed],
        at_hand=tuple(stretch for stretch, _ in kept),
    )
    return share, [octets for _, octets in kept]


def _kept(decoded: Decoded, start: Integers) -> Iterator[tuple[Stretch, Any]]:
    """Which of the frames that begin at ``start`` are in segments that are kept, and these."""
    for one in decoded.kept:
        first, last = np.searchsorted(start, (one.segment.start, one.segment.stop)).tolist()
        if first < last:
            yield Stretch(first, last, one.segment.start), one.octets


def _needed(some: _Pile) -> Integers:
    """The numbers of all frames that packets run through."""
    end = some.frame + (some.offset + some.length - 1) // ZONE_SIZE + 1
    base = int(some.frame.min())
    begun = np.zeros(int(end.max()) - base + 1, np.int64)
    np.add.at(begun, some.frame - base, 1)
    np.add.at(begun, end - base, -1)
    return np.flatnonzero(np.cumsum(begun) > 0) + base


def _steps(count: NDArray[np.uint16]) -> Integers:
    """From each sequence count to the next, on a circle."""
    steps: Integers = np.mod(np.diff(count.astype(np.int64)), SEQUENCE_RANGE)
    return steps


def _takes(dataset: xr.Dataset) -> dict[str, xr.DataTree]:
    """The packets of each data take and measurement mode."""
    take, mode = dataset["data_take_id"].values, dataset["ecc_number"].values
    both = take.astype(np.int64) << 8 | mode
    return {
        f"take_{code >> 8:08X}_mode_{code & 0xFF:02d}": _take(dataset, np.flatnonzero(both == code), code)
        for code in np.unique(both).tolist()
    }


def _take(dataset: xr.Dataset, members: Integers, code: int) -> xr.DataTree:
    time = dataset["time"].values[members]
    attributes = {
        "data_take_id": f"{code >> 8:06X}",
        "instrument_mode": sentinel1.mode(code & 0xFF),
        "octets": int(np.diff(dataset["offset"].values)[members].sum()),
        **_span(time),
    }
    packet = xr.Variable(("member",), members, {"long_name": "index of the packet in the group above"})
    return xr.DataTree(xr.Dataset({"packet": packet}, attrs=attributes))


def _variable(dimension: str, name: str, values: Any) -> xr.Variable:
    return xr.Variable((dimension,), values, {"long_name": _MEANING.get(name, name)})


def _header_variables(heads: Octets) -> dict[str, xr.Variable]:
    known: dict[str, sentinel1.Field | sentinel1.Derived] = {**sentinel1.FIELDS, **sentinel1.DERIVED}
    return {
        name: xr.Variable(("packet",), values, _described(known[name]))
        for name, values in sentinel1.fields(heads).items()
    }


def _described(field: sentinel1.Field | sentinel1.Derived) -> dict[str, str]:
    return {"long_name": field.meaning, **({"units": field.unit} if field.unit else {})}


def discovery(name: str, session: Session, groups: Sequence[xr.Dataset]) -> dict[str, Any]:
    """What a catalog should know of the product, as a STAC item (1.1.0) without assets and links.

    Of the extensions processing, product, sat and eopf; times are UTC, to the microsecond.
    """
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": name,
        "geometry": None,
        "properties": _properties(session, groups),
    }


def _properties(session: Session, groups: Sequence[xr.Dataset]) -> dict[str, Any]:
    said: dict[str, Any] = {
        **_period(groups),
        "platform": session.platform,
        "constellation": session.constellation,
        "instruments": ["sar"],
        "sat:absolute_orbit": session.orbit,
        "product:type": PRODUCT_TYPE,
        "processing:level": "L0",
        "processing:software": {"rs-python": version("rs-python"), "eopf": version("eopf")},
        "eopf:datatake_id": _data_takes(groups),
    }
    return {key: value for key, value in said.items() if value not in (None, "")}


def _period(groups: Sequence[xr.Dataset]) -> dict[str, Any]:
    """From the first to the last packet that has a time."""
    span = _span(np.concatenate([dataset["time"].values for dataset in groups]))
    return {"datetime": span["start_datetime"], **span} if span else {}


def _span(time: NDArray[np.datetime64]) -> dict[str, str]:
    known = time[~np.isnat(time)]
    if known.size == 0:
        return {}
    start, end = (f"{np.datetime_as_string(moment, 'us')}Z" for moment in (known.min(), known.max()))
    return {"start_datetime": start, "end_datetime": end}


def _data_takes(groups: Sequence[xr.Dataset]) -> str | None:
    """The identifiers of the data takes, hexadecimal as in product names, smallest first."""
    found = [np.unique(dataset["data_take_id"].values) for dataset in groups if "data_take_id" in dataset]
    return ",".join(f"{take:06X}" for take in np.unique(np.concatenate(found))) if found else None
