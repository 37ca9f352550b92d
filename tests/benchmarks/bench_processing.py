"""Measures Level-0 processing: octets a second of each step, beside memcpy and beside other packages.

Run ``python tests/benchmarks/bench_processing.py [all|core|workers|session]``. Everything that is compared is measured
in turns within one run, and the quickest of several turns counts, so that other work on the machine weighs on both
sides. ``session`` needs a running VersityGW or any S3 (``BENCH_S3_ENDPOINT``, ``BENCH_S3_BUCKET``,
``BENCH_S3_ACCESS_KEY``, ``BENCH_S3_SECRET_KEY``), and takes ``BENCH_SESSION_MB`` (2000) of it.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ccsdspy  # type: ignore[import-untyped]
import dask
import numpy as np
import psutil  # type: ignore[import-untyped]

from rs_client.processing import reedsolomon
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
    """The same packets cut out of a file of packets by ccsdspy, which knows neither frames nor their code."""
    some = octets[: 312 * 10 * CADU_SIZE]
    room = np.empty_like(some)
    made = packets_of(some, room, Coding(verified=False)).tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sar.bin"
        apid = ccsdspy.utils.split_by_apid(io.BytesIO(made), valid_apids=[packets.SAR_APID])
        path.write_bytes(apid[packets.SAR_APID].read())
        body = ccsdspy.PacketArray(name="body", data_type="uint", bit_length=8, array_shape="expand")
        definition = ccsdspy.VariableLength([body])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best = quickest(
                {
                    "ours": lambda: packets_of(some, room, Coding(verified=False)),
                    "ours, verified": lambda: packets_of(some, room, Coding()),
                    "ccsdspy": lambda: definition.load(str(path)),
                },
                turns=3,
            )
    say("ccsdspy, one core", some.size / best["ccsdspy"] / MB, "MB/s of frames")
    say("packets / ccsdspy", best["ccsdspy"] / best["ours"], "(at least 20)")
    say("verified packets / ccsdspy", best["ccsdspy"] / best["ours, verified"], "")


def workers() -> None:
    """Two workers against one: the segments of a channel, decoded as the processing unit does."""
    octets = channel(312 * 200)
    one = in_memory(1, octets)
    segments = one.segments(312 * 10 * CADU_SIZE)

    def decode(threads: int) -> None:
        with dask.config.set(scheduler="threads", num_workers=threads):
            work = [dask.delayed(scan, traverse=False)(one, segment, Coding()) for segment in segments]  # type: ignore[attr-defined]
            dask.compute(*work)  # type: ignore[attr-defined]

    best = quickest({"one": lambda: decode(1), "two": lambda: decode(2)})
    for name, seconds in best.items():
        say(f"segments decoded, {name} worker(s)", octets.size / seconds / MB, "MB/s")
    say("two workers / one", best["one"] / best["two"], "(at least 1.8 on two free cores)")


def session() -> None:
    """PLACEHOLDER"""


def quickest(work: Mapping[str, Callable[[], Any]], turns: int = TURNS) -> dict[str, float]:
    """Seconds of the quickest of several turns, in which each has its go; a first one warms up."""
    best = dict.fromkeys(work, float("inf"))
    for turn in range(turns + 1):
        for name, one in work.items():
            begin = time.perf_counter()
            one()
            if turn:
                best[name] = min(best[name], time.perf_counter() - begin)
    return best


def say(what: str, value: float, unit: str) -> None:
    """One line a figure."""
    sys.stdout.write(f"{what:44} {value:10.2f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
