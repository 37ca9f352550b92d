"""Measures Level-0 processing: octets a second of each step, beside memcpy and beside other packages.

Run ``python tests/benchmarks/bench_processing.py [all|core|workers|session]``. Everything that is compared is measured
in turns within one run, and the quickest of several turns counts, so that other work on the machine weighs on both
sides. ``session`` needs a running VersityGW or any S3 (``BENCH_S3_ENDPOINT``, ``BENCH_S3_BUCKET``,
``BENCH_S3_ACCESS_KEY``, ``BENCH_S3_SECRET_KEY``), and takes ``BENCH_SESSION_MB`` (2000) of it.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ccsdspy  # type: ignore[import-untyped]
import dask.config
import numpy as np

from rs_client.processing import lazily, reedsolomon, sentinel1
from rs_client.processing.channel import in_memory, scan
from rs_client.processing.frames import CADU_SIZE, MARKER_SIZE, Coding, Lock, find_frames
from rs_client.processing.packets import Assembly, gather, parts_of
from rs_client.processing.reedsolomon import Basis, Octets
from rs_server.simulators import cadu, packets

MB = 1_000_000
TURNS = 7
CORE_FRAMES = 312 * 100
"""A channel of 64 MB: larger than the processor's cache, as a file in hot memory is."""


def main() -> None:
    """Measure what is asked for."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    if wanted in ("all", "core"):
        core()
    if wanted in ("all", "workers"):
        workers()
    if wanted == "session" or (wanted == "all" and "BENCH_S3_ENDPOINT" in os.environ):
        session()


def channel(frames: int = CORE_FRAMES) -> Octets:
    """A simulated downlink channel."""
    made = cadu.Channel(0, "BENCH", packets.DataTake(1_415_629_502 << 16, 1, 1, 2), frames)
    return np.frombuffer(cadu.read(made, 0, made.size), np.uint8).copy()


def core() -> None:
    """One core: frames and packets without the code, and the code alone."""
    octets = channel()
    copy, room = np.empty_like(octets), np.empty_like(octets)
    starts = np.arange(CORE_FRAMES, dtype=np.int64) * CADU_SIZE + MARKER_SIZE
    loose = np.zeros(CORE_FRAMES, np.bool_)
    conventional = reedsolomon.tables().from_dual[octets]
    best = quickest(
        {
            "memcpy": lambda: np.copyto(copy, octets),
            "packets": lambda: packets_of(octets, room, Coding(verified=False)),
            "verified packets": lambda: packets_of(octets, room, Coding()),
            "verification": lambda: reedsolomon.repair(octets, starts, loose),
            "verification, conventional": lambda: reedsolomon.repair(conventional, starts, loose, Basis.CONVENTIONAL),
        }
    )
    for name, seconds in best.items():
        say(f"{name}, one core", octets.size / seconds / MB, "MB/s")
    say("packets / memcpy", best["memcpy"] / best["packets"], "(at least 0.25)")
    beside_ccsdspy(octets)


def packets_of(octets: Octets, room: Octets, coding: Coding) -> Octets:
    """Frames → packets back to back, as one array."""
    frames = find_frames(octets, Lock(), octets.size, last=True, coding=coding)
    assembly = Assembly()
    assembly.add(parts_of(octets, frames, 0), frames.count.bad)
    written = 0
    for virtual in assembly.finish().values():
        found = virtual.packets
        place = np.append(0, np.cumsum(found.length)) + written
        gather(octets, virtual.start, found.frame, found.offset, place[:-1], place[1:], room)
        written = int(place[-1])
    return room[:written]


def beside_ccsdspy(octets: Octets) -> None:
    """The same SAR packets with the fields of their headers by ccsdspy, which knows neither frames nor their code."""
    some = octets[: 312 * 60 * CADU_SIZE]
    room = np.empty_like(some)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "sar.bin"
        made = io.BytesIO(packets_of(some, room, Coding(verified=False)).tobytes())
        path.write_bytes(ccsdspy.utils.split_by_apid(made, valid_apids=[packets.SAR_APID])[packets.SAR_APID].read())
        theirs = ccsdspy.VariableLength([*_header_fields(), _body()])
        cut = ccsdspy.VariableLength([_body()])
        best = quickest(
            {
                "ours": lambda: described(some, room, Coding(verified=False)),
                "ours, verified": lambda: described(some, room, Coding()),
                "ccsdspy": lambda: theirs.load(str(path)),
                "ccsdspy, cut alone": lambda: cut.load(str(path)),
                "ours, cut alone": lambda: packets_of(some, room, Coding(verified=False)),
            },
            turns=3,
        )
    say("packets with their headers, one core", some.size / best["ours"] / MB, "MB/s")
    say("ccsdspy with their headers, one core", some.size / best["ccsdspy"] / MB, "MB/s of frames")
    say("packets with headers / ccsdspy", best["ccsdspy"] / best["ours"], "(at least 20)")
    say("verified packets with headers / ccsdspy", best["ccsdspy"] / best["ours, verified"], "")
    say("packets cut out alone / ccsdspy", best["ccsdspy, cut alone"] / best["ours, cut alone"], "")


def described(octets: Octets, room: Octets, coding: Coding) -> tuple[Octets, dict[str, Any]]:
    """Frames → packets back to back, and all fields of the SAR packets' headers."""
    frames = find_frames(octets, Lock(), octets.size, last=True, coding=coding)
    assembly = Assembly()
    assembly.add(parts_of(octets, frames, 0), frames.count.bad)
    written, fields = 0, dict[str, Any]()
    for virtual in assembly.finish().values():
        found = virtual.packets
        place = np.append(0, np.cumsum(found.length)) + written
        gather(octets, virtual.start, found.frame, found.offset, place[:-1], place[1:], room)
        written = int(place[-1])
        if sentinel1.is_sar(found.head, found.length):
            times = sentinel1.times(found.head, found.length)
            fields = {"time": times, "count": sentinel1.sequence_count(found.head), **sentinel1.fields(found.head)}
    return room[:written], fields


def _body() -> Any:
    return ccsdspy.PacketArray(name="body", data_type="uint", bit_length=8, array_shape="expand")


def _header_fields() -> list[Any]:
    """The secondary header of a SAR packet in ccsdspy's terms, bit by bit."""
    fields, bit = [], 0
    for name, field in sorted(sentinel1.FIELDS.items(), key=lambda one: (one[1].octet, -one[1].shift)):
        length = field.mask.bit_length() if field.mask > 0 else 8 * field.width
        start = 8 * (field.octet + field.width) - field.shift - length
        if start > bit:
            fields.append(ccsdspy.PacketField(name=f"spare_{bit}", data_type="fill", bit_length=start - bit))
        fields.append(ccsdspy.PacketField(name=name, data_type="uint", bit_length=length))
        bit = start + length
    fields.append(ccsdspy.PacketField(name="spare", data_type="fill", bit_length=8 * 62 - bit))
    return fields


def workers() -> None:
    """Two workers against one: the segments of a channel, decoded as the processing unit does."""
    octets = channel(312 * 200)
    one = in_memory(1, octets)
    segments = one.segments(312 * 10 * CADU_SIZE)

    def decode(threads: int) -> None:
        with dask.config.set(scheduler="threads", num_workers=threads):
            lazily.compute([(partial(scan, one, segment, Coding()), ()) for segment in segments])

    best = quickest({"one": lambda: decode(1), "two": lambda: decode(2)}, clock=time.perf_counter)
    for name, seconds in best.items():
        say(f"segments decoded, {name} worker(s)", octets.size / seconds / MB, "MB/s")
    say("two workers / one", best["one"] / best["two"], "(at least 1.8 on two free cores)")


def session() -> None:
    """A session out of object storage into a published product, beside reading and writing the same alone."""
    mb = int(os.environ.get("BENCH_SESSION_MB", "2000"))
    for size in (mb // 2, mb):
        try:
            _step("put", size)
            _compare()
        finally:
            _step("take")


def _compare(turns: int = 2) -> None:
    """Both in turns, each in a process of its own; the quicker turn of each counts."""
    whole, alone = [], []
    for _ in range(turns):
        whole.append(_step("whole"))
        alone.append(_step("alone", whole[-1]["made"]))
    seconds = [min(one["seconds"] for one in some) for some in (whole, alone)]
    read = whole[0]["read"]
    say(f"session of {read / MB:.0f} MB → product of {whole[0]['made'] / MB:.0f} MB", seconds[0], "s")
    say("  throughput", read / seconds[0] / MB, "MB/s")
    say("  read and write alone", seconds[1], "s")
    say("  whole / alone", seconds[0] / seconds[1], "(at most 1.5)")
    say("  peak memory", max(one["peak"] for one in whole), "MiB")


def _step(*arguments: object) -> dict[str, float]:
    script = Path(__file__).with_name("session_through_s3.py")
    run = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(run.stdout or "{}")
    return found


def quickest(
    work: Mapping[str, Callable[[], Any]], turns: int = TURNS, clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """Seconds of the quickest of several turns, in which each has its go; a first one warms up.

    The clock of work on one core is the time that core gave to it, so that a busy machine is no part of the figure.
    """
    best = dict.fromkeys(work, float("inf"))
    for turn in range(turns + 1):
        for name, one in work.items():
            begin = clock()
            one()
            if turn:
                best[name] = min(best[name], clock() - begin)
    return best


def say(what: str, value: float, unit: str) -> None:
    """One line a figure."""
    sys.stdout.write(f"{what:44} {value:10.2f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
