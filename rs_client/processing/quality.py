"""The account of a Level-0 product: what became of every octet, and whether the station counted the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rs_client.processing.channel import Decoded
from rs_client.processing.frames import FrameCount
from rs_client.processing.packets import PacketCount

_UNKNOWN_CHANNEL = 0


@dataclass(frozen=True)
class Told:
    """What a station says of one channel of a session (``QualityInfo`` of CADIP, IF-15); ``None``: nothing."""

    channel: int
    acquired_frames: int | None = None
    error_frames: int | None = None
    corrected_frames: int | None = None
    uncorrectable_frames: int | None = None
    data_frames: int | None = None
    """Of the acquired, those that are no fill; the next three of these alone."""
    error_data_frames: int | None = None
    corrected_data_frames: int | None = None
    uncorrectable_data_frames: int | None = None
    files: int | None = None
    octets: int | None = None

    @staticmethod
    def parse(values: Mapping[str, Any]) -> Told:
        """From the names that CADIP uses. Raises ``ValueError`` for what is no number."""

        def number(name: str) -> int | None:
            value = values.get(name)
            return None if value is None else int(value)

        return Told(
            channel=number("Channel") or _UNKNOWN_CHANNEL,
            acquired_frames=number("AcquiredTFs"),
            error_frames=number("ErrorTFs"),
            corrected_frames=number("CorrectedTFs"),
            uncorrectable_frames=number("UncorrectableTFs"),
            data_frames=number("DataTFs"),
            error_data_frames=number("ErrorDataTFs"),
            corrected_data_frames=number("CorrectedDataTFs"),
            uncorrectable_data_frames=number("UncorrectableDataTFs"),
            files=number("TotalChunks"),
            octets=number("TotalVolume"),
        )


@dataclass(frozen=True)
class GroupCount:
    """What became of the packets of one APID when the channels were merged; octets with their primary headers."""

    packets: int
    octets: int
    duplicates: int = 0
    duplicate_octets: int = 0
    gaps: int = 0
    """Packets before which something was lost on their virtual channel."""
    missing: int = 0
    """Sequence counts between those of neighbours."""


def report(channels: Sequence[Decoded], groups: Mapping[str, GroupCount], told: Sequence[Told] = ()) -> dict[str, Any]:
    """The account of every octet, by downlink channel and in all.

    ``input_octets`` = 2044 · (good + corrected + bad + fill) + skipped; the zones of good, corrected and usable bad
    frames = packet + idle + dropped octets; packet octets = octets of all groups + duplicate octets. ``station``
    compares with what the station counted.
    """
    frames = sum((one.frames for one in channels), FrameCount())
    packets = sum((one.packets for one in channels), PacketCount())
    by_channel = {one.channel.number: one for one in channels}
    return {
        **_account(frames, packets),
        "channels": {str(number): _of_channel(one) for number, one in sorted(by_channel.items())},
        "groups": {name: asdict(count) for name, count in groups.items()},
        **({"station": _compared(by_channel, told)} if told else {}),
    }


def _account(frames: FrameCount, packets: PacketCount) -> dict[str, Any]:
    return {"input_octets": frames.octets, "frames": asdict(frames), "packets": asdict(packets)}


def _of_channel(one: Decoded) -> dict[str, Any]:
    return {
        **_account(one.frames, one.packets),
        "files": len(one.channel.blocks),
        "missing_files": one.channel.missing,
    }


def _compared(by_channel: Mapping[int, Decoded], told: Sequence[Told]) -> dict[str, Any]:
    """Ours against theirs, channel by channel; ``agrees`` only if every number that they give is ours."""
    channels = {str(one.channel): _differences(one, by_channel.get(one.channel)) for one in told}
    silent = sorted(set(by_channel) - {one.channel for one in told})
    differing = any(row["difference"] for rows in channels.values() for row in rows.values())
    return {"agrees": not differing and not silent, "channels": channels, "not_told": silent}


def _differences(told: Told, decoded: Decoded | None) -> dict[str, dict[str, int]]:
    ours = _counted(decoded)
    theirs = {name: value for name, value in asdict(told).items() if name != "channel" and value is not None}
    return {
        name: {"station": value, "found": ours[name], "difference": ours[name] - value}
        for name, value in theirs.items()
    }


def _counted(decoded: Decoded | None) -> dict[str, int]:
    """Our numbers under the station's names. What an uncorrectable frame carried nobody knows: it counts as data."""
    frames = decoded.frames if decoded else FrameCount()
    corrected = frames.corrected + frames.corrected_fill
    return {
        "acquired_frames": frames.frames,
        "error_frames": corrected + frames.bad,
        "corrected_frames": corrected,
        "uncorrectable_frames": frames.bad,
        "data_frames": frames.good + frames.corrected + frames.bad,
        "error_data_frames": frames.corrected + frames.bad,
        "corrected_data_frames": frames.corrected,
        "uncorrectable_data_frames": frames.bad,
        "files": len(decoded.channel.blocks) if decoded else 0,
        "octets": frames.octets,
    }
