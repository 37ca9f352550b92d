"""An object storage that answers 500 and SlowDown, or whose disk is full: a right end or a clear one, nothing half."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.faults.lab import Lab, eventually, some_collection
from tests.faults.proxy import Trouble, proxied


@pytest.fixture
def trouble(lab: Lab, dice: Random) -> Iterator[Trouble]:
    """What the object storage does to the workers, until the end of the test."""
    true = lab.values["storage"]["endpoint"]
    place = urlsplit(true)
    found = Trouble(dice=dice)
    with proxied(str(place.hostname), int(place.port or 80), found) as port:
        lab.write(storage={**lab.values["storage"], "endpoint": f"http://127.0.0.1:{port}"})
        lab.true_endpoint = true
        lab.restart("worker")
        yield found
        found.share, found.full = 0.0, False
        lab.write(storage={**lab.values["storage"], "endpoint": true})
        lab.restart("worker")


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_storage_that_often_fails(lab: Lab, trouble: Trouble, share: float) -> None:
    sessions = [lab.stations["sgs"].add_session(f"2024-12-{8 + round(10 * share):02}T10:00:0{n}Z") for n in range(3)]
    trouble.share = share
    collection = some_collection()
    ended = lab.ended(lab.stage("sgs", sessions, collection), within_s=180)
    assert ended["status"] == "successful", ended["message"]
    trouble.share = 0.0
    assert trouble.struck > 0
    for item in lab.every_item(collection):
        lab.check_item("sgs", item)
    lab.check_swept(collection)


def test_a_full_disk_is_waited_for_and_said_so(lab: Lab, trouble: Trouble) -> None:
    # Of one file: a job says what it waits for while none of its files is under way.
    session = lab.stations["sgs"].add_session("2024-12-15T10:00:00Z", chunks=1)
    trouble.full = True
    collection = some_collection()
    job = lab.stage("sgs", [session], collection)
    eventually("the job says what it waits for", lambda: "object storage" in (lab.job(job).get("waiting") or ""), 90)
    assert lab.items(collection) == {}
    assert 's3_errors_total{code="' in lab.counters()
    trouble.full = False
    assert lab.ended(job)["status"] == "successful"
    lab.check_item("sgs", lab.items(collection)[session])
    lab.check_swept(collection)
