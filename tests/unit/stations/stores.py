"""Random stations and random filters over them, the same for the same seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rs_server.simulators import auxiliary, products, sessions
from rs_server.simulators.model import Entity, Primitive
from rs_server.stations.filters import ARRAYS, NUMBERS, SPATIAL, TEMPORAL
from rs_server.stations.model import Property, StationKind, ValueType

BEGIN = datetime(2024, 11, 14, tzinfo=UTC)
ODD_TEXTS = ["", "a'b", "50%", "x_y", "ü", "A", "a", "\\"]


class Dice:
    """A seeded source of entities, values and filters."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def moment(self) -> datetime:
        """One of few moments, so that many are equal."""
        return BEGIN + timedelta(hours=self.random.randrange(12), milliseconds=self.random.choice([0, 0, 500]))

    def sometimes(self, value: Primitive, share: float = 0.8) -> Primitive:
        """The value, or nothing."""
        return value if self.random.random() < share else None

    def key(self) -> UUID:
        """A new key."""
        return UUID(int=self.random.getrandbits(128))

    def session(self, number: int) -> list[Entity]:
        """A session without files; now and then published again."""
        start = self.moment()
        values: dict[str, Primitive] = {
            "Id": self.key(),
            "SessionId": f"S1{self.random.choice('ABC')}_{number:05d}",
            "NumChannels": self.random.randrange(1, 5),
            "PublicationDate": start + timedelta(minutes=self.random.randrange(3)),
            "Satellite": self.random.choice(["S1A", "S1B", "S1C", "S2A", "ODD"]),
            "StationUnitId": self.random.choice(["04", "05"]),
            "DownlinkOrbit": self.sometimes(self.random.randrange(5)),
            "AcquisitionId": self.random.choice(ODD_TEXTS),
            "AntennaId": self.sometimes(self.random.choice(ODD_TEXTS)),
            "FrontEndId": self.sometimes("DFEP"),
            "Retransfer": False,
            "AntennaStatusOK": self.sometimes(self.random.random() < 0.5),
            "FrontEndStatusOK": True,
            "PlannedDataStart": self.sometimes(start),
            "PlannedDataStop": self.sometimes(self.moment()),
            "DownlinkStart": self.sometimes(start),
            "DownlinkStop": self.sometimes(start + timedelta(hours=self.random.randrange(3))),
            "DownlinkStatusOK": True,
            "DeliveryPushOK": True,
        }
        again: dict[str, Primitive] = {
            "Id": self.key(),
            "Retransfer": True,
            "PublicationDate": self.moment() + timedelta(days=1),
        }
        found = [values, {**values, **again}] if self.random.random() < 0.2 else [values]
        return [Entity(sessions.SESSION, each, related={"Files": (), "QualityInfo": ()}) for each in found]

    def product(self, number: int) -> list[Entity]:
        """An auxiliary file."""
        start, type_ = self.moment(), self.random.choice(["AUX_PP1", "AUX_RESORB", "AUX_POEORB"])
        file_class = self.random.choice(["", "OPER_"]) if len(type_) == 10 else ""
        name = f"S1A_{file_class}{type_}_{number:05d}{self.random.choice(['.SAFE.zip', '.EOF', ''])}"
        values: dict[str, Primitive] = {
            "Id": self.key(),
            "Name": name,
            "ContentType": "application/octet-stream",
            "ContentLength": number,
            "OriginDate": self.sometimes(start),
            "PublicationDate": start + timedelta(minutes=self.random.randrange(3)),
            "EvictionDate": self.sometimes(start + timedelta(days=7)),
            "ContentDate/Start": self.sometimes(self.moment()),
            "ContentDate/End": self.sometimes(self.moment()),
        }
        written = {
            "productType": f"{file_class}{type_}",
            "platformShortName": self.random.choice(["SENTINEL-1", "SENTINEL-2", "ODD"]),
            "platformSerialIdentifier": self.random.choice(["A", "B", "_"]),
            "processingCenter": self.random.choice(ODD_TEXTS),
            "processorVersion": "1.0",
            "processingDate": "2024-11-14T05:00:00Z",
        }
        attributes = tuple(
            Entity(products.ATTRIBUTE, {"Name": key, "ValueType": "String", "Value": value})
            for key, value in written.items()
            if self.random.random() < 0.9
        )
        return [Entity(auxiliary.PRODUCT, values, related={"Attributes": attributes}, extra={"Checksum": []})]

    def archived(self, number: int) -> dict[str, Any]:
        """A product of PRIP and LTA, as JSON; sometimes a value is missing or written in an odd way."""
        start, satellite = self.moment(), self.random.choice(["1", "2", "3"])
        attributes = {
            "productType": ("String", self.random.choice(["IW_RAW__0S", "S2MSI2A", "OL_1_EFR___", "a'b"])),
            "platformShortName": ("String", f"SENTINEL-{satellite}"),
            "platformSerialIdentifier": ("String", self.random.choice(["A", "B", "a"])),
            "timeliness": ("String", self.random.choice(["NRT-3h", "Fast-24h", "NR", "odd"])),
            "processingLevel": ("String", self.random.choice(["LEVEL1", "1", "S2MSI2A", "L2", "odd"])),
            "instrumentShortName": ("String", self.random.choice(["SAR", "MSI", "OLCI"])),
            "orbitNumber": ("Integer", self.random.randrange(-1, 5)),
            "relativeOrbitNumber": ("Integer", self.random.randrange(-1, 5)),
            "orbitDirection": ("String", self.random.choice(["ASCENDING", "Descending", "DESCENDING"])),
            "polarisationChannels": ("String", self.random.choice(["VV&VH", "VH&VV", "HH", "odd"])),
            "operationalMode": ("String", self.random.choice(["IW", "EW"])),
            "datatakeID": ("Integer", self.random.randrange(5)),
            "tileId": ("String", self.random.choice(["33TWN", "T33TWN", "01CCV"])),
            "cloudCover": ("Double", self.random.choice([0.0, 12.5, 100.0])),
        }
        written = [
            {"@odata.type": f"#OData.CSC.{type_}Attribute", "Name": name, "ValueType": type_, "Value": value}
            for name, (type_, value) in attributes.items()
            if self.random.random() < 0.85
        ]
        values: dict[str, Any] = {
            "Id": str(self.key()),
            "Name": f"S{satellite}_{number:04d}{self.random.choice(['.SAFE.zip', '.SEN3', ''])}",
            "ContentType": "application/zip",
            "ContentLength": number,
            "OriginDate": self.sometimes(_text(start)),
            "PublicationDate": _text(start + timedelta(minutes=self.random.randrange(3))),
            "ModificationDate": _text(start + timedelta(minutes=self.random.randrange(5))),
            "EvictionDate": self.sometimes(_text(start + timedelta(days=7))),
            "Online": self.random.random() < 0.5,
            "ProductionType": self.sometimes("systematic_production"),
            "ContentDate": {"Start": _text(self.moment()), "End": _text(self.moment())},
            "GeoFootprint": self.shape() if self.random.random() < 0.8 else None,
            "Attributes": written,
        }
        return {name: value for name, value in values.items() if value is not None}

    def shape(self) -> Any:
        """A polygon, now and then one that touches others; a point."""
        west, south = self.random.randrange(-20, 20), self.random.randrange(-20, 20)
        if self.random.random() < 0.15:
            return {"type": "Point", "coordinates": [float(west), float(south)]}
        east, north = west + self.random.randrange(1, 15), south + self.random.randrange(1, 15)
        top = north + self.random.random()
        ring: list[tuple[float, float]] = [(west, south), (east, south), (east, top), (west, north), (west, south)]
        return {"type": "Polygon", "coordinates": [[[float(x), float(y)] for x, y in ring]]}

    def filter(self, kind: StationKind, items: list[dict[str, Any]], depth: int = 3) -> Any:
        """A filter over the properties of a kind, with values that occur."""
        if depth and self.random.random() < 0.6:
            op = self.random.choice(["and", "or", "not"])
            count = 1 if op == "not" else self.random.randrange(2, 4)
            return {"op": op, "args": [self.filter(kind, items, depth - 1) for _ in range(count)]}
        return self._term(self.random.choice([each for each in kind.properties if each.queryable]), items)

    def _term(self, of: Property, items: list[dict[str, Any]]) -> Any:  # noqa: PLR0911 - one return for each form
        ref = {"property": of.stac}
        choice = self.random.random()
        if choice < 0.1:
            return {"op": "isNull", "args": [ref]}
        if of.type is ValueType.GEOMETRY:
            return {"op": self.random.choice(list(SPATIAL)), "args": self._either_way(ref, self._area())}
        if of.type is ValueType.LIST:
            known = ["VV", "VH", "HH", "sar", "msi"]
            values = self.random.sample(known, self.random.randrange(1, 4))
            return {"op": self.random.choice(list(ARRAYS)), "args": self._either_way(ref, values)}
        if of.type is ValueType.BOOLEAN:
            return {"op": self.random.choice(["=", "<>"]), "args": [ref, self.random.random() < 0.5]}
        if choice < 0.2:
            return {"op": "in", "args": [ref, [self._literal(of, items) for _ in range(self.random.randrange(1, 4))]]}
        if choice < 0.3:
            return {"op": "between", "args": [ref, self._literal(of, items), self._literal(of, items)]}
        if of.type is ValueType.INSTANT and choice < 0.6:
            return self._temporal(ref)
        if of.type is ValueType.TEXT and choice < 0.5:
            return self._like(ref, str(self._literal(of, items)))
        if of.type in NUMBERS and choice < 0.5:
            return {"op": "<", "args": [{"op": "+", "args": [ref, 1]}, 3]}
        op = self.random.choice(["=", "<>", "<", "<=", ">", ">="])
        args = [ref, self._literal(of, items)]
        return {"op": op, "args": args if self.random.random() < 0.8 or isinstance(args[1], dict) else args[::-1]}

    def _either_way(self, ref: Any, value: Any) -> list[Any]:
        return [ref, value] if self.random.random() < 0.8 else [value, ref]

    def _area(self) -> Any:
        shape = self.shape()
        if self.random.random() < 0.3 and shape["type"] == "Polygon":
            (west, south), _, (east, north), *_ = shape["coordinates"][0]
            return {"bbox": [west, south, east, north]}
        return shape

    def _literal(self, of: Property, items: list[dict[str, Any]]) -> Any:
        present = [item[of.stac] for item in items if item.get(of.stac) is not None]
        value = self.random.choice(present) if present else "nothing"
        if of.type is ValueType.INSTANT:
            text = str(value) if present else "2024-11-14T00:00:00Z"
            return {"timestamp": text} if self.random.random() < 0.8 else {"date": text[:10]}
        if of.type in NUMBERS:
            return self.random.choice([value if present else 1, 1.5, -1])
        return self.random.choice([value, value, *ODD_TEXTS, str(value).upper(), str(value)[:-1]])

    def _like(self, ref: dict[str, str], text: str) -> Any:
        escaped = "".join(f"\\{c}" if c in "\\%_" else c for c in text)
        pattern = self.random.choice(
            [f"{text[:3]}%".replace("\\", ""), escaped, f"%{escaped}", "%", "_%", f"{escaped}_"]
        )
        if self.random.random() < 0.2:
            return {"op": "like", "args": [{"op": "casei", "args": [ref]}, {"op": "casei", "args": [pattern]}]}
        return {"op": "like", "args": [ref, pattern]}

    def _temporal(self, ref: dict[str, str]) -> Any:
        first, last = sorted([self.moment(), self.moment()])
        ends = [self.random.choice([first.isoformat(), ".."]), self.random.choice([last.isoformat(), ".."])]
        other = self.random.choice([{"interval": ends}, {"timestamp": first.isoformat()}])
        span = {"interval": [{"property": "start_datetime"}, {"property": "end_datetime"}]}
        return {"op": self.random.choice(list(TEMPORAL)), "args": [self.random.choice([ref, span]), other]}


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
