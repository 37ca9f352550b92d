"""Downlink sessions of a CADIP station: their files, their quality, and the bytes behind them.

The first one is real: session S1A_20241114143038056552 of 2024-11-14, two channels of 19 files, 11 510 023 588 octets
at scale 1. Others are made after its model. A session with a life comes in while the satellite passes: it is published
before its first file, changes when the pass ends, and its quality follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import accumulate
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from rs_server.simulators import cadu, packets
from rs_server.simulators.model import Content, Edm, Entity, EntityType, Primitive
from rs_server.simulators.scenario import Life

FILE = EntityType(
    "File",
    {
        "Id": Edm.GUID,
        "Name": Edm.STRING,
        "SessionId": Edm.STRING,
        "Channel": Edm.INT64,
        "BlockNumber": Edm.INT64,
        "FinalBlock": Edm.BOOLEAN,
        "PublicationDate": Edm.INSTANT,
        "EvictionDate": Edm.INSTANT,
        "Size": Edm.INT64,
        "Retransfer": Edm.BOOLEAN,
        "Plan": Edm.STRING,  # what its bytes are made of
    },
    hidden=("Plan",),
    indexed=("PublicationDate", "SessionId", "Name", "Size"),
    media=True,
)
QUALITY = EntityType(
    "QualityInfo",
    {
        "Channel": Edm.INT64,
        "SessionId": Edm.STRING,
        "AcquiredTFs": Edm.INT64,
        "ErrorTFs": Edm.INT64,
        "CorrectedTFs": Edm.INT64,
        "UncorrectableTFs": Edm.INT64,
        "DataTFs": Edm.INT64,
        "ErrorDataTFs": Edm.INT64,
        "CorrectedDataTFs": Edm.INT64,
        "UncorrectableDataTFs": Edm.INT64,
        "DeliveryStart": Edm.INSTANT,
        "DeliveryStop": Edm.INSTANT,
        "TotalChunks": Edm.INT64,
        "TotalVolume": Edm.INT64,
    },
    key=None,
)
SESSION = EntityType(
    "Session",
    {
        "Id": Edm.GUID,
        "SessionId": Edm.STRING,
        "NumChannels": Edm.INT64,
        "PublicationDate": Edm.INSTANT,
        "Satellite": Edm.STRING,
        "StationUnitId": Edm.STRING,
        "DownlinkOrbit": Edm.INT64,
        "AcquisitionId": Edm.STRING,
        "AntennaId": Edm.STRING,
        "FrontEndId": Edm.STRING,
        "Retransfer": Edm.BOOLEAN,
        "AntennaStatusOK": Edm.BOOLEAN,
        "FrontEndStatusOK": Edm.BOOLEAN,
        "PlannedDataStart": Edm.INSTANT,
        "PlannedDataStop": Edm.INSTANT,
        "DownlinkStart": Edm.INSTANT,
        "DownlinkStop": Edm.INSTANT,
        "DownlinkStatusOK": Edm.BOOLEAN,
        "DeliveryPushOK": Edm.BOOLEAN,
    },
    navigations={"Files": FILE, "QualityInfo": QUALITY},
    joins={"Files": ("SessionId", "Retransfer")},
    indexed=("PublicationDate", "SessionId"),
)

UNIT = "04"
_KNOWN_IDS: Mapping[str, UUID] = {
    "S1A_20241114143038056552": UUID("6894eb36-416e-469e-8788-9a0a2b8f3a8d"),
    "DCS_04_S1A_20241114143038056552_ch2_DSDB_00001.raw": UUID("228b97bc-aa04-4036-8450-3106bc7684bb"),
}

# The real session's dates, counted from its planned start.
_PLANNED_STOP = timedelta(seconds=164.185)
_DOWNLINK_START = timedelta(seconds=5.541)
_DOWNLINK_STOP = timedelta(seconds=190.335)
_PUBLISHED = timedelta(seconds=32.555)
_FIRST_FILE = (timedelta(seconds=48.169), timedelta(seconds=48.099))  # by channel
_LAST_FILE = (timedelta(seconds=190.335), timedelta(seconds=190.021))
_SENSED_BEFORE_DOWNLINK = timedelta(minutes=6)
_KEPT = timedelta(days=7)
_ORBIT_PERIOD = timedelta(days=12) / 175
_RESENT_EVERY = timedelta(seconds=1)

# The real files' sizes in CADUs.
_CHUNK = 153_900
_LAST_CHUNK = (51_542, 39_185)  # by channel


@dataclass(frozen=True)
class Plan:
    """A session to be made: who passes over, when, and how many files each channel delivers."""

    satellite: str
    orbit: int
    start: datetime  # planned start of the data
    channels: int
    chunks: int

    @property
    def session_id(self) -> str:
        """The name all its files carry."""
        return f"{self.satellite}_{self.start.astimezone(UTC):%Y%m%d%H%M%S}{self.orbit:06d}"

    def written(self, seed: int, scale: float) -> str:
        """All that the session's bytes depend on, as each of its files keeps it."""
        return f"{self.satellite} {self.orbit} {self.start.isoformat()} {self.channels} {self.chunks} {seed} {scale!r}"


@dataclass(frozen=True)
class _Chunk:
    """One file: a stretch of a channel."""

    channel: cadu.Channel
    number: int  # from 1
    of: int
    frames: int
    first_frame: int

    @property
    def final(self) -> bool:
        return self.number == self.of


def real() -> Plan:
    """The real session of 2024-11-14."""
    return Plan("S1A", 56_552, datetime(2024, 11, 14, 14, 30, 38, 477_000, UTC), channels=2, chunks=19)


def orbit_at(moment: datetime) -> int:
    """The number of the orbit that Sentinel-1A is on, counted from the real session's."""
    known = real()
    return max(1, known.orbit + (moment - known.start) // _ORBIT_PERIOD)


def build(plan: Plan, *, seed: int, scale: float) -> Entity:
    """The session with its files and quality; files hold ``scale`` of the real size, at least one CADU."""
    chunks = [chunk for number in range(1, plan.channels + 1) for chunk in _chunks(plan, number, seed, scale)]
    made_of = plan.written(seed, scale)
    files = tuple(_file(plan, chunk, made_of) for chunk in chunks)
    quality = tuple(_quality(plan, chunk.channel, files) for chunk in chunks if chunk.final)
    return Entity(SESSION, _session_values(plan), related={"Files": files, "QualityInfo": quality})


@dataclass(frozen=True)
class Pass:
    """A session as it comes in: every state of the session, and every file, each with the time when it is there."""

    sessions: tuple[Entity, ...]
    files: tuple[Entity, ...]


def come_in(plan: Plan, life: Life, *, seed: int, scale: float) -> Pass:
    """The session of a plan with a life. An aborted pass has neither final files nor quality."""
    whole = build(plan, seed=seed, scale=scale)
    files = _received(whole.related["Files"], life, Random(f"{seed}/{plan.session_id}"))  # noqa: S311 - repeatable
    ended = max((_published_at(file) for file in files), default=plan.start + _FIRST_FILE[0])
    aborted = life.abort_after is not None
    ends: dict[str, Primitive] = {
        "DownlinkStop": ended,
        "DownlinkStatusOK": life.downlink_ok and not aborted,
        "DeliveryPushOK": life.delivery_ok,
    }
    quality = _late(whole.related["QualityInfo"], ended + timedelta(seconds=life.quality_delay_s))
    begun = {**whole.values, "DownlinkStop": plan.start + _PLANNED_STOP}
    growing = replace(whole, values=begun, related={}, appears=plan.start + _PUBLISHED, vanishes=ended)
    over = replace(
        whole, values={**whole.values, **ends}, related={"QualityInfo": () if aborted else quality}, appears=ended
    )
    again = _retransfer(whole, life, ended)
    return Pass((growing, over, *again.sessions), (*files, *again.files))


def _received(files: tuple[Entity, ...], life: Life, dice: Random) -> tuple[Entity, ...]:
    """The files that come down, each published when it appears."""
    found: list[Entity] = []
    for channel in sorted({int(str(file.values["Channel"])) for file in files}):
        mine = [file for file in files if file.values["Channel"] == channel]
        moments = [_published_at(file) for file in mine]
        if life.out_of_order:
            dice.shuffle(moments)
        there = [_published(file, at) for file, at in zip(mine, moments, strict=True)]
        there.sort(key=_published_at)
        found += [
            file for file in there[: life.abort_after] if life.abort_after is None or not file.values["FinalBlock"]
        ]
    return tuple(found)


def _late(quality: tuple[Entity, ...], at: datetime) -> tuple[Entity, ...]:
    return tuple(replace(one, appears=at) for one in quality)


def _retransfer(whole: Entity, life: Life, ended: datetime) -> Pass:
    """The session sent again: new keys, the same names and octets; perhaps only its last files."""
    if life.retransfer_after_s is None:
        return Pass((), ())
    at = ended + timedelta(seconds=life.retransfer_after_s)
    chosen = [file for file in whole.related["Files"] if _is_among_last(file, whole, life.retransfer_chunks)]
    files = tuple(_published(_resent(file), at + (n + 1) * _RESENT_EVERY) for n, file in enumerate(chosen))
    quality = _late(whole.related["QualityInfo"], at + len(files) * _RESENT_EVERY)
    session = replace(_resent(whole), related={"QualityInfo": quality})
    return Pass((_published(session, at),), files)


def _is_among_last(file: Entity, whole: Entity, count: int | None) -> bool:
    blocks = max(int(str(one.values["BlockNumber"])) for one in whole.related["Files"])
    return count is None or int(str(file.values["BlockNumber"])) > blocks - count


def _resent(entity: Entity) -> Entity:
    key = uuid5(NAMESPACE_URL, f"urn:rs-python:simulator:{entity.id}:again")
    return replace(entity, values={**entity.values, "Id": key, "Retransfer": True})


def _published(entity: Entity, at: datetime) -> Entity:
    return replace(entity, values={**entity.values, "PublicationDate": at}, appears=at)


def _published_at(entity: Entity) -> datetime:
    at = entity.values["PublicationDate"]
    assert isinstance(at, datetime)
    return at


def _chunks(plan: Plan, number: int, seed: int, scale: float) -> list[_Chunk]:
    sizes = [_CHUNK] * (plan.chunks - 1) + [_LAST_CHUNK[number - 1]]
    frames = [max(1, round(size * scale)) for size in sizes]
    starts = [0, *accumulate(frames)]
    channel = cadu.Channel(seed, plan.session_id, _data_take(plan, number), starts[-1])
    return [_Chunk(channel, n, plan.chunks, size, starts[n - 1]) for n, size in enumerate(frames, start=1)]


def _data_take(plan: Plan, number: int) -> packets.DataTake:
    sensed = plan.start + _DOWNLINK_START - _SENSED_BEFORE_DOWNLINK
    return packets.DataTake(packets.gps_time(sensed), plan.orbit * 8 + 1, number, plan.channels)


def _session_values(plan: Plan) -> dict[str, Primitive]:
    return {
        "Id": _id(plan.session_id),
        "SessionId": plan.session_id,
        "NumChannels": plan.channels,
        "PublicationDate": plan.start + _PUBLISHED,
        "Satellite": plan.satellite,
        "StationUnitId": UNIT,
        "DownlinkOrbit": plan.orbit,
        "AcquisitionId": f"{plan.orbit}1",
        "AntennaId": "TLR3",
        "FrontEndId": "DEM-KSPT-SENT-DFEP4",
        "Retransfer": False,
        "AntennaStatusOK": True,
        "FrontEndStatusOK": True,
        "PlannedDataStart": plan.start,
        "PlannedDataStop": plan.start + _PLANNED_STOP,
        "DownlinkStart": plan.start + _DOWNLINK_START,
        "DownlinkStop": plan.start + _DOWNLINK_STOP,
        "DownlinkStatusOK": True,
        "DeliveryPushOK": True,
    }


def _file(plan: Plan, chunk: _Chunk, made_of: str) -> Entity:
    channel = chunk.channel.take.channel
    name = f"DCS_{UNIT}_{plan.session_id}_ch{channel}_DSDB_{chunk.number:05d}.raw"
    size = chunk.frames * cadu.CADU_SIZE
    values: dict[str, Primitive] = {
        "Id": _id(name),
        "Name": name,
        "SessionId": plan.session_id,
        "Channel": channel,
        "BlockNumber": chunk.number,
        "FinalBlock": chunk.final,
        "PublicationDate": _delivered(plan, chunk),
        "EvictionDate": (plan.start + _KEPT).replace(second=0, microsecond=0),
        "Size": size,
        "Retransfer": False,
        "Plan": made_of,
    }
    return Entity(FILE, values)


def _delivered(plan: Plan, chunk: _Chunk) -> datetime:
    """Files appear at even intervals while the pass lasts, the final one at its end; in whole milliseconds."""
    index = chunk.channel.take.channel - 1
    first, last = _FIRST_FILE[index], _LAST_FILE[index]
    share = (chunk.number - 1) / (chunk.of - 1) if chunk.of > 1 else 1.0
    at = plan.start + first + (last - first) * share
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def content(file: Mapping[str, Any]) -> Content:
    """The bytes of a file, from its properties."""
    name, size = file["Name"], file["Size"]
    chunk = _chunks_of(file["Plan"], file["Channel"])[file["BlockNumber"] - 1]
    etag = hashlib.sha256(f"{chunk.channel!r} {name} {size}".encode()).hexdigest()[:32]
    offset = chunk.first_frame * cadu.CADU_SIZE
    return Content(name, size, "application/octet-stream", f'"{etag}"', partial(_read, chunk.channel, offset))


@lru_cache(maxsize=64)
def _chunks_of(made_of: str, channel: int) -> list[_Chunk]:
    satellite, orbit, start, channels, chunks, seed, scale = made_of.split()
    plan = Plan(satellite, int(orbit), datetime.fromisoformat(start), int(channels), int(chunks))
    return _chunks(plan, channel, int(seed), float(scale))


def _read(channel: cadu.Channel, offset: int, start: int, stop: int) -> Iterator[bytes]:
    return cadu.pieces(channel, offset + start, offset + stop)


def _quality(plan: Plan, channel: cadu.Channel, files: tuple[Entity, ...]) -> Entity:
    number = channel.take.channel
    published = [entity.values["PublicationDate"] for entity in files if entity.values["Channel"] == number]
    values: dict[str, Primitive] = {
        "Channel": number,
        "SessionId": plan.session_id,
        "AcquiredTFs": channel.frames,
        "ErrorTFs": 0,
        "CorrectedTFs": 0,
        "UncorrectableTFs": 0,
        "DataTFs": cadu.data_frames(channel),
        "ErrorDataTFs": 0,
        "CorrectedDataTFs": 0,
        "UncorrectableDataTFs": 0,
        "DeliveryStart": published[0],
        "DeliveryStop": published[-1],
        "TotalChunks": len(published),
        "TotalVolume": channel.size,
    }
    return Entity(QUALITY, values)


def _id(name: str) -> UUID:
    """The real id where it is known, else one that follows from the name."""
    return _KNOWN_IDS.get(name) or uuid5(NAMESPACE_URL, f"urn:rs-python:simulator:{name}")
