"""Random stations and random filters over them, the same for the same seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rs_server.simulators import auxiliary, sessions
from rs_server.simulators.model import Entity, Primitive
from rs_server.stations.filters import TEMPORAL
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
            Entity(auxiliary.ATTRIBUTE, {"Name": key, "ValueType": "String", "Value": value})
            for key, value in written.items()
            if self.random.random() < 0.9
        )
        return [Entity(auxiliary.PRODUCT, values, related={"Attributes": attributes}, extra={"Checksum": []})]

    def filter(self, kind: StationKind, items: list[dict[str, Any]], depth: int = 3) -> Any:
        """A filter over the properties of a kind, with values that occur."""
        if depth and self.random.random() < 0.6:
            op = self.random.choice(["and", "or", "not"])
            count = 1 if op == "not" else self.random.randrange(2, 4)
            return {"op": op, "args": [self.filter(kind, items, depth - 1) for _ in range(count)]}
        return self._term(self.random.choice(kind.properties), items)

    def _term(self, of: Property, items: list[dict[str, Any]]) -> Any:  # noqa: PLR0911 - one return for each form
        ref = {"property": of.stac}
        choice = self.random.random()
        if choice < 0.1:
            return {"op": "isNull", "args": [ref]}
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
        if of.type is ValueType.INTEGER and choice < 0.5:
            return {"op": "<", "args": [{"op": "+", "args": [ref, 1]}, 3]}
        op = self.random.choice(["=", "<>", "<", "<=", ">", ">="])
        args = [ref, self._literal(of, items)]
        return {"op": op, "args": args if self.random.random() < 0.8 or isinstance(args[1], dict) else args[::-1]}

    def _literal(self, of: Property, items: list[dict[str, Any]]) -> Any:
        present = [item[of.stac] for item in items if item.get(of.stac) is not None]
        value = self.random.choice(present) if present else "nothing"
        if of.type is ValueType.INSTANT:
            text = str(value) if present else "2024-11-14T00:00:00Z"
            return {"timestamp": text} if self.random.random() < 0.8 else {"date": text[:10]}
        if of.type is ValueType.INTEGER:
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
