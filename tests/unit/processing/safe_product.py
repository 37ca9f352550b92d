"""A small Sentinel-3 OLCI Level-0 product in SAFE form, as the products' specification describes it."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.unit.processing.downlink import packet

NAME = "S3A_OL_0_EFR____20231011T123858_20231011T124158_20231011T143747_0179_104_209______PS1_O_NR_004.SEN3"
DAYS, SECONDS = 8684, 45_538  # since 2000-01-01

_MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:gml="http://www.opengis.net/gml"
 xmlns:sentinel-safe="http://www.esa.int/safe/sentinel/1.1"
 xmlns:sentinel3="http://www.esa.int/safe/sentinel/sentinel-3/1.0"
 xmlns:s3-level0="http://www.esa.int/safe/sentinel/sentinel-3/level-0/1.0">
<metadataSection>
<metadataObject ID="processing"><metadataWrap><xmlData><sentinel-safe:processing name="L0" start="2023-10-11T14:37:47Z">
 <sentinel-safe:facility name="PS1" organisation="PS1"><sentinel-safe:software name="PUG" version="3.1"/>
 </sentinel-safe:facility></sentinel-safe:processing></xmlData></metadataWrap></metadataObject>
<metadataObject ID="acquisitionPeriod"><metadataWrap><xmlData><sentinel-safe:acquisitionPeriod>
 <sentinel-safe:startTime>2023-10-11T12:38:58.000000Z</sentinel-safe:startTime>
 <sentinel-safe:stopTime>2023-10-11T12:41:58.000000Z</sentinel-safe:stopTime>
</sentinel-safe:acquisitionPeriod></xmlData></metadataWrap></metadataObject>
<metadataObject ID="platform"><metadataWrap><xmlData><sentinel-safe:platform>
 <sentinel-safe:nssdcIdentifier>2016-011A</sentinel-safe:nssdcIdentifier>
 <sentinel-safe:familyName>Sentinel-3</sentinel-safe:familyName><sentinel-safe:number>A</sentinel-safe:number>
 <sentinel-safe:instrument><sentinel-safe:mode>EO</sentinel-safe:mode></sentinel-safe:instrument>
</sentinel-safe:platform></xmlData></metadataWrap></metadataObject>
<metadataObject ID="generalProductInformation"><metadataWrap><xmlData><sentinel3:generalProductInformation>
 <sentinel3:productName>{name}</sentinel3:productName><sentinel3:timeliness>NR</sentinel3:timeliness>
 <sentinel3:baselineCollection>004</sentinel3:baselineCollection>
 <sentinel3:creationTime>20231011T143747</sentinel3:creationTime>
 <s3-level0:packetCount>{count}</s3-level0:packetCount>
</sentinel3:generalProductInformation></xmlData></metadataWrap></metadataObject>
<metadataObject ID="measurementOrbitReference"><metadataWrap><xmlData><sentinel-safe:orbitReference>
 <sentinel-safe:orbitNumber type="start" groundTrackDirection="descending">39852</sentinel-safe:orbitNumber>
 <sentinel-safe:relativeOrbitNumber type="start">209</sentinel-safe:relativeOrbitNumber>
 <sentinel-safe:cycleNumber>104</sentinel-safe:cycleNumber>
</sentinel-safe:orbitReference></xmlData></metadataWrap></metadataObject>
<metadataObject ID="measurementFrameSet"><metadataWrap><xmlData><sentinel-safe:frameSet><sentinel-safe:footPrint>
 <gml:posList>10 20 10 30 0 30 0 20 10 20</gml:posList>
</sentinel-safe:footPrint></sentinel-safe:frameSet></xmlData></metadataWrap></metadataObject>
</metadataSection></xfdu:XFDU>
"""


def write(folder: Path, count: int = 5) -> tuple[Path, list[bytes]]:
    """Write a product with ``count`` packets; where it is, and the packets."""
    product = folder / NAME
    product.mkdir(parents=True)
    packets = [packet(0x3A0, n, bytes([n]) * (20 + 7 * n), timed=True) for n in range(count)]
    annotations = [struct.pack(">III", DAYS, SECONDS, n).ljust(30, b"\0") for n in range(count)]
    (product / "ISPData.dat").write_bytes(b"".join(packets))
    (product / "ISPAnnotation.dat").write_bytes(b"".join(annotations))
    manifest = _MANIFEST.format(name=NAME, count=count).replace("20231011T143747<", "2023-10-11T14:37:47.000000Z<")
    (product / "xfdumanifest.xml").write_text(manifest)
    return product, packets
