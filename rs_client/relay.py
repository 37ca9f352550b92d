"""Fresh storage keys for Dask workers: they ask by way of the scheduler, and the session that opened the item answers.

What travels to a worker with a product is the key of one item for about an hour, and nothing that says who you are.
Work of many hours needs other keys. The session subscribes to a topic of the scheduler when a product goes to a
cluster; a worker whose key is about to end says so there, and finds the next one in a variable of the scheduler. So the
login stays where it is, and a session that has ended gives no more keys.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rs_client.errors import RsError

if TYPE_CHECKING:
    from distributed import Client, Security, Worker

TOPIC = "rs-storage-keys"
LEAST_LEFT_S = 60.0
"""A key that lives shorter than this, in seconds, is not handed out again."""
PATIENCE_S = 60.0
"""How long, in seconds, a worker waits for its next key."""
_LOOK_EVERY_S = 0.25

type Key = Mapping[str, Any]
"""What ``POST /storage/credentials`` answers: a key, where it opens, and until when."""
type Name = tuple[str, str]
"""A collection, and an item of it."""


def left_s(key: Key) -> float:
    """How long a key still opens something, in seconds."""
    return (datetime.fromisoformat(key["expiration"]) - datetime.now(UTC)).total_seconds()


# --- the side of the session ------------------------------------------------------------------------------------------


@dataclass
class _Office:
    """Answers the workers of one cluster, for the items that this session has opened."""

    client: Client
    asks: dict[Name, Callable[[], Key]] = field(default_factory=dict)
    last: dict[Name, Key] = field(default_factory=dict)
    asking: dict[Name, asyncio.Lock] = field(default_factory=dict)

    async def answer(self, event: tuple[float, Mapping[str, str]]) -> None:
        """Put the next key of an item where its workers look. What was not opened here is not answered."""
        _, asked = event
        name = (asked["collection"], asked["item"])
        if name not in self.asks:
            return
        async with self.asking.setdefault(name, asyncio.Lock()):  # many workers ask at the same moment
            told: dict[str, Any] = dict(self.last.get(name, {}))
            if not told or left_s(told) < LEAST_LEFT_S or told["expiration"] <= asked["ended"]:
                told = await self._next(name)
            await _variable(name, self.client).set(told)

    async def _next(self, name: Name) -> dict[str, Any]:
        try:
            key = await asyncio.to_thread(self.asks[name])
        except RsError as error:
            return {"refused": str(error)}
        self.last[name] = key
        return dict(key)


_offices: WeakKeyDictionary[Any, _Office] = WeakKeyDictionary()
_opening = threading.Lock()


def offer(name: Name, ask: Callable[[], Key]) -> None:
    """Answer the workers of the current cluster, if there is one, when they need another key of an item."""
    client = _current()
    if client is None:
        return
    with _opening:
        office = _offices.get(client)
        if office is None:
            office = _offices[client] = _Office(client)
            client.subscribe_topic(TOPIC, office.answer)  # type: ignore[no-untyped-call]
    office.asks[name] = ask


def _current() -> Client | None:
    """The cluster's client that this process works with; none is opened for it."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    try:
        return Client.current(allow_global=True)  # type: ignore[no-untyped-call,no-any-return]
    except ValueError:
        return None


# --- the side of the worker -------------------------------------------------------------------------------------------

_known: dict[Name, Key] = {}
"""The newest key of each item that this worker was given: each task brings a copy of the first one."""


def newest(name: Name, key: Key) -> Key:
    """The key at hand, or one that this worker was given later."""
    return max(key, _known.get(name, key), key=lambda one: str(one["expiration"]))


def request(name: Name, ended: Key) -> Key | None:
    """Another key than the one that has ended, from the session that opened the item.

    None: this is no worker of a cluster, or nobody answers within ``PATIENCE_S``. Raises ``PermissionError`` with what
    the session was told when it asked.
    """
    worker = _worker()
    if worker is None:
        return None
    from distributed import Client

    place = {"security": _security(worker), "set_as_default": False, "timeout": PATIENCE_S}
    with Client(worker.scheduler.address, **place) as client:  # type: ignore[no-untyped-call]
        key = _awaited(client, name, str(ended["expiration"]))
    if key is not None:
        _known[name] = key
    return key


def _awaited(client: Client, name: Name, ended: str) -> Key | None:
    collection, item = name
    deadline = time.monotonic() + PATIENCE_S
    client.log_event(TOPIC, {"collection": collection, "item": item, "ended": ended})
    while time.monotonic() < deadline:
        try:
            told: dict[str, Any] = _variable(name, client).get(timeout=_LOOK_EVERY_S)
        except TimeoutError:
            continue
        if "refused" in told:
            raise PermissionError(told["refused"])
        if told["expiration"] > ended:
            return told
        time.sleep(_LOOK_EVERY_S)
    return None


def _worker() -> Worker | None:
    """The worker that this process is, if it is one: keys are asked for on threads that are not the worker's own."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Status, Worker

    running = (worker for worker in Worker._instances if worker.status is Status.running)  # noqa: SLF001 - see above
    return next(running, None)


def _security(worker: Worker) -> Security:
    """With what to call the scheduler: as the worker does, whose certificate a gateway gives it for nothing else."""
    from distributed import Security

    own: Any = worker.security
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=own.require_encryption,
        tls_ca_file=own.tls_ca_file,
        tls_ciphers=own.tls_ciphers,
        tls_client_cert=own.tls_client_cert or own.tls_worker_cert,
        tls_client_key=own.tls_client_key or own.tls_worker_key,
    )


def _variable(name: Name, client: Client) -> Any:
    from distributed import Variable

    return Variable(f"{TOPIC}/{'/'.join(name)}", client=client)  # type: ignore[no-untyped-call]
