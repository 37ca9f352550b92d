"""A scenario: what happens at a station, in one YAML file.

``scenarios/`` beside this has an example for each kind of station.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rs_server.simulators import packets
from rs_server.simulators.faults import Fault


class ClockSettings(BaseModel):
    """The station's time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: AwareDatetime | None = Field(None, description="What it is when the station starts; the world's if left out")
    skew_s: float | None = Field(
        None, description="Ahead of the world's by so much, or behind it: a clock that is wrong"
    )
    speed: float = Field(1.0, ge=0, description="How much faster than the world's; 0: it stands still")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.start is not None and self.skew_s is not None:
            raise ValueError("a clock has a start, or is skewed")
        return self


class Quotas(BaseModel):
    """What a station gives each of its clients; what is over is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int | None = Field(None, ge=1, description="Of any kind, counted in the station's time")
    parallel_downloads: int | None = Field(None, ge=1)
    total_downloads: int | None = Field(None, ge=1, description="In a period")
    volume: int | None = Field(None, ge=1, description="Octets in a period")
    bytes_per_s: int | None = Field(None, ge=1, description="Speed of each download")
    parallel_orders: int | None = Field(None, ge=1)
    total_orders: int | None = Field(None, ge=1, description="In a period")
    subscriptions: int | None = Field(None, ge=1, description="Running at the same time")
    period_s: float = Field(86_400, gt=0, description="Seconds of the station's time")
    status: Literal[403, 429] = Field(429, description="What a refused request answers")
    retry_after_s: int = Field(5, ge=0)


class Life(BaseModel):
    """How a session comes in while the satellite passes; seconds are the station's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out_of_order: bool = Field(default=False, description="Files are published in another order than they are cut in")
    quality_delay_s: float = Field(0.0, ge=0, description="Quality is published so long after the last file")
    abort_after: int | None = Field(None, ge=0, description="The pass breaks off after so many files of each channel")
    retransfer_after_s: float | None = Field(None, ge=0, description="It is sent again so long after its end")
    retransfer_chunks: int | None = Field(None, ge=1, description="Only the last so many files of each channel")
    downlink_ok: bool = True
    delivery_ok: bool = True


class NewSession(BaseModel):
    """A session to be added. By default the satellite passes now, on the orbit that it is on now.

    Without a life all of it is there at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    satellite: Annotated[str, Field(pattern=r"^S1[A-D]$")] = "S1A"
    orbit: int | None = Field(None, ge=1, le=999_999)
    start: AwareDatetime = Field(default_factory=partial(datetime.now, UTC))
    channels: int = Field(packets.MAX_CHANNELS, ge=1, le=packets.MAX_CHANNELS)
    chunks: int = Field(19, ge=1, le=99_999)
    life: Life | None = None

    @model_validator(mode="before")
    @classmethod
    def _grows(cls, given: object) -> object:
        """``life: true`` is a life without incidents."""
        if isinstance(given, dict) and given.get("life") is True:
            return {**given, "life": {}}
        return given


class Holdings(BaseModel):
    """How much a station holds beyond the few entities it always has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sessions: int = Field(0, ge=0, le=100_000)
    products: int = Field(0, ge=0, le=10_000_000)


class OrderLife(BaseModel):
    """What becomes of an order at an archive; seconds are the station's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queued_s: float = Field(5.0, ge=0, description="Until it is worked on")
    work_s: float = Field(10.0, ge=0, description="From then until the product is online")
    estimate_off_s: float = Field(0.0, description="The estimated date is off by so much")
    estimate_drift_s: float = Field(0.0, description="It moves by so much when the order is worked on")
    online_s: float = Field(3 * 86_400, gt=0, description="How long the product stays online")
    failing: float = Field(0.0, ge=0, le=1, description="Share of orders that fail")
    offline_status: Literal[202, 403, 404, 409, 422] = Field(
        404, description="Answer to a download of what is offline; 202: that orders it, as older archives do"
    )
    online_lies: float = Field(0.0, ge=0, le=1, description="Share of the products shown as online that are not")


class Scenario(BaseModel):
    """All that can be said about a station's behaviour."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="What faults draw follows from it")
    clock: ClockSettings = ClockSettings()
    quotas: Quotas = Quotas()
    client_quotas: dict[str, Quotas] = Field({}, description="Of some clients, by user name or client id")
    holdings: Holdings = Holdings()
    eviction: bool = Field(default=False, description="What is past its eviction date is gone")
    gone_status: Literal[404, 410] = Field(410, description="Answer to a download of what is gone")
    sessions: tuple[NewSession, ...] = ()
    orders: OrderLife = OrderLife()
    faults: tuple[Fault, ...] = ()

    def foreign(self, kind: str) -> Iterator[str]:
        """What it says that means nothing at a station of that kind."""
        if kind == "cadip" and self.holdings.products:
            yield "holdings.products: a CADIP station holds sessions"
        if kind != "cadip" and self.holdings.sessions:
            yield f"holdings.sessions: only CADIP stations hold sessions, and this is one of {kind.upper()}"
        if kind != "cadip" and self.sessions:
            yield f"sessions: only CADIP stations have sessions, and this is one of {kind.upper()}"


class BadScenario(Exception):
    """A scenario that cannot be played; a line for each thing that is wrong with it."""


def load(path: Path) -> Scenario:
    """Read a scenario file, or raise ``BadScenario``."""
    try:
        given = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as unreadable:
        raise BadScenario(f"cannot be read: {unreadable}") from unreadable
    except yaml.YAMLError as wrong:
        raise BadScenario(f"is no YAML: {wrong}") from wrong
    if not isinstance(given, dict | None):
        raise BadScenario("is no scenario: it must be fields with values")
    try:
        return Scenario.model_validate(given or {})
    except ValidationError as invalid:
        raise BadScenario("\n".join(problems(invalid))) from invalid


def problems(invalid: ValidationError) -> Iterator[str]:
    """What is wrong, a sentence each: where, what, and which field may have been meant by one that does not exist."""
    for one in invalid.errors(include_input=False, include_url=False):
        place = ".".join(map(str, one["loc"]))
        if one["type"] == "extra_forbidden":
            meant = difflib.get_close_matches(str(one["loc"][-1]), _FIELDS, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
            yield f"{place}: there is no such field{hint}"
        else:
            said = one["msg"].removeprefix("Value error, ")
            yield f"{place}: {said}" if place else said


_MODELS = (Scenario, ClockSettings, Quotas, Holdings, NewSession, Life, OrderLife, Fault)
_FIELDS = sorted({name for model in _MODELS for name in model.model_fields})
