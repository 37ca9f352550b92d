"""The values of the processing engine: a process that may be run, a job that runs it, and what comes out.

The engine knows no process by name; what a process does stands in the package that offers it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from rs_server.access.policy import Principal
from rs_server.errors import NotFound, RsError

if TYPE_CHECKING:
    from rs_server.processes.run import Run

QUEUE = "jobs"  # whose workers take up what says nothing else

_EXCEPTIONS = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"  # OGC 18-062r2, 7.11 and 7.13


class NoSuchProcess(NotFound):
    """There is no process of this name, as far as the caller can tell."""

    uri: ClassVar[str] = f"{_EXCEPTIONS}/no-such-process"


class NoSuchJob(NotFound):
    """There is no job of this id, as far as the caller can tell."""

    uri: ClassVar[str] = f"{_EXCEPTIONS}/no-such-job"


class ResultNotReady(NotFound):
    """The job has not come to an end yet."""

    uri: ClassVar[str] = f"{_EXCEPTIONS}/result-not-ready"


class Status(StrEnum):
    """Where a job stands; the standard's words."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"

    @property
    def final(self) -> bool:
        """Whether the job has come to its end."""
        return self in (Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED)


class HandOver(Exception):
    """A step of a job is done, and the next one is for the workers of another queue; raised by ``Process.run``."""

    def __init__(self, queue: str, line: str) -> None:
        super().__init__(line)
        self.queue = queue
        self.line = line


class Inputs(BaseModel):
    """Base of what processes take; an unknown input is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to: a sentence, and for each output the paths of our own routes that serve it.

    ``report`` says what became of each thing that was asked for, where that is worth telling.
    """

    message: str
    outputs: Mapping[str, tuple[str, ...]]
    report: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """The end of a step, not of the job: it goes on after ``wake_s`` seconds, or as soon as something wakes it."""

    wake_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of a step that has taken its time: the job goes on at once, but after all others that wait by then."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a job that came to nothing: why, and what became of each thing that was asked for."""

    error: RsError
    report: tuple[Mapping[str, Any], ...] = ()


Ended = Outcome | Failure | Pause | Turn
"""How a step of a job ends."""


@dataclass(frozen=True, slots=True)
class Process[I: Inputs]:
    """Something that can be asked for.

    ``admit`` looks at the inputs with the caller's rights before a job exists, raises what is wrong with them, and
    answers the request in the form that is kept with the job. ``run`` does the work, as often as it takes: a job
    whose worker was killed is run again from its request, so every step can be repeated. ``queue`` names the workers
    that its first step waits for; a step that ends with ``HandOver`` leaves the next one to those of another queue.
    """

    id: str
    title: str
    description: str
    version: str
    inputs: type[I]
    outputs: Mapping[str, str]
    admit: Callable[[Principal, I], Awaitable[BaseModel]]
    run: Callable[[Run], Awaitable[Ended]]
    queue: str = QUEUE


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: percent of the whole, what was carried in bytes and files, and the rate in bytes per second.

    ``waiting`` says in plain words what it waits for, if for anything.
    """

    percent: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int = 0
    files_failed: int = 0
    files_running: int = 0
    rate: float | None = None
    waiting: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the present rate."""
        return (self.bytes_total - self.bytes_done) / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Job:
    """One request to run a process, and what became of it."""

    id: UUID
    process: str
    status: Status
    who: Principal
    request: Mapping[str, Any]
    message: str
    progress: Progress
    attempt: int
    created: datetime
    updated: datetime
    version: int = 0
    tries: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, list[str]] | None = None
    problem: Mapping[str, Any] | None = None
    report: tuple[Mapping[str, Any], ...] = ()
    trace: str | None = None
    queue: str = QUEUE
    parent: UUID | None = None
