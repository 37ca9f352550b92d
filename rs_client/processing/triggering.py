"""Runs an eopf triggering payload where it stands, on a Dask worker or anywhere else, and tells how it goes.

The payload is eopf's own, run by eopf's own runner; what is added here are the storage's keys, which no payload
holds, the progress, and an error that a person can act on. Where the payload names a callable of the group
``rs.processors`` in place of a processing unit, that is called with the order that the payload amounts to.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from rs_client.processing import lazily

SECRET = "rs"  # noqa: S105 - the name of the storage's keys among eopf's secrets
_PROGRESS = re.compile(r"^(Workflow progress|Progress): (\d+)%")
_LOGGERS = ("eopf", "rs_client")
_LOOK_EVERY_S = 0.5
_MOST_LINES = 5_000
_LONGEST = 500
_INPUT_WEIGHT, _LAST_MARK = 0.1, 90  # of eopf's own estimate: eopf.triggering.workflow_progress

HINTS: Mapping[str, str] = {
    "InputUnreadable": "look whether the item's files are whole, and stage it again if they are not",
    "NothingFound": "look whether the item is what the processor takes",
    "OutputRefused": "ask the operators to look at the object storage",
    "BadPayload": "look at the payload that is kept with the job",
    "MemoryError": "ask for workers with more memory, or fewer inputs at a time",
    "ModuleNotFoundError": "the processor is not installed in the workers' environment: tell the operators",
    "TriggerInvalidWorkflow": "look at the payload that is kept with the job",
}


type Tell = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Account:
    """What a run tells: lines as they come, and how far it is, in percent of its work."""

    tell: Tell
    marks: tuple[float, ...]
    hidden: tuple[str, ...] = ()
    percent: float = 0.0
    reached: float = 0.0
    lines: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        """One line of the log; a progress line of eopf moves the mark that is reached."""
        for secret in self.hidden:
            text = text.replace(secret, "***")
        if len(self.lines) < _MOST_LINES:
            self.lines.append(text)
        if found := _PROGRESS.match(text):
            self._progress(found[1], float(found[2]))
        self.tell({"line": text[:_LONGEST], "percent": round(self.percent, 1)})

    def part(self, done: float) -> None:
        """How much of the work between the mark that is reached and the next one is done, from 0 to 1."""
        following = next((mark for mark in self.marks if mark > self.reached), self.reached)
        percent = self.reached + (following - self.reached) * min(1.0, max(0.0, done))
        if percent >= self.percent + 1:
            self.percent = percent
            self.tell({"percent": round(self.percent, 1)})

    def _progress(self, whose: str, percent: float) -> None:
        if whose.startswith("Workflow"):
            self.reached = percent
            self.percent = max(self.percent, percent)
        else:  # the unit's own, of its run alone
            self.part(percent / 100)


def run(order: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``order["payload"]`` with ``order["storage"]``; its events go to the topic ``order["topic"]``.

    Returns ``{"products": {output: {"href", "size", "stac_discovery", "quality"}}, "report", "log", "environment",
    "seconds", "peak_memory_mib"}``, or ``{"error": {"type", "message", "unit", "input", "hint"}}``.
    """
    payload, keys = order["payload"], order.get("storage")
    account = Account(_tell(order.get("topic")), marks(payload), _secrets(keys))
    begin = time.monotonic()
    try:
        with _listening(account), _watching(account, apart=_is_unit(payload)):
            report = (trigger if _is_unit(payload) else call)(payload, keys)
        products = {each["id"]: product(each["path"], keys) for each in payload["io"]["output_products"]}
    except Exception as error:  # noqa: BLE001 - any processor's, told as data: a raised one would be logged with its arguments
        return {"error": failure(error, payload), "log": account.lines}
    from rs_client.processing.environment import describe

    return {
        "products": products,
        "report": report,
        "log": account.lines,
        "environment": describe(),
        "seconds": round(time.monotonic() - begin, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def warm(order: Mapping[str, Any]) -> None:
    """Import what an order needs, where pieces of its work are going to be done; what fails is for ``run`` to tell.

    Dask has its workers return memory at once; blocks of some 100 kB then come new from the system each time, which
    took a tenth of all the time of a Level-0 job.
    """
    with suppress(Exception):
        _named(order["payload"])
        from rs_client.processing import memory

        memory.steady()


def trigger(payload: Mapping[str, Any], keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a payload with eopf's runner, here; its execution report. Raises what the unit raises."""
    import copy

    from eopf.config.secret_providers.dict_secret_store import DictSecretStore
    from eopf.config.secrets_manager import SecretsManager
    from eopf.triggering.runner import EORunner

    from rs_client.processing.engines import storage_options

    SecretsManager.clear()
    if keys is not None:
        SecretsManager().add_provider(DictSecretStore({SECRET: storage_options(keys)}))
    runner = EORunner(clean=False)
    try:
        with lazily.keeping():
            runner.run(copy.deepcopy(dict(payload)))  # eopf takes the aliases of secrets out of what it is given
    finally:
        SecretsManager.clear()
    report: dict[str, Any] = json.loads(runner.get_report().format())
    return report


def call(payload: Mapping[str, Any], keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call the callable that a payload names, with its order; a report in the form of eopf's.

    Raises ``BadPayload`` for a payload that amounts to no order, and what the callable raises.
    """
    begin = time.monotonic()
    _named(payload)(order_of(payload, keys))
    return {"status": "completed", "overall": round(time.monotonic() - begin, 2)}


def order_of(payload: Mapping[str, Any], keys: Mapping[str, Any] | None) -> dict[str, Any]:
    """The order (see ``rs_client.processing.payload``) that a payload amounts to. Raises ``BadPayload``."""
    from rs_client.processing.errors import BadPayload

    (unit,), io = payload["workflow"], payload["io"]
    if len(io["output_products"]) != 1:
        raise BadPayload(f"{unit['name']} is a callable, which makes one product at a time")
    parameters = dict(unit.get("parameters") or {})
    name = parameters.pop("name", "")
    return {
        "processor": unit["name"],
        "inputs": [entry for each in io["input_products"] for entry in _entries(each)],
        "output": io["output_products"][0]["path"],
        "session": parameters.pop("session", None) or {"id": name},
        "parameters": parameters,
        "storage": keys,
    }


def _entries(product: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = (product.get("reader_params") or {}).get("files")
    if files is None:
        return [{"input": product["id"], "href": product["path"]}]
    return [{"input": product["id"], **file} for file in files]


def _is_unit(payload: Mapping[str, Any]) -> bool:
    return is_unit(_named(payload))


def is_unit(found: Any) -> bool:
    """Whether what an entry point or a payload names is an EOPF processing unit, and no callable that takes orders."""
    if not isinstance(found, type):
        return False
    from eopf.computing.abstract import EOProcessingUnit

    return issubclass(found, EOProcessingUnit)


def _named(payload: Mapping[str, Any]) -> Any:
    unit = payload["workflow"][0]
    return getattr(importlib.import_module(unit["module"]), unit["processing_unit"])


def product(href: str, keys: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a written product says of itself, and its size in bytes."""
    from rs_client.processing import stores

    opened = stores.StorageKeys.model_validate(keys) if keys else None
    attributes = stores.attributes(href, opened)
    return {
        "href": href,
        "size": stores.size(href, opened),
        "stac_discovery": attributes.get("stac_discovery"),
        "quality": attributes.get("quality"),
    }


def marks(payload: Mapping[str, Any]) -> tuple[float, ...]:
    """The percentages at which eopf says that a part of the work is done, as it estimates them."""
    inputs = len(payload["io"].get("input_products") or ()) * _INPUT_WEIGHT
    units = payload["workflow"]
    total = inputs + sum(1 + len(unit.get("outputs") or {}) for unit in units)
    done, found = inputs, [inputs]
    for unit in units:
        for weight in (1, len(unit.get("outputs") or {})):
            done += weight
            found.append(done)
    return (*(float(int(_LAST_MARK * each / total)) for each in found), 100.0)


def failure(error: Exception, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What went wrong, in which unit and on which input, and what to do: sentences, not a traceback."""
    root = _root(error)
    message = str(root).strip().partition("\n")[0][:_LONGEST] or type(root).__name__
    return {
        "type": type(root).__name__,
        "message": message,
        "unit": ", ".join(unit["name"] for unit in payload["workflow"]),
        "input": _input(root, message, payload),
        "hint": str(getattr(root, "hint", "") or HINTS.get(type(root).__name__, "")),
        "where": _where(root),
    }


def _root(error: BaseException) -> BaseException:
    """The error that eopf's own ones are about."""
    while type(error).__module__.startswith("eopf.") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _input(error: BaseException, message: str, payload: Mapping[str, Any]) -> str:
    """The input that an error names, else all of them."""
    known = getattr(error, "href", None) or getattr(error, "input", None)
    if known:
        return str(known)
    inputs = payload["io"].get("input_products") or []
    places = [file["href"] for each in inputs for file in each.get("reader_params", {}).get("files", ())]
    named = [place for place in (*places, *(each["path"] for each in inputs)) if place in message]
    return named[0] if named else ", ".join(f"{each['id']} ({each['path']})" for each in inputs)


def _where(error: BaseException) -> str:
    """The line of code that raised, for the processor's author."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"


def _secrets(keys: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple(str(keys[name]) for name in ("secret_access_key", "session_token") if keys and keys.get(name))


def _tell(topic: str | None) -> Tell:
    """Where events go: to a topic of the Dask scheduler, which keeps them for whoever looks."""
    if topic is None:
        return lambda _event: None
    from distributed import get_worker

    worker = get_worker()
    return lambda event: worker.log_event(topic, event)


class _Lines(logging.Handler):
    def __init__(self, account: Account) -> None:
        super().__init__(logging.INFO)
        self._account = account

    def emit(self, record: logging.LogRecord) -> None:
        """One line of a record; a traceback stays in the worker's own log, and eopf's report, JSON, in its own file."""
        line = record.getMessage().partition("\n")[0]
        if not line.startswith("{"):
            self._account.line(line)


@contextmanager
def _listening(account: Account) -> Iterator[None]:
    """Hear what eopf and the units log meanwhile."""
    handler = _Lines(account)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def _watching(account: Account, *, apart: bool) -> Iterator[None]:
    """On a worker: count the tasks of its cluster, and (``apart``) compute there, leaving the worker's thread free."""
    from distributed import get_client, worker_client

    if not lazily.on_worker():
        yield
        return
    with worker_client() if apart else nullcontext(get_client()) as client:
        over = threading.Event()
        watcher = threading.Thread(target=_count, args=(client, account, over), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _count(client: Any, account: Account, over: threading.Event) -> None:
    reached, first = account.reached, client.run_on_scheduler(tasks)
    while not over.wait(_LOOK_EVERY_S):
        done, left = client.run_on_scheduler(tasks)
        if account.reached != reached:
            reached, first = account.reached, (done, left)
        finished = done - first[0]
        account.part(finished / (finished + left) if finished else 0)


def tasks(dask_scheduler: Any = None) -> tuple[int, int]:
    """How many tasks of a scheduler are done since its start, and how many are waiting or at work.

    Tasks without dependants and dependencies that run for a job itself are among the latter, one for each job.
    """
    waiting = ("waiting", "queued", "no-worker", "processing")
    prefixes = dask_scheduler.task_prefixes.values()
    done = sum(prefix.state_counts["memory"] for prefix in prefixes)
    return done, max(0, sum(prefix.states[state] for prefix in prefixes for state in waiting) - 1)
