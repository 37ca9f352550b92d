"""The processing unit ``s1-echo``: the packets of a Sentinel-1 Level-0 product → complex echo samples.

A group ``take_XXXXXXXX/SWATH_TR`` (data take, swath, polarisations transmitted and received: ``iw1_vh``; from the
polarisation code and the receive channel, S1-IF-ASD-PL-0007, 3.2.5.13 and 3.2.2.5) has

==========================  ==========================  ============================================================
``echo``                    complex64, (azimuth, range) samples I + jQ as the instrument quantised them; NaN behind the
                                                        end of a shorter line
``samples``                 uint32, (azimuth)           samples of the line
``time``                    datetime64[ns], (azimuth)   sensing time (UTC)
``pri``, ``swst``, …        float64, (azimuth)          pulse repetition interval, sampling window start, … in seconds
``packet``                  int64, (azimuth)            index of the packet in the group of the Level-0 product
==========================  ==========================  ============================================================

The samples are decoded by `sentinel1decoder` where they are asked for, on Dask, a few hundred lines at once. Format C
(plain BAQ, modes 3 to 5) is not known to it; such lines are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rs_client.processing import lazily, sentinel1
from rs_client.processing.errors import BadPayload, NothingFound, ProcessingFailed
from rs_client.processing.reedsolomon import Integers, Octets
from rs_client.processing.unit import Unit

INPUT = "l0"
OUTPUT = "echo"
PRODUCT_TYPE = "S1_ECHO"

CHUNK = 1 << 25
"""Octets of samples in one chunk (32 MiB), the piece in which they are decoded and stored."""

_ECHO = 0
_BYPASS = (0,)
_FDBAQ = (12, 13, 14)
_SECONDS = ("pri", "swst", "swl", "tx_pulse_length")
_CODES = ("pri_count", "space_packet_count", "rank", "baq_mode", "range_decimation", "rx_gain", "tx_ramp_rate",
          "tx_pulse_start_frequency")  # fmt: skip


class EchoSamples(Unit):
    """Packets → echo samples, one variable for each swath and polarisation of a data take."""

    PROCESSOR_NAME = "s1_echo"
    PROCESSOR_VERSION = "1.0.0"
    PROCESSOR_LEVEL = "L0"
    PROCESSOR_CONTRACT = False  # eopf looks for it in each class
    INPUT = INPUT
    OUTPUT = OUTPUT

    def make(self, source: Any, **parameters: Any) -> xr.DataTree:
        """Lay out the samples; they are decoded where they are asked for.

        Parameters: ``name`` of the product, ``data_take`` (hexadecimal; all when it is left out).

        Raises ``NothingFound`` when there is no echo, ``BadPayload`` for a data take that is not there or an input that
        is no product, ``ProcessingFailed`` for echoes whose coding is not known. What is lazy raises as ``decode``.
        """
        return _assemble(parameters.get("name") or OUTPUT, self.one(source), parameters.get("data_take"))


@dataclass(frozen=True, eq=False)
class _Lines:
    """The packets that make the lines of one swath and polarisation."""

    path: str
    attributes: Mapping[str, Any]
    members: Integers


def _assemble(name: str, product: xr.DataTree, data_take: str | None) -> xr.DataTree:
    from eopf.product.conveniences import init_datatree

    tree: xr.DataTree = init_datatree(name, enforce_eoproduct_rules=False)
    for group in _sar_groups(product):
        for lines in _lines(group, data_take):
            tree[lines.path] = xr.DataTree(_dataset(group, lines))
    if not tree.children:
        raise _nothing(product, data_take)
    tree.attrs["stac_discovery"] = _discovery(name, product, tree)
    return tree


def _nothing(product: xr.DataTree, data_take: str | None) -> ProcessingFailed:
    found = [np.unique(group["data_take_id"].values) for group in _sar_groups(product)]
    takes = sorted({f"{take:06X}" for some in found for take in some})
    if data_take is not None and takes:
        return BadPayload(f"the product has no echoes of data take {data_take}; its data takes: {', '.join(takes)}")
    return NothingFound(f"{product.name or 'the product'} holds no echo packets")


def _sar_groups(product: xr.DataTree) -> list[xr.Dataset]:
    groups = [node.to_dataset(inherit=False) for name, node in sorted(product.children.items())]
    return [group for group in groups if "data_take_id" in group and "data" in group]


def _lines(group: xr.Dataset, data_take: str | None) -> Iterator[_Lines]:
    """The echoes of a group, by data take, swath and polarisation."""
    take, swath = group["data_take_id"].values.astype(np.int64), group["swath_number"].values.astype(np.int64)
    sent, received = group["polarisation"].values.astype(np.int64), group["rx_channel_id"].values.astype(np.int64)
    wanted = group["signal_type"].values == _ECHO
    if data_take is not None:
        wanted &= take == int(data_take, 16)
    key = take << 16 | swath << 8 | (sent >= 4).astype(np.int64) << 4 | (received & 1)
    for code in np.unique(key[wanted]).tolist():
        number, polarisation = code >> 8 & 0xFF, _polarisation(code)
        path = f"take_{code >> 16:08X}/{sentinel1.swath(number).lower()}_{polarisation.lower()}"
        attributes = {
            "data_take_id": f"{code >> 16:06X}",
            "swath": sentinel1.swath(number),
            "polarisation": polarisation,
        }
        yield _Lines(path, attributes, np.flatnonzero(wanted & (key == code)))


def _polarisation(code: int) -> str:
    """Transmitted, received."""
    return ("V" if code >> 4 & 1 else "H") + ("H" if code & 1 else "V")


def _dataset(group: xr.Dataset, lines: _Lines) -> xr.Dataset:
    chosen = lines.members
    samples = 2 * group["number_of_quads"].values[chosen].astype(np.uint32)
    variables = {
        name: xr.Variable(("azimuth",), group[name].values[chosen], group[name].attrs) for name in (*_SECONDS, *_CODES)
    }
    variables["time"] = xr.Variable(("azimuth",), group["time"].values[chosen], {"long_name": "sensing time"})
    variables["samples"] = xr.Variable(("azimuth",), samples, {"long_name": "samples of the line"})
    variables["packet"] = xr.Variable(("azimuth",), chosen, {"long_name": "index of the packet at Level 0"})
    variables["echo"] = xr.Variable(
        ("azimuth", "range"),
        _samples(group, chosen, int(samples.max())),
        {"long_name": "echo samples as quantised: I + jQ"},
    )
    variables["echo"].encoding["compressors"] = ()  # noise does not compress
    return xr.Dataset(variables, attrs=dict(lines.attributes)).set_coords("time")


def _samples(group: xr.Dataset, members: Integers, width: int) -> Any:
    """Lines × range as a lazy array; each chunk needs one stretch of the packets' octets."""
    offset = group["offset"].values
    quads, mode = group["number_of_quads"].values[members], group["baq_mode"].values[members]
    _refuse_unknown(mode)
    step = max(1, CHUNK // (8 * width))
    data = group["data"].data
    pieces = []
    for first in range(0, members.size, step):
        some = slice(first, min(first + step, members.size))
        begin, end = offset[members[some]], offset[members[some] + 1]
        low, high = int(begin.min()), int(end.max())
        decode = _Decode(begin - low, end - low, quads[some].astype(np.int64), mode[some].astype(np.int64), width)
        pieces.append((decode, data[low:high], (begin.size, width)))
    return lazily.rows(pieces, np.complex64)


def _refuse_unknown(mode: NDArray[Any]) -> None:
    unknown = sorted(set(np.unique(mode).tolist()) - {*_BYPASS, *_FDBAQ})
    if unknown:
        raise ProcessingFailed(f"echoes coded in BAQ mode {', '.join(map(str, unknown))} cannot be decoded yet")


@dataclass(frozen=True, eq=False)
class _Decode:
    """Decodes lines, anywhere, of the octets that hold their packets."""

    begin: Integers
    end: Integers
    quads: Integers
    mode: Integers
    width: int

    def __call__(self, octets: Octets) -> NDArray[np.complex64]:
        samples = np.full((self.begin.size, self.width), np.complex64(complex(np.nan, np.nan)))
        both = self.quads << 8 | self.mode
        for code in np.unique(both).tolist():
            lines = np.flatnonzero(both == code)
            user_data = [octets[self.begin[n] + sentinel1.SAR_HEADER : self.end[n]].tobytes() for n in lines]
            samples[lines, : 2 * (code >> 8)] = decode(user_data, code >> 8, code & 0xFF)
        return samples


def decode(user_data: Sequence[bytes], quads: int, mode: int) -> NDArray[np.complex64]:
    """Decode the user data of packets of the same length and coding: complex64, (packets, 2 · ``quads``).

    ``mode`` is their BAQ mode: 12 to 14 FDBAQ, else taken for bypass (S1-IF-ASD-PL-0007, 3.2.5). Raises
    ``ProcessingFailed`` when `sentinel1decoder` is not installed, or cannot make sense of them.
    """
    try:
        from sentinel1decoder import _sentinel1decoder as codec
    except ImportError as error:
        raise ProcessingFailed("s1-echo needs the package sentinel1decoder: install the extra `echo`") from error
    function = codec.decode_batched_fdbaq_packets if mode in _FDBAQ else codec.decode_batched_bypass_packets
    try:
        return np.asarray(function(list(user_data), quads), np.complex64)
    except (ValueError, RuntimeError) as error:
        raise ProcessingFailed(f"echoes cannot be decoded: {error}") from error


def _discovery(name: str, product: xr.DataTree, tree: xr.DataTree) -> dict[str, Any]:
    """What a catalog should know: as the Level-0 product, but for what was made."""
    before: dict[str, Any] = product.attrs.get("stac_discovery") or {}
    swaths = [node for node in tree.subtree if "echo" in node.data_vars]
    times = np.concatenate([node["time"].values for node in swaths])
    start, end = (f"{np.datetime_as_string(moment, 'us')}Z" for moment in (times.min(), times.max()))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "geometry": None,
        **before,
        "id": name,
        "properties": {
            **(before.get("properties") or {}),
            "datetime": start,
            "start_datetime": start,
            "end_datetime": end,
            "product:type": PRODUCT_TYPE,
            "eopf:datatake_id": ",".join(sorted({node.attrs["data_take_id"] for node in swaths})),
            "sar:polarizations": sorted({node.attrs["polarisation"] for node in swaths}),
        },
    }
