"""Auxiliary data files of an AUXIP station: processor and instrument parameters, calibration, restituted orbits.

Names and dates have the form of real Sentinel-1A files; contents are well-formed and small, MD5 is that of the content.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

import numpy as np

from rs_server.simulators import orbit, packets
from rs_server.simulators.model import Content, Entity, EntityType, Primitive
from rs_server.simulators.products import ATTRIBUTE, COMMON, INDEXED, LASTS, Value, attributes, extras, key_of, md5

PRODUCT = EntityType(
    "Product",
    COMMON,
    navigations={"Attributes": ATTRIBUTE},
    collections=("Checksum",),
    indexed=INDEXED,
    lasts=LASTS,
    media=True,
)

MEDIA_TYPE = "application/octet-stream"
_KEPT = timedelta(days=1000)
_ORBIT_STEP_S = 10
_ORBITS = re.compile(
    r"S1A_OPER_AUX_RESORB_OPOD_(?P<generation>\d{8}T\d{6})_(?P<validity>V\d{8}T\d{6}_\d{8}T\d{6})\.EOF"
)
_PARAMETERS = re.compile(r"S1A_(?P<kind>AUX_\w{3})_(?P<validity>V\d{8}T\d{6})_(?P<generation>G\d{8}T\d{6})\.SAFE\.zip")
_KNOWN_IDS = {
    "S1A_AUX_PP1_V20140616T133500_G20241125T133808.SAFE.zip": UUID("2e25ea88-ab33-11ef-8630-fa163e75e309"),
}


@dataclass(frozen=True)
class Auxiliary:
    """One auxiliary file: what its name says, and its bytes."""

    name: str
    product_type: str
    start: datetime
    end: datetime
    generated: datetime
    processor_version: str
    data: bytes


def products() -> tuple[Entity, ...]:
    """All products of the station."""
    parameters = (
        ("AUX_PP1", "V20140616T133500", "G20241125T133808", "03.71"),
        ("AUX_PP1", "V20190228T092500", "G20220323T153041", "03.51"),
        ("AUX_CAL", "V20190228T092500", "G20210104T141310", "03.31"),
        ("AUX_INS", "V20190228T092500", "G20211103T111906", "03.40"),
    )
    orbits = (
        ("20241114T134402", "V20241114T095821_20241114T131551"),
        ("20241114T153235", "V20241114T113655_20241114T145425"),
        ("20241114T170236", "V20241114T131541_20241114T163311"),
    )
    return (
        *(_entity(_parameter_file(*one)) for one in parameters),
        *(_entity(_orbit_file(*one)) for one in orbits),
    )


def another(generated: datetime, number: int) -> Entity:
    """A calibration file generated at that moment; those of other numbers are valid from other days."""
    valid = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return _entity(_parameter_file("AUX_CAL", f"V{valid:%Y%m%dT%H%M%S}", f"G{generated:%Y%m%dT%H%M%S}", "03.31"))


def _parameter_file(kind: str, validity: str, generation: str, version: str) -> Auxiliary:
    stem = f"S1A_{kind}_{validity}_{generation}.SAFE"
    valid, generated = _moment(validity[1:]), _moment(generation[1:])
    return Auxiliary(f"{stem}.zip", kind, valid, valid, generated, version, _safe(stem, kind, valid, generated))


@lru_cache(maxsize=16)  # what is downloaded is made several times: to be named, measured and read in ranges
def _orbit_file(generation: str, validity: str) -> Auxiliary:
    name = f"S1A_OPER_AUX_RESORB_OPOD_{generation}_{validity}.EOF"
    start, end = (_moment(part) for part in validity[1:].split("_"))
    return Auxiliary(name, "AUX_RESORB", start, end, _moment(generation), "1.9.0", _orbit_xml(name, start, end))


def _moment(token: str) -> datetime:
    return datetime.strptime(token, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


# --- entities ---------------------------------------------------------------------------------------------------------


def _entity(file: Auxiliary) -> Entity:
    published = file.generated + timedelta(minutes=4, seconds=49, milliseconds=763)
    values: dict[str, Primitive] = {
        "Id": _KNOWN_IDS.get(file.name) or key_of(file.name),
        "Name": file.name,
        "ContentType": MEDIA_TYPE,
        "ContentLength": len(file.data),
        "OriginDate": file.generated + timedelta(minutes=1, seconds=54),
        "PublicationDate": published,
        "EvictionDate": published + _KEPT,
        "ContentDate/Start": file.start,
        "ContentDate/End": file.end,
    }
    return Entity(
        PRODUCT,
        values,
        related={"Attributes": _attributes(file)},
        extra=extras(MEDIA_TYPE, md5(file.data), published),
    )


def _attributes(file: Auxiliary) -> tuple[Entity, ...]:
    values: dict[str, Value] = {
        "productType": file.product_type,
        "platformShortName": "SENTINEL-1",
        "platformSerialIdentifier": "A",
        "beginningDateTime": file.start,
        "endingDateTime": file.end,
        "processingDate": file.generated,
        "processingCenter": "OPOD" if file.product_type == "AUX_RESORB" else "MPC",
        "processorVersion": file.processor_version,
    }
    return attributes(values)


def content(document: Mapping[str, Any]) -> Content | None:
    """The bytes of a product, made again from its name; None: the name is none of ours."""
    name = document["Name"]
    orbits, parameters = _ORBITS.fullmatch(name), _PARAMETERS.fullmatch(name)
    if orbits is not None:
        data = _orbit_file(orbits["generation"], orbits["validity"]).data
    elif parameters is not None:
        data = _parameter_file(parameters["kind"], parameters["validity"], parameters["generation"], "").data
    else:
        return None
    return Content(name, len(data), MEDIA_TYPE, f'"{md5(data)}"', partial(_read, data))


def _read(data: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield data[start:stop]


# --- contents ---------------------------------------------------------------------------------------------------------


def _safe(stem: str, kind: str, valid: datetime, generated: datetime) -> bytes:
    """A SAFE folder in an archive: manifest and one data file. Stored, so that its bytes are the same anywhere."""
    data_name = f"s1a-{kind.lower().replace('_', '-')}.xml"
    members = {
        f"{stem}/manifest.safe": _manifest(kind, data_name, valid, generated),
        f"{stem}/data/{data_name}": _parameters(kind, valid),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, generated.timetuple()[:6]), content)
    return buffer.getvalue()


def _manifest(kind: str, data_name: str, valid: datetime, generated: datetime) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0"
           version="esa/safe/sentinel-1.0/sentinel-1/auxiliary/safe{kind.lower()}">
  <metadataSection>
    <safe:platform><safe:familyName>SENTINEL-1</safe:familyName><safe:number>A</safe:number></safe:platform>
    <safe:validity>{valid:%Y-%m-%dT%H:%M:%S.%f}</safe:validity>
    <safe:generation>{generated:%Y-%m-%dT%H:%M:%S.%f}</safe:generation>
    <safe:auxProductType>{kind}</safe:auxProductType>
  </metadataSection>
  <dataObjectSection><fileLocation locatorType="URL" href="./data/{data_name}"/></dataObjectSection>
</xfdu:XFDU>
"""


def _parameters(kind: str, valid: datetime) -> str:
    swaths = "\n".join(
        f'  <swath name="IW{index}" number="{swath.number}" rangeDecimation="{swath.range_decimation}" '
        f'rank="{swath.rank}" pri="{swath.interval_ticks}" pulseLength="{swath.pulse_ticks}"/>'
        for index, swath in enumerate(packets.swaths(), start=1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<auxiliary type="{kind}" validity="{valid:%Y-%m-%dT%H:%M:%S}">
{swaths}
</auxiliary>
"""


def _orbit_xml(name: str, start: datetime, end: datetime) -> bytes:
    """An Earth Explorer file with a state vector every 10 s."""
    seconds = np.arange(0, (end - start).total_seconds() + 1, _ORBIT_STEP_S)
    states = orbit.state(packets.gps_time(start) / 65_536 + seconds)
    moments = [start + timedelta(seconds=float(second)) for second in seconds]
    vectors = "".join(_vector(moment, *state) for moment, state in zip(moments, states.tolist(), strict=True))
    validity = f"<Validity_Start>{_utc(start)}</Validity_Start><Validity_Stop>{_utc(end)}</Validity_Stop>"
    document = f"""<?xml version="1.0" ?>
<Earth_Explorer_File>
<Earth_Explorer_Header><Fixed_Header>
  <File_Name>{name.removesuffix(".EOF")}</File_Name>
  <Mission>Sentinel-1A</Mission><File_Class>OPER</File_Class><File_Type>AUX_RESORB</File_Type>
  <Validity_Period>{validity}</Validity_Period>
</Fixed_Header></Earth_Explorer_Header>
<Data_Block type="xml"><List_of_OSVs count="{len(moments)}">
{vectors}</List_of_OSVs></Data_Block>
</Earth_Explorer_File>
"""
    return document.encode()


def _vector(moment: datetime, x: float, y: float, z: float, vx: float, vy: float, vz: float) -> str:
    return (
        f'<OSV><UTC>{_utc(moment)}</UTC><X unit="m">{x:.6f}</X><Y unit="m">{y:.6f}</Y><Z unit="m">{z:.6f}</Z>'
        f'<VX unit="m/s">{vx:.6f}</VX><VY unit="m/s">{vy:.6f}</VY><VZ unit="m/s">{vz:.6f}</VZ>'
        "<Quality>NOMINAL</Quality></OSV>\n"
    )


def _utc(moment: datetime) -> str:
    return f"UTC={moment:%Y-%m-%dT%H:%M:%S.%f}"
