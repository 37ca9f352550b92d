"""The verb ``rs process``: a processor on the platform, or with ``--local`` on files of this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rs_client.processing.tasktable import GROUP
from rs_client.verbs import FAILED, USAGE, AsJson, Verb, Wait, app, follow, offered_collections, session, tell

if TYPE_CHECKING:
    from rs_client.session import RsClient

commands = app()

_MB = 1_000_000


def _installed() -> list[str]:
    return sorted(entry_points(group=GROUP).names)


@commands.command(cls=Verb)
def process(
    processor: Annotated[
        str,
        typer.Argument(
            help="The processor: s1-l0, s1-echo, quicklook, safe-to-zarr, yours.", autocompletion=_installed
        ),
    ],
    items: Annotated[
        list[str] | None, typer.Argument(help="Items: COLLECTION/ITEM of the catalog, or addresses; - reads them.")
    ] = None,
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Collection that the products go to.", autocompletion=offered_collections),
    ] = None,
    wait: Wait = True,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what the job would do, and why.")] = False,
    local: Annotated[bool, typer.Option("--local", help="On this machine, without any service.")] = False,
    source: Annotated[
        Path | None, typer.Option("--input", help="With --local: the folder of a session, or a product.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="With --local: the product, NAME.zarr.")] = None,
    quality: Annotated[
        Path | None, typer.Option("--quality", help="With --local: what the station counted (QualityInfo, JSON).")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="With --local: Dask workers; 0: threads of one process.")
    ] = 0,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE of the task table; the value is JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a processor: on items of the catalog, or with --local on files.

    rs process --local s1-l0 --input FOLDER --output PRODUCT.zarr
    """
    parameters = _parameters(parameter or ())
    if not local:
        if source or output or quality or workers:
            raise typer.BadParameter("--input, --output, --quality and --workers go with --local")
        _on_platform(processor, items or (), to, parameters, wait=wait, plan=plan, as_json=as_json)
        return
    if items or to or plan:
        raise typer.BadParameter("--local takes --input and --output, and no items, --to or --plan")
    if source is None or output is None:
        raise typer.BadParameter("--local needs --input and --output")
    begin = time.monotonic()
    with _sentences():
        answer = _here(processor, source, output, quality, parameters, workers)
    _show(answer, time.monotonic() - begin, as_json=as_json)


def _here(
    processor: str, source: Path, output: Path, quality: Path | None, parameters: Mapping[str, Any], workers: int
) -> dict[str, Any]:
    from rs_client.processing.running import process as run

    with _cluster(workers) as cluster:
        return run(processor, source, output, quality=quality, parameters=parameters, cluster=cluster)


def _cluster(workers: int) -> Any:
    if workers == 0:
        return nullcontext()
    from distributed import LocalCluster

    return LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")  # type: ignore[no-untyped-call]


def _on_platform(
    processor: str,
    items: Sequence[str],
    to: str | None,
    parameters: dict[str, Any],
    *,
    wait: bool,
    plan: bool,
    as_json: bool,
) -> None:
    """The platform's part: a job on items, or a plan of it."""
    if not items:
        raise typer.BadParameter("name the items (COLLECTION/ITEM), or give --local")
    with session() as opened:
        hrefs = _addresses(opened, items)
        if plan:
            planned = opened.dpr.plan(processor, hrefs, to, parameters=parameters)
            tell(planned.document, repr(planned), as_json=as_json)
        else:
            follow(opened.dpr.run(processor, hrefs, to, parameters=parameters), wait=wait, as_json=as_json)


def _addresses(opened: RsClient, items: Sequence[str]) -> list[str]:
    """The addresses of items; a name is looked up, and raises ``NotFound`` where there is none."""
    named = [*(one for one in items if one != "-"), *(sys.stdin.read().split() if "-" in items else ())]
    return [one if "://" in one else _named(opened, one) for one in named]


def _named(opened: RsClient, name: str) -> str:
    collection, _, item = name.rpartition("/")
    if not collection:
        raise typer.BadParameter(f"{name}: an item is COLLECTION/ITEM, or an address")
    return opened.catalog.item(collection, item).href


def _parameters(given: Sequence[str]) -> dict[str, Any]:
    parameters = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one}: a parameter is NAME=VALUE")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


@contextmanager
def _sentences() -> Any:
    """Problems of processing are sentences, with an exit code by their kind."""
    from rs_client.processing.errors import BadPayload, ProcessingFailed

    try:
        yield
    except ProcessingFailed as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(USAGE if isinstance(error, BadPayload) else FAILED) from None


def _show(answer: Mapping[str, Any], seconds: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**answer, "seconds": round(seconds, 3)}))
        return
    typer.echo(f"{answer['href']}: {answer['size'] / _MB:.1f} MB in {seconds:.1f} s")
    for line in _account(answer.get("quality") or {}):
        typer.echo(line)


def _account(quality: Mapping[str, Any]) -> list[str]:
    if "frames" not in quality:
        return []
    frames, packets = quality["frames"], quality["packets"]
    kinds = ", ".join(f"{frames[kind]} {kind}" for kind in ("good", "corrected", "bad", "fill"))
    lines = [
        f"frames: {kinds}; {frames['skipped_octets']} octets skipped, {packets['frames_missing']} frames missing",
        *(_group(name, one) for name, one in quality["groups"].items()),
    ]
    if station := quality.get("station"):
        lines.append("the station counted the same" if station["agrees"] else _disagreement(station))
    return lines


def _group(name: str, one: Mapping[str, Any]) -> str:
    size = f"{one['octets'] / _MB:.1f} MB"
    return f"{name}: {one['packets']} packets, {size}; {one['duplicates']} doubles left out, {one['missing']} missing"


def _disagreement(station: Mapping[str, Any]) -> str:
    told = [
        f"channel {channel} {name.replace('_', ' ')}: {row['station']} there, {row['found']} here"
        for channel, rows in station["channels"].items()
        for name, row in rows.items()
        if row["difference"]
    ]
    told += [f"channel {channel} is not in its account" for channel in station["not_told"]]
    return f"the station counted otherwise: {'; '.join(told)}"
