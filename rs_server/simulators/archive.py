"""Products of Sentinel-1, 2 and 3, as production services (PRIP) and long-term archives (LTA) offer them.

Names, attributes and footprints follow the real ones: when the n-th product of a station was sensed follows from n, and
where its satellite was follows from that; the tracks repeat, as the real ones do. Contents are archives that hold a
manifest and noise, a fraction of the real size; the MD5 is that of the content.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon, box, transform
from shapely.affinity import translate
from shapely.geometry.polygon import orient

from rs_server.simulators import orbit, packets, products, sessions
from rs_server.simulators.model import Content, Edm, Entity, EntityType, Primitive

_INDEXED = (*products.INDEXED, "ModificationDate", "Online")

PRIP_PRODUCT = EntityType(
    "Product",
    {**products.COMMON, "ModificationDate": Edm.INSTANT, "Online": Edm.BOOLEAN, "ProductionType": Edm.STRING},
    navigations={"Attributes": products.ATTRIBUTE, "Quicklooks": products.QUICKLOOK},
    collections=("Checksum",),
    enumerations={"ProductionType": "ProductionType"},
    indexed=_INDEXED,
    lasts=products.LASTS,
    media=True,
    footprint=True,
)
LTA_PRODUCT = EntityType(
    "Product",
    {**products.COMMON, "ModificationDate": Edm.INSTANT, "Online": Edm.BOOLEAN},
    navigations={"Attributes": products.ATTRIBUTE},
    collections=("Checksum",),
    indexed=_INDEXED,
    lasts=products.LASTS,
    media=True,
    footprint=True,
)

MEDIA_TYPE = "application/zip"
LARGEST = 64_000_000
"""Octets of the largest product: all of it is made when its checksum is."""

_RADIUS_KM = 6371.0
_TRACK = 1800  # so many products, and the satellites are where they were
_HALF = 180.0
_DIGITS = 5  # of a degree: about a metre
_KEPT = timedelta(days=7)

type Kind = Literal["prip", "lta"]


@dataclass(frozen=True)
class Sensing:
    """When a product was sensed, and where the satellite was."""

    start: datetime
    stop: datetime
    generated: datetime
    orbit: int
    relative_orbit: int
    cycle: int
    ascending: bool
    centre: tuple[float, float]  # longitude, latitude in degrees
    number: int

    @property
    def span(self) -> str:
        """Start and stop as names have them."""
        return f"{self.start:%Y%m%dT%H%M%S}_{self.stop:%Y%m%dT%H%M%S}"


@dataclass(frozen=True)
class Family:
    """One type of product: how long it lasts, how wide it is, how large, and what is said of it."""

    platform: str  # SENTINEL-1
    unit: str  # A
    product_type: str
    seconds: float
    swath_km: tuple[float, float]  # near and far edge, to the right of the track
    size: int  # octets, of real ones
    name: Callable[[Sensing], str]
    attributes: Callable[[Sensing], dict[str, products.Value]]
    quicklook: bool = True
    located: bool = True  # whether the station tells a footprint


# --- families ---------------------------------------------------------------------------------------------------------


def _s1_name(prefix: str, sensing: Sensing) -> str:
    take = sensing.orbit * 8 + 1
    mark = zlib.crc32(f"{prefix}{sensing.start}".encode()) & 0xFFFF
    return f"S1A_{prefix}_{sensing.span}_{sensing.orbit:06d}_{take & 0xFFFFFF:06X}_{mark:04X}.SAFE.zip"


def _s1(level: str, timeliness: str, product_class: str, sensing: Sensing) -> dict[str, products.Value]:
    return {
        "instrumentShortName": "SAR",
        "operationalMode": "IW",
        "swathIdentifier": "IW",
        "polarisationChannels": "VV&VH",
        "orbitNumber": sensing.orbit,
        "relativeOrbitNumber": sensing.relative_orbit,
        "cycleNumber": sensing.cycle,
        "orbitDirection": "ASCENDING" if sensing.ascending else "DESCENDING",
        "datatakeID": sensing.orbit * 8 + 1,
        "instrumentConfigurationID": 7,
        "sliceNumber": sensing.number % 12 + 1,
        "totalSlices": 12,
        "sliceProductFlag": False,
        "startTimeFromAscendingNode": round(sensing.number * 25.0 % 5924, 3),
        "productClass": product_class,
        "timeliness": timeliness,
        "processingLevel": level,
        "processorName": "Sentinel-1 IPF",
        "processorVersion": "003.71",
        "processingCenter": "Production Service-SERCO",
    }


def _s2_name(level: str, sensing: Sensing) -> str:
    tile = _tile(*sensing.centre)
    return (
        f"S2A_{level}_{sensing.start:%Y%m%dT%H%M%S}_N0511_R{sensing.relative_orbit:03d}_T{tile}"
        f"_{sensing.generated:%Y%m%dT%H%M%S}.SAFE.zip"
    )


def _s2(level: str, sensing: Sensing) -> dict[str, products.Value]:
    sensed, generated = f"{sensing.start:%Y%m%dT%H%M%S}", f"{sensing.generated:%Y%m%dT%H%M%S}"
    return {
        "instrumentShortName": "MSI",
        "operationalMode": "INS-NOBS",
        "orbitNumber": sensing.orbit,
        "relativeOrbitNumber": sensing.relative_orbit,
        "cloudCover": round(sensing.number * 37.13 % 100, 2),
        "tileId": _tile(*sensing.centre),
        "datastripId": f"S2A_OPER_MSI_{level[5:]}_DS_2APS_{generated}_S{sensed}_N05.11",
        "productGroupId": f"GS2A_{sensed}_{sensing.orbit:06d}_N05.11",
        "processingLevel": f"S2{level}",
        "processorVersion": "05.11",
        "qualityStatus": "NOMINAL",
        "processingCenter": "2APS",
    }


def _s3_name(kind: str, sensing: Sensing) -> str:
    seconds = round((sensing.stop - sensing.start).total_seconds()) - 1
    frame = sensing.number * 180 % 3600
    return (
        f"S3A_{kind}____{sensing.span}_{sensing.generated:%Y%m%dT%H%M%S}_{seconds:04d}_{sensing.cycle:03d}"
        f"_{sensing.relative_orbit:03d}_{frame:04d}_PS1_O_NR_004.SEN3.zip"
    )


def _s3(sensing: Sensing) -> dict[str, products.Value]:
    return {
        "instrumentShortName": "OLCI",
        "orbitNumber": sensing.orbit,
        "relativeOrbitNumber": sensing.relative_orbit,
        "cycleNumber": sensing.cycle,
        "orbitDirection": "ascending" if sensing.ascending else "descending",
        "timeliness": "NR",
        "processingLevel": "1",
        "baselineCollection": "004",
        "processorName": "PUG",
        "processorVersion": "06.14",
        "processingCenter": "ESA",
        "cloudCover": round(sensing.number * 53.7 % 100, 2),
        "landCover": round(sensing.number * 11.9 % 100, 2),
    }


FAMILIES = (
    Family("SENTINEL-1", "A", "IW_RAW__0S", 32, (230, 490), 1_650_000_000, partial(_s1_name, "IW_RAW__0SDV"),
           partial(_s1, "LEVEL0", "Fast-24h", "S"), quicklook=False),
    Family("SENTINEL-1", "A", "IW_SLC__1S", 27, (230, 480), 4_737_286_945, partial(_s1_name, "IW_SLC__1SDV"),
           partial(_s1, "LEVEL1", "Fast-24h", "S")),
    Family("SENTINEL-2", "A", "S2MSI1C", 16, (-55, 55), 800_000_000, partial(_s2_name, "MSIL1C"),
           partial(_s2, "MSIL1C")),
    Family("SENTINEL-1", "A", "IW_GRDH_1S", 25, (230, 480), 1_700_000_000, partial(_s1_name, "IW_GRDH_1SDV"),
           partial(_s1, "LEVEL1", "NRT-3h", "S")),
    Family("SENTINEL-3", "A", "OL_1_EFR___", 180, (-450, 820), 600_000_000, partial(_s3_name, "OL_1_EFR"), _s3),
    Family("SENTINEL-2", "A", "S2MSI2A", 16, (-55, 55), 1_100_000_000, partial(_s2_name, "MSIL2A"),
           partial(_s2, "MSIL2A")),
)  # fmt: skip


def _tile(longitude: float, latitude: float) -> str:
    """The military grid's square of a place, near enough to the real one to be one that exists."""
    zone = min(60, int((longitude + 180) // 6) + 1)
    south = min(83.9, max(-79.9, latitude))
    band = "CDEFGHJKLMNPQRSTUVWXX"[int((south + 80) // 8)]
    east = 500_000 + (longitude - (zone * 6 - 183)) * 111_320 * float(np.cos(np.radians(south)))
    north = south * 110_574 % 2_000_000
    columns = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3]
    rows = "ABCDEFGHJKLMNPQRSTUV"
    row = (int(north // 100_000) + (0 if zone % 2 else 5)) % 20
    return f"{zone:02d}{band}{columns[min(7, max(0, int(east // 100_000) - 1))]}{rows[row]}"


# --- where and when ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cycle:
    """How a satellite repeats: at a moment it was on that orbit, after that many cycles, at that relative orbit."""

    moment: datetime
    orbit: int
    relative_orbit: int
    cycle: int
    days: int
    orbits: int


_CYCLES: Mapping[str, Cycle] = {
    "SENTINEL-1": Cycle(sessions.real().start, 56_552, 80, 340, 12, 175),
    "SENTINEL-2": Cycle(datetime(2024, 7, 28, 9, 6, 1, tzinfo=UTC), 47_523, 50, 330, 10, 143),
    "SENTINEL-3": Cycle(datetime(2023, 10, 11, 12, 38, 58, tzinfo=UTC), 39_940, 209, 104, 27, 385),
}


def _orbits(cycle: Cycle, moment: datetime) -> tuple[int, int, int]:
    """Absolute orbit, relative orbit from 1, and cycle at a moment."""
    since = (moment - cycle.moment) // (timedelta(days=cycle.days) / cycle.orbits)
    cycles, relative = divmod(cycle.relative_orbit - 1 + since, cycle.orbits)
    return max(1, cycle.orbit + since), relative + 1, max(1, cycle.cycle + cycles)


@lru_cache(maxsize=_TRACK)
def _swath(family: int, start: datetime) -> tuple[Polygon | MultiPolygon, tuple[float, float], bool]:
    """The footprint, its middle (longitude, latitude in degrees), and whether the satellite was going north."""
    near, far = FAMILIES[family].swath_km
    seconds = np.linspace(0, FAMILIES[family].seconds, 3)
    state = orbit.state(packets.gps_time(start) / 65_536 + seconds)
    up = state[:, :3] / np.linalg.norm(state[:, :3], axis=1, keepdims=True)
    right = np.cross(state[:, 3:], up)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    edges = [_degrees(up * np.cos(angle) + right * np.sin(angle)) for angle in (near / _RADIUS_KM, far / _RADIUS_KM)]
    ring = np.concatenate([edges[0], edges[1][::-1]])
    longitude, latitude = edges[0][1]
    return _shape(ring), (float(longitude), float(latitude)), bool(state[0, 5] > 0)


def _degrees(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    longitude = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
    latitude = np.degrees(np.arcsin(directions[:, 2]))
    return np.stack([longitude, latitude], axis=1).round(_DIGITS)


def _shape(ring: NDArray[np.float64]) -> Polygon | MultiPolygon:
    """A valid footprint, counter-clockwise; one that crosses the antimeridian is cut there."""
    if np.ptp(ring[:, 0]) <= _HALF:
        return orient(Polygon(ring.tolist()))
    ring = ring + np.where(ring[:, :1] < 0, [[2 * _HALF, 0]], [[0, 0]])
    whole = Polygon(ring.tolist())
    east = whole.intersection(box(0, -90, _HALF, 90))
    west = translate(whole.intersection(box(_HALF, -90, 2 * _HALF, 90)), -2 * _HALF)
    return transform(MultiPolygon([orient(part) for part in (east, west)]), partial(np.round, decimals=_DIGITS))


# --- products ---------------------------------------------------------------------------------------------------------


def product(kind: Kind, number: int, *, first: datetime, every: timedelta, scale: float) -> Entity:
    """The product of that number: sensed so many steps after the first. An archive has most of them offline."""
    index = number % len(FAMILIES)
    family = FAMILIES[index]
    start = (first + number * every).replace(microsecond=0)
    shape, centre, ascending = _swath(index, (first + number % _TRACK * every).replace(microsecond=0))
    generated = start + timedelta(hours=2, minutes=number % 50, seconds=7)
    stop = start + timedelta(seconds=family.seconds)
    sensing = Sensing(start, stop, generated, *_orbits(_CYCLES[family.platform], start), ascending, centre, number)
    return _entity(kind, family, sensing, shape if family.located else None, scale)


def _entity(kind: Kind, family: Family, sensing: Sensing, shape: Polygon | MultiPolygon | None, scale: float) -> Entity:
    of = PRIP_PRODUCT if kind == "prip" else LTA_PRODUCT
    name = family.name(sensing)
    data = _archive(name, sensing.span, min(LARGEST, max(1024, round(family.size * scale))))
    published = sensing.generated + timedelta(minutes=15, seconds=34, milliseconds=558)
    values: dict[str, Primitive] = {
        "Id": products.key_of(name),
        "Name": name,
        "ContentType": MEDIA_TYPE,
        "ContentLength": len(data),
        "OriginDate": sensing.generated,
        "PublicationDate": published,
        "EvictionDate": published + _KEPT if kind == "prip" else datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC),
        "ContentDate/Start": sensing.start,
        "ContentDate/End": sensing.stop,
        "ModificationDate": published,
        "Online": kind == "prip" or sensing.number % 4 == 0,
        "ProductionType": "systematic_production",
    }
    described: dict[str, products.Value] = {
        "productType": family.product_type,
        "platformShortName": family.platform,
        "platformSerialIdentifier": family.unit,
        "beginningDateTime": sensing.start,
        "endingDateTime": sensing.stop,
        "processingDate": sensing.generated,
        **family.attributes(sensing),
    }
    related = {"Attributes": products.attributes(described)}
    if "Quicklooks" in of.navigations and family.quicklook:
        related["Quicklooks"] = (Entity(products.QUICKLOOK, {"Image": _image_name(name)}),)
    return Entity(
        of,
        products.values(of, values),
        related=related,
        extra={**products.extras(MEDIA_TYPE, products.md5(data), published), **products.footprint(shape)},
        footprint=shape,
    )


# --- contents ---------------------------------------------------------------------------------------------------------


def content(document: Mapping[str, Any]) -> Content:
    """The bytes of a product, from what the station shows of it."""
    name, size = document["Name"], document["ContentLength"]
    (checksum,) = document["Checksum"]
    span = "_".join(document["ContentDate"][end][:19].replace("-", "").replace(":", "") for end in ("Start", "End"))
    return Content(name, size, MEDIA_TYPE, f'"{checksum["Value"]}"', partial(_read, name, span, size))


def _read(name: str, span: str, size: int, start: int, stop: int) -> Iterator[bytes]:
    payload = size - len(_archive(name, span, 0))
    yield _kept_archive(name, span, payload)[start:stop]


@lru_cache(maxsize=4)
def _kept_archive(name: str, span: str, payload: int) -> bytes:
    """For the next range of the same product."""
    return _archive(name, span, payload)


def _archive(name: str, span: str, payload: int) -> bytes:
    """A folder with a manifest and noise. Stored, so that its bytes are the same anywhere."""
    stem = name.removesuffix(".zip")
    start, stop = span.split("_")
    manifest = f'<?xml version="1.0" encoding="UTF-8"?>\n<product name="{stem}" start="{start}" stop="{stop}"/>\n'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{stem}/manifest.safe"), manifest)
        archive.writestr(zipfile.ZipInfo(f"{stem}/measurement.dat"), hashlib.shake_128(name.encode()).digest(payload))
    return buffer.getvalue()


def _image_name(name: str) -> str:
    return f"{name.removesuffix('.zip')}-ql.png"


def quicklook(document: Mapping[str, Any]) -> Content:
    """The picture of a product: 64 × 64 shades of grey that follow from its name."""
    data = _png(document["Name"])
    name = _image_name(document["Name"])
    return Content(
        name, len(data), "image/png", f'"{products.md5(data)}"', lambda start, stop: iter([data[start:stop]])
    )


@lru_cache(maxsize=64)
def _png(name: str) -> bytes:
    size = 64
    waves = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8)[:4] / 32
    x, y = np.meshgrid(np.linspace(0, 2 * np.pi, size), np.linspace(0, 2 * np.pi, size))
    grey = (127 + 60 * np.sin(waves[0] * x + waves[1]) + 60 * np.cos(waves[2] * y + waves[3])).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body)) for tag, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
