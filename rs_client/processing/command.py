"""The verb ``rs process``: a processor on the platform, or with ``--local`` on files of this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

FAILED, USAGE = 1, 2

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_MB = 1_000_000


@commands.command()
def process(
    processor: Annotated[str, typer.Argument(help="The processor: s1-l0, s1-echo, quicklook, safe-to-zarr, yours.")],
    items: Annotated[list[str] | None, typer.Argument(help="Items of the catalog: COLLECTION/ITEM.")] = None,
    *,
    to: Annotated[str, typer.Option("--to", help="Collection of the catalog that the products go to.")] = "",
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
    as_json: Annotated[bool, typer.Option("--json", help="For programs; a stable form.")] = False,
) -> None:
    """Run a processor: on items of the catalog, or with --local on files.

    rs process --local s1-l0 --input FOLDER --output PRODUCT.zarr
    """
    parameters = _parameters(parameter or ())
    if not local:
        _on_platform(processor, items or (), to, parameters, plan=plan, as_json=as_json)
        return
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
    processor: str, items: Sequence[str], to: str, parameters: Mapping[str, Any], *, plan: bool, as_json: bool
) -> None:
    """The platform's part, all in this place."""
    if not items or not (to or plan):
        raise typer.BadParameter("name the items (COLLECTION/ITEM) and --to COLLECTION, or give --local")
    import rs_client

    session = rs_client.connect()
    try:
        found = [
            item
            for collection, _, name in (one.rpartition("/") for one in items)
            for item in session.catalog.search(collections=[collection], ids=[name]).items()
        ]
        if plan:
            planned = session.dpr.plan(processor, found, to or None, parameters=dict(parameters))
            typer.echo(json.dumps(planned.document) if as_json else repr(planned))
            return
        job = session.dpr.run(processor, found, to, parameters=dict(parameters))
    except rs_client.RsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(FAILED) from None
    typer.echo(json.dumps({"job": job.id}) if as_json else f"job {job.id} runs {processor}")


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
