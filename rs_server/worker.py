"""Works the jobs of the queue: ``python -m rs_server.worker``, as many of them as there is work for.

SIGTERM and SIGINT stop it: what does not end within a few seconds goes back into the queue. It shows that it works by
touching the file named by ``RSPY_WORKER_HEARTBEAT`` every few seconds. ``RSPY_WORKER_CONCURRENCY`` says which queues it
works, and how many jobs of each at a time: by default all of them; a cluster may have workers of one queue alone.
``RSPY_WORKER_METRICS`` is the address (``HOST:PORT``) that it serves its own counters under, for Prometheus; what all
workers do together is told by the server.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rs_server import memory, telemetry, tracing
from rs_server.catalog.expiry import Expiry
from rs_server.catalog.removal import Removal
from rs_server.dpr.process import PREPARATION
from rs_server.errors import Unavailable
from rs_server.notices import listening
from rs_server.processes.model import QUEUE
from rs_server.processes.queue import Chore
from rs_server.resources import Resources, open_carrier, open_resources, open_sweeper
from rs_server.settings import Settings, load
from rs_server.staging.archive import Abandoned
from rs_server.staging.retention import Retention
from rs_server.staging.rows import CHANNEL

log = structlog.get_logger(__name__)

_STOP = (signal.SIGTERM, signal.SIGINT)
_HEARTBEAT_S = 2.0
_SWEEP_S = 10.0
_LOOK_S = 1.0


class WorkerEnvironment(BaseSettings):
    """What the supervisor tells a worker."""

    model_config = SettingsConfigDict(env_prefix="RSPY_WORKER_", frozen=True, extra="ignore")

    heartbeat: Path | None = None
    # Preparation mostly waits for staging, which it must not keep from its turn.
    concurrency: dict[str, int] = {QUEUE: 4, PREPARATION: 16}
    metrics: str | None = Field(None, pattern=r"^.+:\d+$", description="Where counters are served; unset: nowhere")
    kill_at: str | None = Field(None, description="For tests: dies of SIGKILL at a named point, e.g. 'complete:3'")
    stop_at: str | None = Field(None, description="For tests: stands still at a named point until SIGCONT")


async def work(settings: Settings, environment: WorkerEnvironment) -> None:
    """Work until told to stop."""
    async with (
        open_resources(settings, Struck(kill=environment.kill_at, stop=environment.stop_at).reached) as resources,
        told_to_stop() as stop,
    ):
        if environment.metrics is not None:
            _serve_metrics(environment.metrics, resources)
        log.info("worker_started", concurrency=environment.concurrency)
        await _beside(
            resources.queue.work(_performing(resources), environment.concurrency, stop, _chores(resources)),
            resources.queue.tend(resources.jobs.lost),
            _carry(resources),
            _sweep_staging(resources),
            _look_for_subscriptions(resources),
            _withdraw_orders(resources),
            _sweep_keys(resources),
            _sweep_leftovers(resources),
            resources.orders.tend(),
            _show_life(resources, environment.heartbeat),
        )
    log.info("worker_stopped")


@asynccontextmanager
async def told_to_stop() -> AsyncIterator[asyncio.Event]:
    """Set with the first SIGTERM or SIGINT; the second one ends the process as if nobody listened."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def leave() -> None:
        for each in _STOP:
            loop.remove_signal_handler(each)

    def tell() -> None:
        leave()
        told.set()

    for each in _STOP:
        loop.add_signal_handler(each, tell)
    try:
        yield told
    finally:
        leave()


def _serve_metrics(address: str, resources: Resources) -> None:
    """Serve counters by a thread of their own, as long as the process lives."""
    registry = CollectorRegistry()
    for each in resources.metrics:
        registry.register(each)
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host, registry)


def _performing(resources: Resources) -> Callable[[UUID], Awaitable[None]]:
    """Works a job with settings of the stations that are no older than those it was admitted with."""

    async def perform(job: UUID) -> None:
        if resources.renewal is not None:
            await resources.renewal.look()
        await resources.jobs.perform(job)

    return perform


def _chores(resources: Resources) -> tuple[Chore, ...]:
    """What keeps order: files that no item names go, items whose time is over are withdrawn, old jobs forgotten."""
    database, settings = resources.database, resources.settings
    removal, expiry = Removal(database, resources.storage), Expiry(database)
    retention = Retention(database, settings.jobs, settings.staging.overlap_s)
    return (
        Chore("withdraw_items", "*/5 * * * *", expiry.run),
        Chore("remove_files", "* * * * *", removal.sweep),
        Chore("prune_rows", "17 * * * *", retention.prune),
    )


async def _beside(main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end, the others as long; one of those that fails ends it all."""
    tasks = [asyncio.ensure_future(main), *map(asyncio.ensure_future, others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _carry(resources: Resources) -> None:
    """Carry files for staging."""
    carrier = open_carrier(resources)
    async with listening(resources.settings.database, CHANNEL, carrier):
        await carrier.work()


class Struck:
    """Ends the process as a power cut does, or stops it, when a point of its work is reached for the nth time."""

    def __init__(self, *, kill: str | None = None, stop: str | None = None) -> None:
        self._left: dict[str, tuple[int, signal.Signals]] = {}
        for at, how in ((kill, signal.SIGKILL), (stop, signal.SIGSTOP)):
            point, _, count = (at or "").partition(":")
            if point:
                self._left[point] = int(count or 1), how

    async def reached(self, point: str) -> None:
        """A point is reached."""
        if point not in self._left:
            return
        left, how = self._left.pop(point)
        if left == 1:
            os.kill(os.getpid(), how)
        else:
            self._left[point] = left - 1, how


async def _sweep_staging(resources: Resources) -> NoReturn:
    """Take away what staging has left."""
    sweeper = open_sweeper(resources)
    await asyncio.sleep(sweeper.every_s)
    await _again_and_again(sweeper.sweep, sweeper.every_s, "staging_not_swept")


async def _look_for_subscriptions(resources: Resources) -> NoReturn:
    """Stage what standing orders are about."""
    await asyncio.sleep(_LOOK_S)
    await _again_and_again(resources.subscriptions.look, _LOOK_S, "subscriptions_not_looked_for")


async def _withdraw_orders(resources: Resources) -> NoReturn:
    """Take back what jobs that are over have ordered."""
    abandoned = Abandoned(resources.database, resources.orders)
    await _again_and_again(abandoned.withdraw, _SWEEP_S, "orders_not_withdrawn")


async def _sweep_keys(resources: Resources) -> NoReturn:
    """Revoke storage keys whose time is over."""
    await _again_and_again(resources.credentials.sweep, _SWEEP_S, "keys_not_swept")


async def _again_and_again(turn: Callable[[], Awaitable[object]], every_s: float, failed: str) -> NoReturn:
    """Take turns for ever; one that meets an outage is told as ``failed``, and made up for by the next."""
    while True:
        try:
            await turn()
        except Unavailable as error:
            log.warning(failed, reason=error.detail)
        await asyncio.sleep(every_s)


async def _sweep_leftovers(resources: Resources) -> NoReturn:
    """Take away what processing jobs have left; a gateway that is away is told once, not at every turn."""
    told = False
    while True:
        await asyncio.sleep(_SWEEP_S)
        try:
            await resources.leftovers.sweep()
            told = False
        except Unavailable as error:
            if not told:
                log.warning("leftovers_not_swept", reason=error.detail)
            told = True


async def _show_life(resources: Resources, heartbeat: Path | None) -> NoReturn:
    """Touch the heartbeat file as long as the database answers."""
    while True:
        with suppress(Unavailable):
            await resources.database.ping()
            if heartbeat is not None:
                await asyncio.to_thread(heartbeat.touch)
        await asyncio.sleep(_HEARTBEAT_S)


def main() -> int:
    """Work with the settings of the environment; 1 when the database is not there."""
    memory.settle()
    settings = load()
    telemetry.configure_logging(settings.log_level)
    telemetry.configure_metrics()
    tracing.configure("rs-worker", settings.telemetry.collector)
    try:
        asyncio.run(work(settings, WorkerEnvironment()))
    except Unavailable as error:
        log.error("worker_failed", reason=error.detail)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
