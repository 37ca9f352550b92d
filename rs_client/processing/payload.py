"""Runs a processing order: inputs out of object storage, the processor, the product back into it.

An order (``payload``) is a plain dict, so that whoever gives it needs none of the packages used here::

    {"processor": "s1-l0",
     "inputs": [{"channel": 1, "block": 1, "href": "s3://bucket/key", "size": 314571600}, …],
     "output": "s3://bucket/prefix/NAME.zarr",
     "session": {"id": …, "platform": …, "constellation": …, "orbit": …, "quality": [{"Channel": 1, …}, …]},
     "parameters": {"basis": "dual"},
     "storage": {"endpoint": …, "region": …, "access_key_id": …, "secret_access_key": …}}

An input that is a product has ``{"input": "l0", "href": "s3://bucket/prefix/NAME.zarr"}``, ``input`` being its name in
the task table. ``session`` tells what is known of the first input, ``quality`` what the station counted (CADIP's
``QualityInfo``). ``file:`` addresses work as well and need no ``storage``. The product is called NAME.

Run on a worker of a Dask cluster, the order spreads over the cluster; else over the threads of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import xarray as xr
from pydantic import BaseModel, Field, ValidationError

from rs_client.processing import lazily, memory, stores
from rs_client.processing.errors import BadPayload
from rs_client.processing.product import Session
from rs_client.processing.quality import Told
from rs_client.processing.stores import StorageKeys

SUFFIX = ".zarr"

type Function = Callable[..., xr.DataTree]


class InputFile(BaseModel):
    """One input: a file of a session (``size`` in bytes, ``channel`` and ``block`` of its name), or a product."""

    input: str = ""
    href: str
    size: int | None = Field(default=None, ge=0)
    channel: int | None = Field(default=None, ge=1, le=255)
    block: int | None = Field(default=None, ge=0)


class SessionFacts(BaseModel):
    """What is known of the first input; more than this may be there."""

    id: str
    platform: str | None = None
    constellation: str | None = None
    orbit: int | None = None
    quality: list[dict[str, Any]] = []

    def session(self) -> Session:
        """The same as the product knows it."""
        told = tuple(Told.parse(values) for values in self.quality)
        return Session(self.id, self.platform or "", self.constellation or "", self.orbit, told)


class Order(BaseModel):
    """A payload."""

    processor: str
    inputs: list[InputFile] = Field(min_length=1)
    output: str = Field(pattern=rf"[^/]\{SUFFIX}$")
    session: SessionFacts
    parameters: dict[str, Any] = {}
    storage: StorageKeys | None = None

    @property
    def name(self) -> str:
        """The name of the product."""
        return self.output.rpartition("/")[2].removesuffix(SUFFIX)


@dataclass(frozen=True)
class Work:
    """What a maker of products gets to know: the order, checked."""

    order: Order
    until_written: ExitStack
    """Closed when the product is written."""

    def products(self) -> dict[str, xr.DataTree]:
        """The inputs that are products, by name; lazy. Raises ``InputUnreadable``."""
        keys = self.order.storage
        return {one.input or "product": stores.open_product(one.href, keys) for one in self.order.inputs}

    def product(self) -> xr.DataTree:
        """The one input there is; lazy. Raises ``BadPayload`` if there are several, ``InputUnreadable``."""
        if len(self.order.inputs) > 1:
            raise BadPayload(f"{self.order.processor} takes one product")
        return stores.open_product(self.order.inputs[0].href, self.order.storage)


type Maker = Callable[[Work], xr.DataTree]


def run_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make the product that is ordered with one of the processors of this package, and say what it is.

    Returns ``{"href", "size", "stac_discovery", "quality"}``, ``size`` in bytes. Raises a ``ProcessingFailed``:
    ``BadPayload``, ``InputUnreadable``, ``NothingFound`` or ``OutputRefused``. What was written before a failure is
    left for the caller to delete.
    """
    order = read_order(payload)
    if order.processor not in MAKERS:
        raise BadPayload(f"the payload is not valid: processor: {order.processor} is none of {', '.join(MAKERS)}")
    return carry_out(order, MAKERS[order.processor])


def processor(function: Function) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A processor of your own: a function of products that returns a product.

    The function gets the products by the names of the task table, and the parameters of the order by theirs. What this
    returns is what an entry point of the group ``rs.processors`` has to name; it takes an order and raises as
    ``run_payload`` does, ``BadPayload`` for an order that is not valid.
    """

    def run(payload: Mapping[str, Any]) -> dict[str, Any]:
        def make(work: Work) -> xr.DataTree:
            return function(**work.products(), **work.order.parameters)

        return carry_out(read_order(payload), make)

    run.__doc__ = function.__doc__
    return run


def carry_out(order: Order, make: Maker) -> dict[str, Any]:
    """Make a product, write it, and say what it is, as ``run_payload`` does. Raises what it and ``make`` raise."""
    memory.steady()
    with on_cluster(), lazily.keeping(), ExitStack() as until_written:
        made = make(Work(order, until_written))
        size = stores.write(made, order.output, order.storage)
    return {
        "href": order.output,
        "size": size,
        "stac_discovery": made.attrs.get("stac_discovery", {}),
        "quality": made.attrs.get("quality", {}),
    }


def read_order(payload: Mapping[str, Any]) -> Order:
    """A payload, checked. Raises ``BadPayload``, which tells no value: they may be keys."""
    try:
        return Order.model_validate(payload)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise BadPayload(f"the payload is not valid: {'; '.join(faults)}") from None


@contextmanager
def on_cluster() -> Iterator[None]:
    """On a worker of a cluster, Dask's work goes to the whole cluster, and the worker's thread is free meanwhile."""
    if not lazily.on_worker():
        yield
        return
    from distributed import worker_client

    with worker_client():
        yield


def _level_zero(work: Work) -> xr.DataTree:
    from rs_client.processing.s1_l0 import INPUT, OUTPUT, SentinelOneLevelZero

    order = work.order
    made: xr.DataTree = SentinelOneLevelZero().run(
        {INPUT: _blocks(order.inputs, order.storage)},
        name=order.name,
        session=order.session.session(),
        **order.parameters,
    )[OUTPUT]
    return made


def _blocks(files: Sequence[InputFile], keys: StorageKeys | None) -> list[xr.DataTree]:
    from rs_client.processing.s1_l0 import cadu_block

    blocks = []
    for file in files:
        if file.channel is None or file.block is None or file.size is None:
            raise BadPayload(f"{file.href} is no file of a session: it lacks its channel, block or size")
        blocks.append(cadu_block(stores.octets(file.href, file.size, keys), file.channel, file.block))
    return blocks


def _echo(work: Work) -> xr.DataTree:
    from rs_client.processing.echo import INPUT, OUTPUT, EchoSamples

    order = work.order
    made: xr.DataTree = EchoSamples().run({INPUT: work.product()}, name=order.name, **order.parameters)[OUTPUT]
    return made


def _quicklook(work: Work) -> xr.DataTree:
    from rs_client.processing.quicklook import INPUT, OUTPUT, Quicklook

    order = work.order
    made: xr.DataTree = Quicklook().run({INPUT: work.product()}, name=order.name, **order.parameters)[OUTPUT]
    return made


def _safe_to_zarr(work: Work) -> xr.DataTree:
    from rs_client.processing.safe import open_safe

    if len(work.order.inputs) > 1:
        raise BadPayload("safe-to-zarr takes one product")
    return open_safe(work.order.inputs[0].href, work.order.storage, work.until_written)


MAKERS: Mapping[str, Maker] = {
    "s1-l0": _level_zero,
    "s1-echo": _echo,
    "quicklook": _quicklook,
    "safe-to-zarr": _safe_to_zarr,
}
"""The processors of this package, by the name of their entry point."""
