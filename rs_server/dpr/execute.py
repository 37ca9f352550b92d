"""Runs a processor on a Dask Gateway cluster that is started for the job and closed after it, whatever happens.

The cluster belongs to a service of the hub, not to a user. What travels to it is a function without arguments that
imports the processor there: the server has none of the processors' packages, and a payload that were an argument
would stand, keys and all, in the worker's log when the call fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import structlog

from rs_server.errors import RsError, Unavailable
from rs_server.processes.run import Run
from rs_server.settings import DaskSettings

# dask_gateway has no types, and those of distributed do not tell what its asynchronous form answers.
type Gateway = Any
type GatewayCluster = Any
type Client = Any

log = structlog.get_logger(__name__)

_CLUSTER = "cluster"  # its name, remembered for the next attempt


class ProcessingFailed(RsError):
    """The processor, or the cluster under it, did not bring the work to its end; the message says why."""


class Cluster(Protocol):
    """Where a processor runs."""

    async def call(self, label: str, target: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run ``module:name`` with the payload; its answer. Raises ``ProcessingFailed``."""
        ...


class Clusters(Protocol):
    """What makes clusters."""

    def open(self, run: Run) -> AbstractAsyncContextManager[Cluster]:
        """A cluster for one job, with a worker at least."""
        ...


class GatewayClusters:
    """Clusters of a Dask Gateway."""

    def __init__(self, settings: DaskSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open(self, run: Run) -> AsyncIterator[Cluster]:
        """Start a cluster, wait for its first worker, and close it at the end.

        Raises ``Unavailable`` when the gateway does not answer, ``ProcessingFailed`` when no worker comes.
        """
        async with self._gateway() as gateway:
            await self._stop_orphan(gateway, run)
            await run.say("starting a Dask cluster")
            cluster = await self._start(gateway, run)
            try:
                client = await self._client(cluster, run)
                try:
                    yield _Remote(client)
                finally:
                    await client.close()
            finally:
                await _close(cluster)

    @asynccontextmanager
    async def _gateway(self) -> AsyncIterator[Gateway]:
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

    async def _stop_orphan(self, gateway: Gateway, run: Run) -> None:
        """Stop the cluster of an attempt that was cut off."""
        name = run.memory.get(_CLUSTER)
        if name is None:
            return
        if any(report.name == name for report in await gateway.list_clusters()):
            await gateway.stop_cluster(name)
            log.info("orphan_cluster_stopped")  # without its name: that alone opens its dashboard
        await run.remember(**{_CLUSTER: None})

    async def _start(self, gateway: Gateway, run: Run) -> GatewayCluster:
        from dask_gateway import GatewayClusterError

        name = await gateway.submit()
        try:
            await run.remember(**{_CLUSTER: name})
            cluster = gateway.connect(name, shutdown_on_close=True)
            async with asyncio.timeout(self._settings.start_timeout_s):
                await cluster
                await cluster.scale(self._settings.workers)
        except BaseException as error:
            await gateway.stop_cluster(name)
            if isinstance(error, GatewayClusterError | TimeoutError):
                raise ProcessingFailed(f"the Dask cluster did not start: {_short(error)}") from error
            raise
        return cluster

    async def _client(self, cluster: GatewayCluster, run: Run) -> Client:
        timeout_s = self._settings.start_timeout_s
        await run.say("waiting for a worker of the cluster")
        client: Client = await cluster.get_client(set_as_default=False)
        try:
            await client.wait_for_workers(1, timeout=timeout_s)
        except TimeoutError as error:
            await client.close()
            raise ProcessingFailed(f"no worker of the Dask cluster came within {timeout_s:.0f} s") from error
        return client


class _Remote:
    """A running cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, label: str, target: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run the target on a worker; the cluster's dashboard shows it as ``label``."""
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        future = self._client.submit(remote_call(target, payload), key=label, pure=False)
        try:
            answer: dict[str, Any] = await future
        except (KilledWorker, CommClosedError) as error:
            raise ProcessingFailed("the cluster lost the worker that ran the processor") from error
        finally:
            await future.cancel()
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


async def _close(cluster: GatewayCluster) -> None:
    """Close the cluster even while the job is being cancelled: shielded, as a half-closed one would live on."""
    closing = asyncio.ensure_future(cluster.close(shutdown=True))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
