"""The order of a search over all: the sort keys that were asked for, and what each source makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rs_server.errors import BadInput
from rs_server.stations.model import Property, StationKind
from rs_server.stations.odata import SortKey
from rs_server.stations.requests import SortBy

_DEFAULT = (("datetime", True),)


@dataclass(frozen=True, slots=True)
class Order:
    """Names of properties, each with whether it goes down. What one source cannot sort by, none is asked for."""

    terms: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, asked: Sequence[SortBy]) -> Order:
        """The order of a request; none asked for: the newest first."""
        found: dict[str, bool] = {}
        for each in asked:  # what comes twice says nothing the second time
            found.setdefault(each.field.removeprefix("properties."), each.direction == "desc")
        return cls(tuple(found.items()) or _DEFAULT)

    @property
    def descending(self) -> tuple[bool, ...]:
        """Of each key, whether it goes down."""
        return tuple(falls for _, falls in self.terms)

    def at_station(self, kind: StationKind, station: str) -> tuple[SortKey, ...]:
        """The same at a station; ``BadInput`` names it and what it cannot sort by."""
        return self._keys(kind.properties, f"station {station}")

    def at_catalog(self, known: Iterable[Property]) -> tuple[SortKey, ...]:
        """The same at the catalog, which sorts by what some stations can sort by: it declares the types of these."""
        return tuple(
            SortKey(Property(key.by.stac, (key.by.stac,), key.by.type, sortable=True), key.descending)
            for key in self._keys(known, "the catalog")
        )

    def _keys(self, known: Iterable[Property], source: str) -> tuple[SortKey, ...]:
        sortable = {each.stac: each for each in known if each.sortable}
        for name, _ in self.terms:
            if name not in sortable:
                raise BadInput(
                    f"sortby: {source} cannot sort by {name!r}, and all are sorted together",
                    hint=f"it sorts by {', '.join(sortable)}; name the collections of others, or search one service",
                )
        return tuple(SortKey(sortable[name], descending=falls) for name, falls in self.terms)
