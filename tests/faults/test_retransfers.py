"""A pass that breaks off is sent again by its station, as other files of the same names and sizes."""

from __future__ import annotations

import signal
import time

from tests.faults.lab import Lab, eventually, some_collection


def test_what_a_station_sends_again_is_fetched_again(lab: Lab) -> None:
    """CADIP names no checksum: a bit that was wrong the first time stays wrong, unless the second try is taken."""
    station = lab.stations["sgs"]
    clock = station.tell("GET", "clock")
    try:
        station.tell("PUT", "clock", {"at": "2024-12-26T10:00:00Z", "speed": 40})
        life = {"abort_after": 1, "retransfer_after_s": 120}
        session = station.add_session("2024-12-26T10:00:00Z", chunks=2, life=life)
        station.fault({"requests": "download", "flip_at": 1000, "times": 1})
        eventually("the session is announced", lambda: _announced(lab, session))
        collection = some_collection()
        job = lab.stage("sgs", [session], collection, follow=True)
        done = "SELECT key, digest FROM rs.transfers WHERE job = %s AND state = 'done'"
        eventually("its first file is there", lambda: len(lab.rows(done, job)) == 1)
        (first,) = lab.rows(done, job)
        assert lab.ended(job)["status"] == "successful"
        item = lab.items(collection)[session]
        lab.check_item("sgs", item)
        assert len(item["assets"]) == 2
        again = lab.rows("SELECT key, digest FROM rs.transfers WHERE job = %s AND key <> %s", job, first[0])
        assert again
        assert first[1] not in {digest for _, digest in again}
        lab.check_swept(collection)
    finally:
        station.fault()
        station.tell("PUT", "clock", {"speed": 1, "at": clock["now"]})


def test_who_sleeps_before_it_puts_a_small_file_changes_nothing_when_it_wakes(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-12-27T10:00:00Z", chunks=1)
    collection = some_collection()
    lab.kill("worker")
    sleeper = lab.start_worker("asleep", stop_at="mid-part:1")
    lab.stations["sgs"].fault({"requests": "download", "flip_at": 1000, "times": 1})
    job = lab.stage("sgs", [session], collection)
    eventually("it is asleep", lambda: sleeper.stands_still)
    lab.start_worker()
    assert lab.ended(job)["status"] == "successful"
    before = lab.items(collection)
    sleeper.send(signal.SIGCONT)
    time.sleep(1)
    assert lab.items(collection) == before
    lab.check_item("sgs", before[session])
    lab.programs.pop("asleep").end()
    lab.check_swept(collection)


def _announced(lab: Lab, session: str) -> bool:
    with lab.api as api:
        return api.get(f"/cadip/collections/sessions/items/{session}").status_code == 200
