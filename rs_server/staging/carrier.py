"""Carries files, as long as there are any whose turn it is: what a worker does for staging."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn
from uuid import UUID

import structlog

from rs_server import tracing
from rs_server.access.policy import Service
from rs_server.database import persistently
from rs_server.errors import NotOnline, RsError, StationError, StationTimeout, StationUnavailable, Unavailable
from rs_server.settings import StagingSettings
from rs_server.staging.claim import SMALL_BYTES, Limits
from rs_server.staging.fetch import Connections
from rs_server.staging.health import Health
from rs_server.staging.model import Ended, Lost, Pulse, Spared, State, Transfer
from rs_server.staging.rows import StagingRows
from rs_server.staging.source import Changed, Gone
from rs_server.staging.transfer import Meter, World, carry

log = structlog.get_logger(__name__)

RENEW_EVERY_S = 0.7  # within this time a carrier learns that a job was dismissed
_LOOK_EVERY_S = 1.0
_NOTE_EVERY_S = 0.5
_WAKE_EVERY_S = 0.3  # a job of small files would else be woken for every few of them, to publish no more than those
_WIDE_FROM_PARTS = 4
_MOST_WRONG = 5
_WRONG_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class _Running:
    """A transfer at work."""

    transfer: Transfer
    task: asyncio.Task[None]
    meter: Meter = field(default_factory=Meter)
    connections: Connections = field(default_factory=Connections)
    seen: int = 0  # bytes at the last pulse
    at: float = field(default_factory=time.monotonic)

    def pulse(self) -> Pulse:
        """How far it is, with the rate since the last pulse."""
        now, done = time.monotonic(), self.meter.bytes_done
        rate = max(0.0, (done - self.seen) / max(0.001, now - self.at))
        self.at, self.seen = now, done
        return Pulse(self.transfer.id, self.transfer.fence, done, rate)


class Carrier:
    """One worker's share of the carrying."""

    def __init__(
        self,
        rows: StagingRows,
        health: Health,
        world: World,
        limits: Mapping[str, Limits],
        settings: StagingSettings,
        wake: Callable[[UUID], Awaitable[bool]],
        note: Callable[[UUID], Awaitable[None]],
    ) -> None:
        self._rows = rows
        self._health = health
        self._world = world
        self._limits = limits
        self._settings = settings
        self._wake_job = wake
        self._note_job = note
        self._running: dict[int, _Running] = {}
        self._lanes: dict[asyncio.Task[None], int] = {}  # connections by the lane that has them
        self._spared: set[int] = set()  # transfers that have fewer connections than was told
        self._poked = asyncio.Event()
        self._notes = _Notes(self._written)
        self._whole: set[UUID] = set()  # jobs that have something to do, and were not woken yet
        self._due = asyncio.Event()
        self._cleaned = 0  # the last transfer whose upload was aborted, or tried to

    def connected(self) -> None:
        """There may be something to carry that was not heard of."""
        self._poked.set()

    def heard(self, payload: str) -> None:  # noqa: ARG002 - what it is does not matter
        """There is something to carry."""
        self._poked.set()

    def lost(self) -> None:
        """It looks by itself now and then."""

    async def work(self) -> NoReturn:
        """Carry for ever; cancelled, it leaves what is under way to the next carrier."""
        try:
            async with asyncio.TaskGroup() as group:
                for keep_on in (self._claim, self._renew, self._tell, self._tick, self._clean, self._wake):
                    group.create_task(_for_ever(keep_on))
        finally:
            await self._leave()
        raise AssertionError("its tasks never end")

    async def _leave(self) -> None:
        """Stop, and let others take up at once what is under way."""
        left = [each.transfer for each in self._running.values()]
        lanes = list(self._lanes)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        with suppress(Unavailable):
            await self._notes.add([])  # what is known of some of them is written first, and stays
            await self._notes.add([Ended(transfer, State.WAITING) for transfer in left])
            await self._wake_all()

    async def _claim(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._poked.wait(), _LOOK_EVERY_S)
        self._poked.clear()
        free = self._settings.lanes - sum(self._lanes.values())
        if free <= 0:
            return
        claimed = await self._claimed(free)
        for lane in claimed:
            self._begin(lane)
        if not claimed:
            await self._widen(free)

    async def _claimed(self, free: int) -> list[list[Transfer]]:
        wide_from = _WIDE_FROM_PARTS * self._settings.part_bytes
        told, self._spared = self._spared, set()
        try:
            return await self._rows.claim(self._limits, free, wide_from, self._settings.lease_s, self._left(told))
        except BaseException:  # they may be told already: it is not how many less, but how many
            self._spared |= told
            raise

    def _left(self, transfers: Iterable[int]) -> list[Spared]:
        """The connections that transfers have by now; one that has ended is told of otherwise."""
        running = [self._running[each] for each in transfers if each in self._running]
        return [Spared(run.transfer.id, run.transfer.fence, self._lanes.get(run.task, 0)) for run in running]

    def _begin(self, lane: list[Transfer]) -> None:
        task = asyncio.create_task(self._lane(lane))
        self._lanes[task] = lane[0].width
        for transfer in lane:
            self._running[transfer.id] = _Running(transfer, task)
        if len(lane) == 1 and lane[0].size > SMALL_BYTES:
            self._running[lane[0].id].connections = Connections(lane[0].width, partial(self._spare, lane[0]))
        task.add_done_callback(self._ended)

    def _spare(self, transfer: Transfer, connections: int) -> None:
        """Let others have connections over which a file has been fetched, while its last parts are put.

        As many files may be put at a time as may be fetched, so that memory stays within bounds.
        """
        running = self._running.get(transfer.id)
        held = self._lanes.get(running.task, 0) if running else 0
        putting = sum(held == 0 for held in self._lanes.values())
        if running is None or not held or (connections == held and putting >= self._settings.lanes):
            return
        self._lanes[running.task] -= connections
        self._spared.add(transfer.id)
        self._poked.set()

    async def _widen(self, free: int) -> None:
        """Nothing waits: the files under way get the connections that are left, one each at a time."""
        able = {key: run for key, run in self._running.items() if run.connections.join is not None}
        if not able:
            return
        transfers = [run.transfer for run in able.values()]
        for key in await self._rows.widen(self._limits, transfers, free):
            run = able[key]
            if run.task in self._lanes:
                self._lanes[run.task] += 1
            if run.connections.join is not None:
                run.connections.join()
            else:  # it was fetched meanwhile
                self._spare(run.transfer, 1)
            self._poked.set()

    def _ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.pop(lane, None)
        self._running = {key: run for key, run in self._running.items() if run.task is not lane}
        self._poked.set()
        if not lane.cancelled() and (error := lane.exception()) is not None:
            log.error("lane_met_a_bug", exc_info=error)

    async def _lane(self, lane: list[Transfer]) -> None:
        """Carry files one after the other; what became of several small ones is noted together.

        A file is fetched while the one before it is put: what the lane has is a connection to the station.
        """
        ended: list[Ended] = []
        noted = time.monotonic()
        async with asyncio.TaskGroup() as group:
            putting: asyncio.Task[Ended | None] | None = None
            for transfer in (*lane, None):
                fetching = await self._fetched(group, transfer) if transfer else None
                if putting and (each := await putting):
                    ended.append(each)
                putting = fetching
                if time.monotonic() - noted > _NOTE_EVERY_S or transfer is None:
                    await self._notes.add(ended)
                    ended, noted = [], time.monotonic()

    async def _fetched(self, group: asyncio.TaskGroup, transfer: Transfer) -> asyncio.Task[Ended | None]:
        """The carrying of one file, begun and so far that its connections are free."""
        fetched, running = asyncio.Event(), self._running.get(transfer.id)
        if running and transfer.size <= SMALL_BYTES:
            running.connections.spare = lambda _connections: fetched.set()
        carrying = group.create_task(self._carried(transfer))
        carrying.add_done_callback(lambda _carrying: fetched.set())
        await fetched.wait()
        return carrying

    async def _written(self, ended: list[Ended]) -> None:
        """Write down what became of files."""
        jobs = await persistently(lambda: self._rows.end(ended))
        for each in ended:
            self._running.pop(each.transfer.id, None)
        if jobs:
            self._whole |= jobs
            self._due.set()

    async def _wake(self) -> None:
        """Wake jobs at once, and again after a while."""
        await self._due.wait()
        await self._wake_all()
        await asyncio.sleep(_WAKE_EVERY_S)

    async def _wake_all(self) -> None:
        """Wake the jobs that have something to do; one that cannot be woken just now has its turn next time."""
        self._due.clear()
        for job in tuple(self._whole):
            self._whole.discard(job)  # first: what it has to do may be more by the time it is woken
            woken = False
            try:
                woken = await self._wake_job(job)
            finally:
                if not woken:
                    self._whole.add(job)
                    self._due.set()

    async def _carried(self, transfer: Transfer) -> Ended | None:
        """Carry one file; what became of it, or None when it is no longer this carrier's."""
        running = self._running.get(transfer.id)
        if running is None:
            return None
        with (
            structlog.contextvars.bound_contextvars(job=str(transfer.job), file=transfer.name),
            tracing.span("transfer", transfer.trace, file=transfer.name, station=transfer.station),
        ):
            try:
                digest = await carry(transfer, self._world, running.meter, running.connections)
            except Lost:
                log.info("transfer_lost")
                return None
            except RsError as error:
                return await self._broken(transfer, error)
            except Exception as error:  # a bug ends the file that met it, not the worker with all the others
                log.error("transfer_met_a_bug", exc_info=error)
                return await self._broken(transfer, RsError("the server met an error it did not expect"))
            with suppress(Unavailable):  # the station is well all the same
                await self._health.well(transfer.station)
            return Ended(transfer, State.DONE, digest)

    async def _broken(self, transfer: Transfer, error: RsError) -> Ended:
        log.warning("transfer_broke_off", reason=error.detail, tries=transfer.tries, wrong=transfer.wrong)
        match error:
            case Gone() if transfer.source.service == Service.LTA and transfer.wrong + 1 < _MOST_WRONG:
                return Ended(transfer, State.ORDERED, reason=error.detail, wrong=True)  # it is offline again
            case NotOnline() if transfer.source.service == Service.LTA:
                return Ended(transfer, State.ORDERED, reason=error.detail)  # whatever the archive says of it
            case Gone():
                return Ended(transfer, State.GONE, reason=error.detail)
            case StationUnavailable() | StationTimeout():
                with suppress(Unavailable):
                    await self._health.failed(error.station, error.detail, error.members.get("retry_after_s"))
            case Unavailable():
                pass
            case _:
                end = State.FAILED if transfer.wrong + 1 >= _MOST_WRONG else State.PAUSED
                anew = isinstance(error, Changed)
                return Ended(transfer, end, reason=error.detail, pause_s=_WRONG_PAUSE_S, wrong=True, anew=anew)
        return Ended(transfer, State.PAUSED, reason=error.detail, pause_s=_pause_s(transfer.tries))

    async def _renew(self) -> None:
        """Renew the leases; what is no longer ours is dropped where it stands."""
        await asyncio.sleep(RENEW_EVERY_S)
        running = dict(self._running)
        if not running:
            return
        mine = await self._rows.renew([each.pulse() for each in running.values()], self._settings.lease_s)
        lost = {key: each for key, each in running.items() if key not in mine and key in self._running}
        for key, each in lost.items():
            self._running.pop(key, None)
            if not any(other.task is each.task for other in self._running.values()):
                each.task.cancel()
        if lost:
            await asyncio.wait({each.task for each in lost.values()}, timeout=RENEW_EVERY_S)
            await self._rows.give_up([each.transfer for each in lost.values()])

    async def _tell(self) -> None:
        """Note how far the jobs are; beside the leases, which are not to wait for it."""
        await asyncio.sleep(RENEW_EVERY_S)
        for job in {each.transfer.job for each in self._running.values()}:
            await self._note_job(job)

    async def _tick(self) -> None:
        await asyncio.sleep(_LOOK_EVERY_S)
        await self._health.note_missing()
        self._whole |= await self._rows.tick(self._settings.patience_s)
        if self._whole:
            self._due.set()

    async def _clean(self) -> None:
        """Abort the uploads of transfers that came to nothing; one that cannot be aborted now holds up no other."""
        await asyncio.sleep(_LOOK_EVERY_S / 2)
        uploads = await self._rows.unwanted_uploads(self._cleaned)
        self._cleaned = uploads[-1].transfer if uploads else 0
        for upload in uploads:
            try:
                await self._world.uploads(upload.bucket).abort(upload.key, upload.upload)
            except Unavailable as error:
                log.warning("upload_not_aborted", bucket=upload.bucket, key=upload.key, reason=error.detail)
            else:
                await self._rows.forget_upload(upload)


class _Notes:
    """What the lanes have to note, in one transaction of all that comes while the one before is written."""

    def __init__(self, write: Callable[[list[Ended]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[Ended] = []
        self._next: asyncio.Task[None] | None = None  # writes what is waiting
        self._turn = asyncio.Lock()

    async def add(self, ended: list[Ended]) -> None:
        """Note what became of files; back when it is written, which a cancelled caller does not undo."""
        self._waiting += ended
        if self._next is None:
            self._next = asyncio.create_task(self._write_all())
        await asyncio.shield(self._next)

    async def _write_all(self) -> None:
        async with self._turn:
            ended, self._waiting, self._next = self._waiting, [], None
            await self._write(ended)


async def _for_ever(step: Callable[[], Awaitable[None]]) -> NoReturn:
    """Again and again; what is away for a while (the database, the object storage) is waited for."""
    while True:
        try:
            await step()
        except (Unavailable, StationError) as error:
            log.warning("carrier_waits", reason=error.detail)
            await asyncio.sleep(_LOOK_EVERY_S)


def _pause_s(tries: int) -> float:
    return min(_LONGEST_PAUSE_S, 0.5 * 2.0**tries)
