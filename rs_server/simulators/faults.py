"""What is wrong with a station: faults that strike chosen requests, seeded and counted.

A fault says *which* requests it meets (``requests``, ``name``), *which of those* it strikes (``skip``, ``times``,
``chance``, ``each``), and *what* it does to them. What a fault draws depends on the seed, the fault, the file and how
often that file was asked for, so that concurrent downloads do not change each other's luck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from http import HTTPStatus
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, model_validator


class Operation(StrEnum):
    """What a request wants of a station."""

    TOKEN = "token"  # noqa: S105 - the token endpoint
    QUERY = "query"  # service document, metadata, entities
    DOWNLOAD = "download"  # the bytes of a file, wherever a redirect may lead
    ORDER = "order"
    SUBSCRIPTION = "subscription"


DATA = frozenset(Operation) - {Operation.TOKEN}

type Place = NonNegativeInt | tuple[NonNegativeInt, NonNegativeInt]
type Feature = Literal[
    "expand", "select", "count", "orderby", "in", "or", "not", "bool", "contains", "any", "intersects"
]


def _several(given: Any) -> Any:
    """One operation may stand for a list of one; ``any`` for all."""
    if given == "any":
        return list(Operation)
    return [given] if isinstance(given, str) else given


class Fault(BaseModel):
    """One fault. Places count octets of the answer from 0, as a number or as a range to draw from.

    A place beyond the answer's end means its last octet, so that a fault that strikes always shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Which requests it meets
    requests: Annotated[frozenset[Operation], BeforeValidator(_several)] = Field(
        DATA, description="Operations; `any`: all, the token endpoint included", min_length=1
    )
    name: str = Field("*", description="Pattern of the file's name (downloads, orders) or of the entity set's name")
    # Which of those it strikes
    skip: int = Field(0, ge=0, description="The first so many are spared")
    times: int | None = Field(None, ge=1, description="Strikes so often, then no more")
    chance: float = Field(1.0, gt=0, le=1, description="Share of the rest that is struck")
    each: bool = Field(default=False, description="`skip` and `times` count for each file by itself")
    # Instead of an answer, or before it
    down: bool = Field(default=False, description="Everything, the token endpoint included, answers 503")
    status: int | None = Field(None, ge=400, le=599, description="Answer with this status")
    retry_after_s: int | None = Field(None, ge=0, description="Of such an answer; 5 with 429 and 503 if left out")
    latency_s: float = Field(0.0, ge=0, le=600, description="Wait before the answer, in seconds")
    jitter_s: float = Field(0.0, ge=0, le=600, description="Wait up to so much longer")
    html: bool = Field(default=False, description="A page for people in place of what was asked for")
    redirect: str | None = Field(
        None,
        pattern=r"^(resend|presigned|loop|https?://\S+)$",
        description="Downloads are sent on: to where the token is wanted again, to a presigned address that refuses "
        "it, to themselves, or to the given address",
    )
    redirect_status: Literal[301, 302, 303, 307, 308] = 307
    token_life_s: int | None = Field(
        None, ge=0, description="Access tokens live so long, whatever the answer says (requests: token)"
    )
    revoke_tokens: bool = Field(default=False, description="No token issued until now is good for another request")
    evict: bool = Field(default=False, description="Downloads: the file is gone. Queries: what they show goes")
    ignore_range: bool = Field(default=False, description="The whole file (200) whatever range was asked for")
    # The octets of the answer
    bytes_per_s: int | None = Field(None, ge=1, description="Speed of the answer")
    reset_at: Place | None = Field(None, description="The connection is reset after so many octets")
    short_at: Place | None = Field(None, description="The connection is closed after so many octets: a short read")
    stall_at: Place | None = Field(None, description="After so many octets nothing comes for `stall_s`")
    stall_s: float = Field(3600.0, ge=0)
    flip_at: Place | None = Field(None, description="One bit of this octet is wrong")
    length_delta: int = Field(0, description="Content-Length is off by so much; what is too little is not sent")
    # What queries show
    size_delta: int = Field(0, description="Sizes are off by so much")
    checksum: Literal["wrong", "missing"] | None = None
    string_integers: bool = Field(default=False, description="Int64 as text")
    bare_list: bool = Field(default=False, description="A list in place of an object with `value`")
    duplicate_rows: int = Field(0, ge=0, description="The first rows of a page stand at its end again")
    twin_rows: int = Field(
        0,
        ge=0,
        le=1000,
        description="So many of the rows shown are published once more, under another key",
    )
    insert_rows: int = Field(0, ge=0, le=1000, description="So many entities are published behind each answer")
    insert_late_s: float = Field(0.0, ge=0, description="Their publication date lies so far back")
    ignore: frozenset[str] = Field(frozenset(), description="Query options that have no effect: `$filter`, `$top`, …")
    refuse: frozenset[Feature] = Field(frozenset(), description="Parts of OData that answer 501")

    @model_validator(mode="before")
    @classmethod
    def _down_is_all(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("down") is True:
            return {"requests": "any", "status": int(HTTPStatus.SERVICE_UNAVAILABLE), **given}
        return given

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not any(getattr(self, name) != info.get_default() for name, info in EFFECTS.items()):
            raise ValueError("the fault does nothing; give it an effect")
        return self

    def said(self) -> dict[str, Any]:
        """The fault as it was given."""
        return self.model_dump(mode="json", exclude_defaults=True)


_SELECTION = {"requests", "name", "skip", "times", "chance", "each"}
_MODIFIERS = {"retry_after_s", "redirect_status", "stall_s", "insert_late_s"}
EFFECTS = {name: info for name, info in Fault.model_fields.items() if name not in _SELECTION | _MODIFIERS}
"""What a fault can do: all its fields but those that say to which requests, and those that say how."""


@dataclass(frozen=True)
class Strike:
    """A fault that strikes one request, and the dice it draws with."""

    id: str
    fault: Fault
    dice: Random

    def place(self, place: Place, size: int) -> int:
        """Where in an answer of that many octets."""
        drawn = place if isinstance(place, int) else self.dice.randint(min(place), max(place))
        return min(drawn, max(0, size - 1))


@dataclass(frozen=True)
class Strikes:
    """All that strike one request."""

    each: tuple[Strike, ...] = ()

    def __iter__(self) -> Iterator[Strike]:
        return iter(self.each)

    @property
    def ids(self) -> tuple[str, ...]:
        """Which faults they are."""
        return tuple(strike.id for strike in self.each)

    def having(self, effect: str) -> Iterator[Strike]:
        """Those with that effect, a field of ``Fault``."""
        default = EFFECTS[effect].get_default()
        return (strike for strike in self.each if getattr(strike.fault, effect) != default)

    def any(self, effect: str) -> bool:
        """Whether one has that effect."""
        return next(self.having(effect), None) is not None

    @property
    def latency_s(self) -> float:
        """How long the answer is held back."""
        return sum(one.fault.latency_s + one.dice.uniform(0, one.fault.jitter_s) for one in self.each)

    @property
    def ignored(self) -> frozenset[str]:
        """Query options without effect."""
        return frozenset().union(*(one.fault.ignore for one in self.each))

    @property
    def refused(self) -> frozenset[Feature]:
        """Parts of OData that are refused."""
        return frozenset().union(*(one.fault.refuse for one in self.each))


@dataclass
class _Active:
    id: str
    fault: Fault
    met: Counter[str] = field(default_factory=Counter)  # by target, or all under ""
    struck: Counter[str] = field(default_factory=Counter)

    def meets(self, operation: Operation, target: str, seed: int) -> Strike | None:
        """Whether it strikes this request; counts it either way."""
        fault = self.fault
        if operation not in fault.requests or not fnmatchcase(target, fault.name):
            return None
        counted = target if fault.each else ""
        self.met[target] += 1
        seen = self.met[target] if fault.each else self.met.total()
        dice = Random(f"{seed}/{self.id}/{target}/{self.met[target]}")  # noqa: S311 - repeatable on purpose
        if seen <= fault.skip or dice.random() >= fault.chance:
            return None
        if fault.times is not None and self.struck[counted] >= fault.times:
            return None
        self.struck[counted] += 1
        return Strike(self.id, fault, dice)

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, **self.fault.said(), "met": self.met.total(), "struck": self.struck.total()}


class Faults:
    """The faults that a station has now."""

    def __init__(self, seed: int = 0, faults: Iterable[Fault] = ()) -> None:
        self.seed = seed
        self._named = 0
        self._active: dict[str, _Active] = {}
        self.replace(faults)

    def add(self, fault: Fault) -> str:
        """One more; returns the name that counts and logs use."""
        self._named += 1
        name = f"fault-{self._named}"
        self._active[name] = _Active(name, fault)
        return name

    def replace(self, faults: Iterable[Fault]) -> None:
        """These and no others; names and counts start again."""
        self._named, self._active = 0, {}
        for fault in faults:
            self.add(fault)

    def remove(self, name: str) -> None:
        """Heal one; ``KeyError``: there is none of that name."""
        del self._active[name]

    def strike(self, operation: Operation, target: str = "") -> Strikes:
        """Those that strike this request."""
        met = (active.meets(operation, target, self.seed) for active in self._active.values())
        return Strikes(tuple(strike for strike in met if strike is not None))

    def shown(self) -> Mapping[str, Any]:
        """Every fault as it was given, with how many requests it met and struck."""
        return {"seed": self.seed, "faults": [active.shown() for active in self._active.values()]}
