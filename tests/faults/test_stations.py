"""Stations that fail in every way there is: nothing corrupt is published, and what can be had is had."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate
from random import Random
from typing import Any

import pytest

from tests.faults.conftest import LONG
from tests.faults.lab import Lab, eventually, some_collection

FILES = 1000 if LONG else 20

# What a real station does to us now and then. The bits that flip are found where the station names a checksum.
TROUBLE: list[dict[str, Any]] = [
    {"requests": "download", "chance": 0.10, "reset_at": [0, 2_000_000]},
    {"requests": "download", "chance": 0.10, "short_at": [0, 2_000_000]},
    {"requests": "download", "chance": 0.03, "flip_at": [0, 2_000_000]},
    {"requests": "download", "chance": 0.03, "length_delta": 17},
    {"requests": "download", "chance": 0.05, "ignore_range": True},
    {"requests": "download", "chance": 0.03, "status": 429, "retry_after_s": 1},
    {"requests": "download", "chance": 0.03, "status": 503, "retry_after_s": 1},
    {"requests": "download", "chance": 0.05, "status": 500},
    {"requests": "download", "chance": 0.02, "html": True},
    {"requests": "download", "chance": 0.02, "revoke_tokens": True},
    {"requests": "download", "chance": 0.05, "redirect": "resend"},
    {"requests": "download", "chance": 0.05, "redirect": "presigned"},
    {"requests": "download", "chance": 0.03, "bytes_per_s": 200_000},
]


PER_SECOND = 25


@pytest.fixture
def paced(lab: Lab) -> Iterator[None]:
    """The station of products may be asked for so many files a second."""
    before = lab.values["stations"]
    lab.write(stations={**before, "adgs": {**before["adgs"], "downloads_per_s": PER_SECOND}})
    lab.restart("worker")
    yield
    lab.write(stations=before)
    lab.restart("worker")


@pytest.mark.usefixtures("paced")
def test_files_of_a_station_in_trouble_come_whole_or_not_at_all(lab: Lab, dice: Random) -> None:
    station = lab.stations["adgs"]
    station.tell("POST", "publish", {"count": FILES})
    station.fault(*TROUBLE, seed=dice.randint(0, 10**6))
    station.tell("DELETE", "requests")
    collection = some_collection()
    job = lab.submit({"items": {"service": "auxip", "search": {}}, "collection": collection})
    ended = lab.ended(job, within_s=3600 if LONG else 150)
    station.fault()
    asked = [each for each in station.tell("GET", "requests?operation=download") if each["path"].startswith("/odata")]
    assert most_in_a_second(asked) <= allowed(PER_SECOND)
    report = lab.get(f"/jobs/{job}/results")["report"]
    assert ended["status"] == "successful", ended["message"]
    assert len(report) >= FILES
    published = [each for each in report if each["outcome"] == "published"]
    assert len(published) >= 0.97 * len(report), [each for each in report if each not in published]
    for item in lab.every_item(collection):
        lab.check_item("adgs", item)
    lab.check_swept(collection)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"reset_at": [100_000, 9_000_000]}, id="reset"),
        pytest.param({"short_at": [100_000, 9_000_000]}, id="short read"),
        pytest.param({"ignore_range": True, "reset_at": [6_000_000, 9_000_000], "times": 3}, id="ranges ignored"),
        pytest.param({"redirect": "presigned", "times": 50}, id="redirect"),
    ],
)
def test_a_large_file_comes_whole(lab: Lab, fault: dict[str, Any]) -> None:
    session = _session(lab, str(fault))
    lab.stations["sgs"].fault({"requests": "download", "each": True, "times": 4, **fault}, seed=1)
    collection = some_collection()
    ended = lab.ended(lab.stage("sgs", [session], collection))
    assert ended["status"] == "successful", ended["message"]
    lab.stations["sgs"].fault()
    lab.check_item("sgs", lab.items(collection)[session])


def _session(lab: Lab, name: str, **more: Any) -> str:
    """A session of its own for each name."""
    minute = Random(name).randint(0, 59 * 60)
    return lab.stations["sgs"].add_session(
        f"2024-12-01T{10 + minute // 3600:02}:{minute // 60 % 60:02}:{minute % 60:02}Z",
        **more,
    )


def test_an_evicted_file_fails_its_item_and_the_rest_goes_on(lab: Lab) -> None:
    gone, kept = _session(lab, "gone"), _session(lab, "kept")
    lab.stations["sgs"].fault({"requests": "download", "name": f"*{gone}*_00002.raw", "evict": True})
    collection = some_collection()
    job = lab.stage("sgs", [gone, kept], collection)
    ended = lab.ended(job)
    outcomes = {each["item"]: each["outcome"] for each in lab.get(f"/jobs/{job}/results")["report"]}
    assert (ended["status"], outcomes) == ("successful", {gone: "gone", kept: "published"})
    assert set(lab.items(collection)) == {kept}
    lab.check_swept(collection)


def test_what_an_archive_must_bring_back_is_ordered_waited_for_and_fetched(lab: Lab) -> None:
    station = lab.stations["archive"]
    station.tell("PUT", "scenario", {"holdings": {"products": 50}, "orders": {"queued_s": 1, "work_s": 3}})
    found = lab.get("/lta/collections/old/items?limit=50")["features"]
    offline = next(item["id"] for item in found if item["properties"]["rs:online"] is False)
    collection = some_collection()
    job = lab.stage("archive", [offline], collection)
    eventually("the job says what it waits for", lambda: "ordered" in (lab.job(job).get("waiting") or ""))
    lab.restart("worker")
    ended = lab.ended(job)
    assert ended["status"] == "successful", ended["message"]
    lab.check_item("archive", lab.items(collection)[offline])


def test_strict_publishes_all_or_nothing(lab: Lab) -> None:
    gone, kept = _session(lab, "gone too"), _session(lab, "kept too")
    lab.stations["sgs"].fault({"requests": "download", "name": f"*{gone}*_00002.raw", "evict": True})
    collection = some_collection()
    ended = lab.ended(lab.stage("sgs", [gone, kept], collection, strict=True))
    assert ended["status"] == "failed"
    assert lab.items(collection) == {}
    lab.check_swept(collection)


def test_a_station_that_is_down_is_waited_for_and_said_so(lab: Lab) -> None:
    session = _session(lab, "down", chunks=1)  # a job says what it waits for while none of its files is under way
    lab.stations["sgs"].fault({"requests": "download", "status": 503, "retry_after_s": 1})
    job = lab.stage("sgs", [session])
    eventually("the job says what it waits for", lambda: "503" in (lab.job(job).get("waiting") or ""))
    lab.stations["sgs"].fault()
    assert lab.ended(job)["status"] == "successful"
    (failures,) = lab.rows("SELECT failures FROM rs.stations WHERE name = 'sgs'")
    assert failures == (0,)


def test_a_growing_session_is_whole_soon_after_its_last_file(lab: Lab) -> None:
    station = lab.stations["sgs"]
    clock = station.tell("GET", "clock")
    try:
        station.tell("PUT", "clock", {"at": "2024-12-24T10:00:00Z", "speed": 20})
        session = station.add_session("2024-12-24T10:00:00Z", chunks=5, life={"out_of_order": True})
        eventually("the session is announced", lambda: _announced(lab, session))
        collection = some_collection()
        job = lab.stage("sgs", [session], collection, follow=True)
        assert lab.items(collection) == {}
        ended = lab.ended(job)
        assert ended["status"] == "successful", ended["message"]
        item = lab.items(collection)[session]
        lab.check_item("sgs", item)
        assert len(item["assets"]) == 5
        last = max(asset["created"] for asset in item["assets"].values())
        now = station.tell("GET", "clock")["now"]
        # The station's clock runs twenty times as fast: 15 s of ours are 300 s of its own.
        assert _seconds(now) - _seconds(last) < 300
    finally:
        station.tell("PUT", "clock", {"speed": 1, "at": clock["now"]})


def _announced(lab: Lab, session: str) -> bool:
    with lab.api as api:
        return api.get(f"/cadip/collections/sessions/items/{session}").status_code == 200


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_the_stations_limits_are_kept_by_all_workers_together(lab: Lab) -> None:
    """So many requests in a second, and so many connections at once: also while files are evicted amid the others."""
    limits = {"downloads_per_s": 10, "downloads_at_once": 3}
    paced = {**lab.values["stations"], "adgs": {**lab.values["stations"]["adgs"], **limits}}
    before = lab.values["stations"]
    lab.stations["adgs"].tell("POST", "publish", {"count": 20})
    lab.write(stations=paced)
    lab.restart("worker")
    lab.start_worker("worker-2")
    try:
        slow = {"requests": "download", "stall_at": 100, "stall_s": 0.25}
        lab.stations["adgs"].fault(slow, {"requests": "download", "evict": True, "skip": 5, "times": 2})
        lab.stations["adgs"].tell("DELETE", "requests")
        assert lab.ended(lab.submit({"items": {"service": "auxip", "search": {}}, "collection": some_collection()}))
        asked = lab.stations["adgs"].tell("GET", "requests?operation=download")
        assert len(asked) >= 20
        assert most_in_a_second(asked) <= allowed(10)
        assert most_at_once([each for each in asked if each["status"] == 200]) == 3  # others are not listened to
    finally:
        lab.stations["adgs"].fault()
        lab.write(stations=before)
        lab.programs.pop("worker-2").end()
        lab.restart("worker")


def allowed(per_second: int) -> int:
    """Requests that may come within one second: each may be held up on its way by a fifth of one, at either end."""
    return per_second + 2 + per_second // 5


def most_at_once(requests: list[dict[str, Any]]) -> int:
    """How many of these requests were under way at a time, at most; the station hears late of the end of each."""
    moments = [(each["began"], 1) for each in requests]
    moments += [(each["began"] + max(0.0, each["seconds"] - 0.05), -1) for each in requests]
    return max(accumulate(step for _, step in sorted(moments)))


def most_in_a_second(requests: list[dict[str, Any]]) -> int:
    """How many of these requests came within one second, at most."""
    began = sorted(each["began"] for each in requests)
    return max(bisect_left(began, begin + 1) - at for at, begin in enumerate(began))
