"""From the packets of all downlink channels to one Level-0 product: a tree with one group for each APID.

A group ``apid_NNNN`` (decimal) has

==========================  =======================  ===============================================================
``data``                    uint8, (octet)           all packets back to back, primary headers included
``offset``                  int64, (bound)           n + 1 offsets into ``data``
``time``                    datetime64[ns], (packet) UTC; NaT where a packet carries no time
``sequence_count``          uint16, (packet)         14-bit count of the APID
``virtual_channel``         uint8, (packet)
``channel``                 uint8, (packet)          downlink channel
``frame_corrected``         bool, (packet)           a frame under the packet had errors, all mended
``frame_uncorrectable``     bool, (packet)           a frame under the packet had errors that could not be mended
``gap_before``              bool, (packet)           octets were lost on its virtual channel since the packet before
``out_of_sequence``         bool, (packet)           its count does not follow that of the packet before it in the group
==========================  =======================  ===============================================================

and, where they are SAR packets, the fields of their secondary header. Packets are ordered by time, then sequence count;
those without a time come first, in order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rs_client.processing import sentinel1
from rs_client.processing.errors import NothingFound
from rs_client.processing.frames import FrameCount, Integers, Octets
from rs_client.processing.packets import ChannelPackets, PacketCount, Packets, gather

PRODUCT_TYPE = "S1_L0"
SEQUENCE_RANGE = 1 << 14

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
    """What is known of a downlink session beside its octets; empty where it is not."""

    id: str
    platform: str = ""
    constellation: str = ""
    orbit: int | None = None


@dataclass(frozen=True, eq=False)
class _Pile:
    """Packets of one APID from all channels, not yet in order."""

    data: Octets
    offset: Integers
    columns: Mapping[str, NDArray[Any]]


def assemble(name: str, session: Session, channels: Sequence[ChannelPackets]) -> xr.DataTree:
    """The product of a session. Raises ``NothingFound`` when there is no packet in any channel."""
    from eopf.product.conveniences import init_datatree

    apids = sorted({apid for channel in channels for apid in channel.by_apid})
    if not apids:
        raise NothingFound(f"session {session.id} holds no space packet, so there is no product to make")
    groups = {f"apid_{apid:04d}": group(apid, channels) for apid in apids}
    tree: xr.DataTree = init_datatree(name, enforce_eoproduct_rules=False)
    for path, dataset in groups.items():
        tree[path] = xr.DataTree(dataset)
    tree.attrs["stac_discovery"] = discovery(name, session, list(groups.values()))
    tree.attrs["quality"] = quality(channels)
    return tree


def group(apid: int, channels: Sequence[ChannelPackets]) -> xr.Dataset:
    """The packets of one APID from all channels, in order."""
    pile = _pile([(channel.channel, part) for channel in channels for part in channel.by_apid.get(apid, ())])
    data, offset, order = _sorted(pile)
    columns = {column: values[order] for column, values in pile.columns.items()}
    columns["out_of_sequence"] = _out_of_sequence(columns["sequence_count"])
    variables = {name: _variable("packet", name, values) for name, values in columns.items()}
    if sentinel1.is_sar(data, offset):
        variables |= _header_variables(data, offset)
    variables["data"] = _variable("octet", "data", data)
    variables["offset"] = _variable("bound", "offset", offset)
    return xr.Dataset(variables, attrs={"apid": apid}).set_coords("time")


def _pile(parts: Sequence[tuple[int, Packets]]) -> _Pile:
    data = np.concatenate([part.data for _, part in parts])
    ends = np.cumsum([0, *(part.data.size for _, part in parts)])
    offset = np.concatenate([[0], *(part.offset[1:] + end for (_, part), end in zip(parts, ends[:-1], strict=True))])
    columns = {
        "time": sentinel1.times(data, offset),
        "sequence_count": sentinel1.sequence_count(data, offset),
        "virtual_channel": _spread(parts, [part.virtual_channel for _, part in parts]),
        "channel": _spread(parts, [channel for channel, _ in parts]),
        "frame_corrected": np.concatenate([part.corrected for _, part in parts]),
        "frame_uncorrectable": np.concatenate([part.uncorrectable for _, part in parts]),
        "gap_before": _gaps(parts),
    }
    return _Pile(data, offset, columns)


def _spread(parts: Sequence[tuple[int, Packets]], values: Sequence[int]) -> Octets:
    return np.repeat(np.array(values, np.uint8), [len(part) for _, part in parts])


def _gaps(parts: Sequence[tuple[int, Packets]]) -> NDArray[np.bool_]:
    """Whether the row of packets broke off on a packet's virtual channel since the packet before it of the same APID.

    Parts of one virtual channel follow one another in time, though not in the list; the first packet of each has none
    before it.
    """
    last: dict[tuple[int, int], int] = {}
    gaps = []
    for channel, part in parts:
        row = (channel, part.virtual_channel)
        before = np.append(last.get(row, part.interruptions[0]), part.interruptions[:-1])
        gaps.append(part.interruptions > before)
        last[row] = int(part.interruptions[-1])
    return np.concatenate(gaps)


def _sorted(pile: _Pile) -> tuple[Octets, Integers, Integers]:
    time = pile.columns["time"]
    count = np.where(np.isnat(time), 0, pile.columns["sequence_count"])
    order = np.lexsort((pile.columns["channel"], count, time.astype(np.int64)))
    offset = np.append(0, np.cumsum(np.diff(pile.offset)[order]))
    data = np.empty_like(pile.data)
    gather(pile.data, pile.offset[order], offset, data)
    return data, offset, order


def _out_of_sequence(count: NDArray[np.uint16]) -> NDArray[np.bool_]:
    steps: Integers = np.mod(np.diff(count.astype(np.int64)), SEQUENCE_RANGE)
    return np.append(False, steps != 1)


def _variable(dimension: str, name: str, values: NDArray[Any], **attributes: str) -> xr.Variable:
    return xr.Variable((dimension,), values, {"long_name": _MEANING.get(name, name), **attributes})


def _header_variables(data: Octets, offset: Integers) -> dict[str, xr.Variable]:
    known: dict[str, sentinel1.Field | sentinel1.Derived] = {**sentinel1.FIELDS, **sentinel1.DERIVED}
    return {
        name: xr.Variable(("packet",), values, _described(known[name]))
        for name, values in sentinel1.fields(data, offset).items()
    }


def _described(field: sentinel1.Field | sentinel1.Derived) -> dict[str, str]:
    return {"long_name": field.meaning, **({"units": field.unit} if field.unit else {})}


def quality(channels: Sequence[ChannelPackets]) -> dict[str, Any]:
    """The account of every octet, by downlink channel and in all.

    ``input_octets`` = 2044 · (good + corrected + bad + fill) + skipped; the zones of good, corrected and usable bad
    frames = packet + idle + dropped octets.
    """
    frames = sum((channel.frames for channel in channels), FrameCount())
    packets = sum((channel.packets for channel in channels), PacketCount())
    return {
        **_account(frames, packets),
        "channels": {str(channel.channel): _account(channel.frames, channel.packets) for channel in channels},
    }


def _account(frames: FrameCount, packets: PacketCount) -> dict[str, Any]:
    return {"input_octets": frames.octets, "frames": asdict(frames), "packets": asdict(packets)}


def discovery(name: str, session: Session, groups: Sequence[xr.Dataset]) -> dict[str, Any]:
    """What a catalog should know of the product, as a STAC item without assets and links."""
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
    found = np.concatenate([dataset["time"].values for dataset in groups])
    found = found[~np.isnat(found)]
    if found.size == 0:
        return {}
    start, end = (f"{np.datetime_as_string(moment, 'us')}Z" for moment in (found.min(), found.max()))
    return {"datetime": start, "start_datetime": start, "end_datetime": end}


def _data_takes(groups: Sequence[xr.Dataset]) -> str | None:
    """The identifiers of the data takes, hexadecimal as in product names, smallest first."""
    found = [np.unique(dataset["data_take_id"].values) for dataset in groups if "data_take_id" in dataset]
    return ",".join(f"{take:06X}" for take in np.unique(np.concatenate(found))) if found else None
