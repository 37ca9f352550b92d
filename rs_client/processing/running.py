"""Processors run from here: a unit on a cluster of one's own, or a whole processor on local files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

import xarray as xr

from rs_client.processing import folder, lazily, stores, tasktable
from rs_client.processing.errors import BadPayload, OutputRefused
from rs_client.processing.payload import SUFFIX
from rs_client.processing.payload import processor as as_processor
from rs_client.processing.tasktable import GROUP
from rs_client.processing.triggering import is_unit


def run(
    unit: Any,
    inputs: Mapping[str, Any],
    *,
    cluster: Any = None,
    output: str | Path | None = None,
    **parameters: Any,
) -> dict[str, xr.DataTree]:
    """Run an EOPF processing unit on products by name, and return its products by name.

    ``unit``: an ``EOProcessingUnit``, class or instance. ``cluster``: a Dask cluster, client or address to work on;
    without one, the active client's, else the threads of this process. ``output``: a folder to write the products to,
    as ``NAME.zarr``; without it they are returned lazy, and made where they are looked at. ``parameters`` go to the
    unit; ``adfs`` and ``mode`` are EOPF's. Raises what the unit raises, and ``OutputRefused`` for a product that is
    there already or cannot be written; what was begun is taken away.

    >>> run(SentinelOneLevelZero, {"cadu": blocks}, cluster=LocalCluster(), output="/data/products", name="NAME")
    """
    made = unit() if isinstance(unit, type) else unit
    with _client(cluster), nullcontext() if output is None else lazily.keeping():
        products: dict[str, xr.DataTree] = made.run(dict(inputs), **parameters)
        if output is None:
            return products
        for name, tree in products.items():
            target = Path(output) / f"{tree.name or name}{SUFFIX}"
            with _unfinished(target) as place:
                stores.write(tree, place.as_uri(), None)
    return {name: xr.open_datatree(Path(output) / f"{tree.name or name}{SUFFIX}", engine="zarr", chunks={})
            for name, tree in products.items()}  # fmt: skip


def process(
    processor: str,
    source: Path,
    output: Path,
    *,
    quality: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    cluster: Any = None,
) -> dict[str, Any]:
    """Run an installed processor on local files, without any service; what it says of its product.

    ``source``: a folder with the files of a session, or a product (Zarr or SAFE). ``output``: the product, NAME.zarr,
    which is there whole or not at all. Raises a ``ProcessingFailed``.
    """
    found = entry_points(group=GROUP, name=processor)
    if not found:
        known = ", ".join(sorted(entry_points(group=GROUP).names))
        raise BadPayload(f"there is no processor {processor}; there are: {known}")
    entry = next(iter(found))
    payload = {"processor": processor, "parameters": dict(parameters or {}), **_inputs(source, quality, _input(entry))}
    run_it = _callable(entry.load())
    with _client(cluster), _unfinished(output.absolute()) as place:
        answer: dict[str, Any] = run_it({**payload, "output": place.as_uri()})
    return {**answer, "href": output.absolute().as_uri()}


def _input(entry: EntryPoint) -> str:
    """The name of a processor's input. Raises ``BadPayload`` where one folder or product is not all that it takes."""
    try:
        names = [*tasktable.of(entry).inputs]
    except tasktable.BadTaskTable as error:
        raise BadPayload(f"{entry.name} cannot be run: {error}") from error
    if len(names) > 1:
        raise BadPayload(f"{entry.name} takes {', '.join(names)}: run it on the platform, on items of the catalog")
    return names[0]


def _callable(found: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What an entry point names, as a callable that takes an order: itself, or one that runs a unit of EOPF."""
    if not is_unit(found):
        return cast("Callable[[Mapping[str, Any]], dict[str, Any]]", found)

    def one_product(**asked: Any) -> xr.DataTree:
        unit = found()
        inputs = {name: asked.pop(name) for name in unit.get_mandatory_input_list()}
        products = unit.run(inputs, **asked)
        if len(products) != 1:
            raise BadPayload(f"{found.__name__} makes {', '.join(products)}: run it with rs_client.processing.run")
        return cast("xr.DataTree", next(iter(products.values())))

    return as_processor(one_product)


def _inputs(source: Path, quality: Path | None, name: str) -> dict[str, Any]:
    if source.suffix == SUFFIX or source.name.endswith((".SAFE", ".SEN3", ".zip")):
        return {"inputs": [{"input": name, "href": source.resolve().as_uri()}], "session": {"id": source.stem}}
    session = folder.read(source, quality)
    return {"inputs": session.inputs(), "session": session.facts()}


@contextmanager
def _unfinished(output: Path) -> Iterator[Path]:
    """A place to write a product, which takes its name when it is whole and vanishes when it fails."""
    if output.exists():
        raise OutputRefused(f"{output} cannot be written: it is there already")
    place = output.with_name(f".{output.name}.{os.getpid()}.unfinished")
    try:
        yield place / output.name
        output.parent.mkdir(parents=True, exist_ok=True)
        (place / output.name).rename(output)
    except OSError as error:
        raise OutputRefused(f"{output} cannot be written: {error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _client(cluster: Any) -> Any:
    """A client of the cluster, active within the context."""
    if cluster is None:
        return nullcontext()
    from distributed import Client

    return nullcontext(cluster) if isinstance(cluster, Client) else Client(cluster)  # type: ignore[no-untyped-call]
