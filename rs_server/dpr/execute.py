"""Runs a processor on a Dask Gateway cluster that is started for the job and closed after it, whatever happens.

The cluster belongs to a service of the hub, not to a user. What travels to it is a function without arguments that
imports the processor there: the server has none of the processors' packages, and a payload that were an argument
would stand, keys and all, in the worker's log when the call fails.

Work is published on its scheduler under the job's own label. So when the service dies, the next attempt finds the
cluster by the name that the job remembers, and the work by its label, and goes on waiting for it. A cluster that no
job remembers any more is stopped by ``stop_orphans``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from rs_server.dpr import environment
from rs_server.dpr.sizing import Size
from rs_server.errors import RsError, Unavailable
from rs_server.processes.run import Run, Superseded
from rs_server.settings import DaskSettings

# dask_gateway has no types, and those of distributed do not tell what its asynchronous form answers.
type Gateway = Any
type GatewayCluster = Any
type Client = Any

log = structlog.get_logger(__name__)

CLUSTER = "cluster"  # its name, remembered for the next attempt
_RUNNER = "rs_client.processing.triggering:run"
_WARM = "rs_client.processing.triggering:warm"
_DESCRIBE = "rs_client.processing.environment:describe"
_LOOK_EVERY_S = 0.5
_TELL_EVERY_S = 10.0


class ProcessingFailed(RsError):
    """The processor, or the cluster under it, did not bring the work to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a run told: when (seconds of the scheduler's clock), a line of its log, and how far it is."""

    at: float
    percent: float
    line: str | None = None


class Cluster(Protocol):
    """Where a processor runs."""

    async def holds(self, label: str) -> bool:
        """Whether work of this label is there, running or done, from an attempt before."""
        ...

    async def start(self, label: str, order: Mapping[str, Any]) -> None:
        """Start work under a label."""
        ...

    def events(self, label: str, since: float) -> AsyncIterator[Event]:
        """What the work tells, from a moment on, until it is done."""
        ...

    async def result(self, label: str) -> dict[str, Any]:
        """What the work came to. Raises ``ProcessingFailed``."""
        ...


class Clusters(Protocol):
    """What makes clusters."""

    def open(self, run: Run, size: Size) -> AbstractAsyncContextManager[Cluster]:
        """The cluster of a job, with a worker at least."""
        ...

    async def stop(self, name: str) -> None:
        """Stop a cluster by the name that a job remembers; one that is gone is no error."""
        ...


class GatewayClusters:
    """Clusters of a Dask Gateway."""

    def __init__(self, settings: DaskSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open(self, run: Run, size: Size) -> AsyncIterator[Cluster]:
        """Find the cluster of the attempt before, or start one; wait for a worker, and close it at the end.

        Raises ``Unavailable`` when the gateway does not answer, ``ProcessingFailed`` when no worker comes,
        ``EnvironmentMismatch`` when the versions on it are not those that are needed.
        """
        async with self.gateway() as gateway:
            cluster = await self._found(gateway, run, size) or await self._start(gateway, run, size)
            try:
                client = await self._client(cluster, run, size)
                try:
                    yield _Remote(client)
                finally:
                    await client.close()
            except (asyncio.CancelledError, Superseded):
                # The worker stops, or another one has taken the job up: the cluster stays for whoever goes on.
                if await asyncio.shield(run.over()):
                    await _close(gateway, cluster)
                raise
            except BaseException:
                await _close(gateway, cluster)
                raise
            await _close(gateway, cluster)
            await run.remember(**{CLUSTER: None})

    async def stop(self, name: str) -> None:
        """Stop a cluster by the name that a job remembers; one that is gone is no error."""
        async with self.gateway() as gateway:
            if any(report.name == name for report in await gateway.list_clusters()):
                await gateway.stop_cluster(name)

    async def stop_orphans(self, known: Callable[[], Awaitable[frozenset[str]]]) -> int:
        """Stop the clusters of this service that no unfinished job remembers; how many they were.

        One that has just been started may not be remembered yet, and is left alone for a while.
        """
        stopped = 0
        async with self.gateway() as gateway:
            old = [report.name for report in await gateway.list_clusters() if self._old(report)]
            remembered = await known() if old else frozenset()
            for name in old:
                if name not in remembered:
                    await gateway.stop_cluster(name)
                    stopped += 1
                    log.info("orphan_cluster_stopped")  # without its name: that alone opens its dashboard
        return stopped

    def _old(self, report: Any) -> bool:
        started: datetime = report.start_time
        return (datetime.now(UTC) - started.astimezone(UTC)).total_seconds() > self._settings.orphan_age_s

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Gateway]:
        """The gateway, as the service that owns the clusters; ``Unavailable`` when it does not answer."""
        from aiohttp import ClientError
        from dask_gateway import Gateway, GatewayServerError  # type: ignore[import-untyped]
        from dask_gateway.auth import JupyterHubAuth  # type: ignore[import-untyped]

        settings = self._settings
        auth = JupyterHubAuth(api_token=settings.hub_token.get_secret_value())
        try:
            async with Gateway(settings.gateway, settings.proxy_address, auth=auth, asynchronous=True) as gateway:
                yield gateway
        except (ClientError, GatewayServerError, TimeoutError) as error:
            raise Unavailable(f"the Dask gateway does not answer as it should: {_short(error)}") from error

    async def _found(self, gateway: Gateway, run: Run, size: Size) -> GatewayCluster | None:
        """The cluster of an attempt that was cut off, if it still answers; else it is stopped."""
        from dask_gateway import GatewayClusterError

        name = run.memory.get(CLUSTER)
        if name is None or all(report.name != name for report in await gateway.list_clusters()):
            return None
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                cluster = gateway.connect(name, shutdown_on_close=True)
                await cluster
                await cluster.scale(size.workers)  # the attempt may have been cut off before it asked for them
        except (GatewayClusterError, TimeoutError):
            await gateway.stop_cluster(name)
            return None
        except BaseException:
            await gateway.stop_cluster(name)
            raise
        await run.say("the Dask cluster of the attempt before is found again")
        return cluster

    async def _start(self, gateway: Gateway, run: Run, size: Size) -> GatewayCluster:
        from dask_gateway import GatewayClusterError

        await run.say(f"starting a Dask cluster of {size}")
        name = await gateway.submit(worker_cores=size.cores, worker_memory=size.memory_gib)
        try:
            await run.remember(**{CLUSTER: name})
            cluster = gateway.connect(name, shutdown_on_close=True)
            async with asyncio.timeout(self._settings.start_timeout_s):
                await cluster
                await cluster.scale(size.workers)
        except BaseException as error:
            await gateway.stop_cluster(name)
            if isinstance(error, GatewayClusterError | TimeoutError):
                raise ProcessingFailed(f"the Dask cluster did not start: {_short(error)}") from error
            raise
        return cluster

    async def _client(self, cluster: GatewayCluster, run: Run, size: Size) -> Client:
        client: Client = await cluster.get_client(set_as_default=False)
        try:
            await self._worker_there(client, run, size)
            await check_environments(client)
        except BaseException:
            await client.close()
            raise
        return client

    async def _worker_there(self, client: Client, run: Run, size: Size) -> None:
        """Wait for the first worker, saying meanwhile what is waited for, how long and why."""
        begin, told = time.monotonic(), 0.0
        while not (workers := (await client.scheduler.identity(n_workers=-1))["workers"]):
            waited = time.monotonic() - begin
            if waited > self._settings.start_timeout_s:
                raise ProcessingFailed(
                    f"no worker of the Dask cluster came within {self._settings.start_timeout_s:.0f} s; "
                    f"{size} were asked for",
                    hint="the machines may be full: try again later, or with fewer or smaller workers",
                )
            if waited >= told:
                told = waited + _TELL_EVERY_S
                line = _waiting(size, waited, self._settings.start_timeout_s)
                await run.say(line)
                await run.settle(replace(run.job.progress, waiting=line))
            await asyncio.sleep(0.2)
        await run.settle(replace(run.job.progress, waiting=None))
        await run.say(f"{len(workers)} of {size.workers} workers there")


def _waiting(size: Size, waited_s: float, most_s: float) -> str:
    """What is waited for, and why it may take long."""
    line = f"waiting for the first of {size.workers} workers ({size.cores} cores, {size.memory_gib:g} GiB each)"
    if waited_s < 1:
        return f"{line}: they are being started"
    return (
        f"{line} for {waited_s:.0f} s: the cluster's machines have no room for one yet, or it starts slowly; "
        f"given up after {most_s:.0f} s"
    )


async def check_environments(client: Client) -> None:
    """Compare the versions on a cluster, before any work; ``EnvironmentMismatch``."""
    describe = remote_call(_DESCRIBE, {})
    here, scheduler, workers = await asyncio.gather(
        asyncio.to_thread(describe), client.run_on_scheduler(describe), client.run(describe)
    )
    environment.check(
        result_of(here), result_of(scheduler), {name: result_of(answer) for name, answer in workers.items()}
    )


class _Remote:
    """A running cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def holds(self, label: str) -> bool:
        """Whether work of this label is there, running or done, from an attempt before."""
        return label in await self._client.list_datasets()

    async def start(self, label: str, order: Mapping[str, Any]) -> None:
        """Start work under a label, held by the scheduler; the cluster's dashboard shows it by that name."""
        await self._warm(label, order)
        call = remote_call(_RUNNER, {**order, "topic": label})
        future = self._client.submit(call, key=label, pure=False, retries=0)
        await self._client.publish_dataset(future, name=label)

    async def _warm(self, label: str, order: Mapping[str, Any]) -> None:
        """Let all workers import what the work needs at the same time: it takes seconds, which a piece would wait."""
        from distributed import fire_and_forget

        call = remote_call(_WARM, {"payload": {"workflow": order["payload"]["workflow"]}})
        for worker in (await self._client.scheduler.identity(n_workers=-1))["workers"]:
            key = f"{label} imports {worker}"
            imports = self._client.submit(call, key=key, workers=[worker], pure=False, retries=0)
            fire_and_forget(imports)  # type: ignore[no-untyped-call]  # Dask's

    async def events(self, label: str, since: float) -> AsyncIterator[Event]:
        """What the work tells, from a moment on, until it is done."""
        from distributed import wait
        from distributed.client import FuturesCancelledError

        future = await self._client.get_dataset(label)
        while True:
            done = future.done()  # asked first, so that nothing told before the end is missed
            for at, event in await self._client.get_events(label):
                if at > since:
                    since = at
                    yield Event(at, float(event.get("percent", 0)), event.get("line"))
            if done:
                return
            # That it was cancelled is for the result to tell.
            with self._client.as_current(), suppress(TimeoutError, FuturesCancelledError):
                await wait(future, timeout=_LOOK_EVERY_S)  # type: ignore[no-untyped-call]  # Dask's

    async def result(self, label: str) -> dict[str, Any]:
        """What the work came to."""
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        future = await self._client.get_dataset(label)
        try:
            answer: dict[str, Any] = await future
        except (KilledWorker, CommClosedError) as error:
            raise ProcessingFailed(
                "the cluster lost the worker that ran the processor",
                hint="its memory may have been too small: ask for larger workers, or process less at a time",
            ) from error
        finally:
            await self._client.unpublish_dataset(label)
        return result_of(answer)


def remote_call(target: str, payload: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """A function that runs ``module:name`` with the payload, wherever it is carried to.

    It answers ``{"result": …}``, or ``{"error": …}`` in place of raising.
    """

    def call() -> dict[str, Any]:
        # Pickled by value, so it may use nothing of this module: what it needs, it imports where it runs.
        import importlib

        module, _, name = target.partition(":")
        try:
            return {"result": getattr(importlib.import_module(module), name)(dict(payload))}
        except Exception as error:  # noqa: BLE001 - any processor's, told as data: a raised one would be logged there
            return {"error": {"type": type(error).__name__, "message": str(error)[:2000]}}

    return call


def result_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The result in an answer of ``remote_call``; raises ``ProcessingFailed`` with the error in it."""
    if error := answer.get("error"):
        raise ProcessingFailed(f"the processor failed: {error['type']}: {error['message']}")
    result: dict[str, Any] = answer["result"]
    return result


async def _close(gateway: Gateway, cluster: GatewayCluster) -> None:
    """Stop the cluster even while the job is being cancelled: shielded, as a half-closed one would live on."""

    async def stop() -> None:
        try:
            await gateway.stop_cluster(cluster.name)
        finally:
            await cluster.close(shutdown=False)

    closing = asyncio.ensure_future(stop())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
