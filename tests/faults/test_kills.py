"""Whatever is killed, whenever: every job ends right, every published item is whole, nothing is doubled or left."""

from __future__ import annotations

import signal
import time
from itertools import product
from random import Random

import pytest

from tests.faults.conftest import LONG, SEED
from tests.faults.lab import PART_BYTES, Lab, eventually, some_collection

# Named points, and how often a job of one large and one small file passes each.
POINTS = {"reserved": 2, "mid-part": 4, "part done": 1, "complete": 2, "before publish": 1, "after publish": 1}
OTHERS = ("server", "postgres", "s3")
ROUNDS, RANDOM_ROUNDS = (6, 14) if LONG else (1, 1)


def moments() -> list[tuple[str, str]]:
    """Who is killed at which point: everybody at each, or, in the short form, each of the others at one of them."""
    of_others = list(product(OTHERS, POINTS))
    if not LONG:
        of_others = [(victim, Random(f"{SEED} {victim}").choice(list(POINTS))) for victim in OTHERS]
    return [*product(["worker"], POINTS), *of_others]


@pytest.fixture(scope="module")
def session(lab: Lab) -> str:
    """A session of one file of three parts, and one of one."""
    return lab.stations["sgs"].add_session("2024-11-20T10:00:00Z")


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize(("victim", "point"), moments())
def test_a_kill_at_a_named_point(lab: Lab, session: str, victim: str, point: str, number: int, dice: Random) -> None:
    at = f"{point}:{dice.randint(1, POINTS[point])}"
    lab.kill("worker")
    worker = lab.start_worker(kill_at=at) if victim == "worker" else lab.start_worker(stop_at=at)
    collection = some_collection()
    job = lab.stage("sgs", [session], collection)
    if victim == "worker":
        eventually("the worker died", lambda: not worker.runs)
    else:
        eventually("the worker came to the point", lambda: worker.stands_still)
    kept = parts_kept(lab, job)
    lab.stations["sgs"].tell("DELETE", "requests")
    if victim != "worker":
        lab.kill(victim)
        worker.send(signal.SIGCONT)
    lab.ended(job)
    assert fetched_again(lab, kept) == []  # before anything is compared: that fetches the files as well
    right_end(lab, job, collection)


def dismissals() -> list[str]:
    """The points before publication: all, or one of them in the short form."""
    before = [point for point in POINTS if point != "after publish"]
    return before if LONG else Random(f"{SEED} dismissal").sample(before, 1)


@pytest.mark.parametrize("point", dismissals())
def test_a_job_dismissed_at_a_named_point_publishes_nothing(lab: Lab, session: str, point: str, dice: Random) -> None:
    lab.kill("worker")
    worker = lab.start_worker(stop_at=f"{point}:{dice.randint(1, POINTS[point])}")
    collection = some_collection()
    job = lab.stage("sgs", [session], collection)
    eventually("the worker came to the point", lambda: worker.stands_still)
    with lab.api as api:
        assert api.delete(f"/jobs/{job}").json()["status"] == "dismissed"
    worker.send(signal.SIGCONT)
    time.sleep(1)
    lab.check_swept(collection)
    assert lab.items(collection) == {}
    assert lab.job(job)["status"] == "dismissed"
    assert lab.rows("SELECT 1 FROM rs.transfers WHERE job = %s AND state IN ('waiting', 'running')", job) == []


@pytest.mark.parametrize("number", range(RANDOM_ROUNDS))
@pytest.mark.parametrize("victim", ["worker", *OTHERS])
def test_a_kill_at_any_time(lab: Lab, session: str, victim: str, number: int, dice: Random) -> None:
    collection = some_collection()
    job = lab.stage("sgs", [session], collection)
    time.sleep(dice.uniform(0, 1.5))
    if victim == "worker":
        lab.kill(victim)
    kept = parts_kept(lab, job)
    lab.stations["sgs"].tell("DELETE", "requests")
    if victim != "worker":
        lab.kill(victim)
    lab.ended(job)
    assert fetched_again(lab, kept) == []
    right_end(lab, job, collection)


def parts_kept(lab: Lab, job: str) -> list[tuple[str, int]]:
    """The parts that are in the object storage, those of files that are complete among them: file and number."""
    return [
        (name, number)
        for name, number in lab.rows(
            "SELECT t.name, p.number FROM rs.parts p JOIN rs.transfers t ON t.id = p.transfer WHERE t.job = %s "
            "UNION SELECT t.name, generate_series(1, (t.size - 1) / %s + 1) FROM rs.transfers t "
            "WHERE t.job = %s AND t.state = 'done'",
            job,
            PART_BYTES,
            job,
        )
    ]


def fetched_again(lab: Lab, kept: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those of the parts of which the station has sent bytes since its log was cleared."""
    sent = [
        (record["target"], record["first"], record["first"] + record["sent"])
        for record in lab.stations["sgs"].tell("GET", "requests?operation=download")
        if record["sent"]
    ]
    return [
        (name, number)
        for name, number in kept
        if any(
            name == of and begin < number * PART_BYTES and (number - 1) * PART_BYTES < end for of, begin, end in sent
        )
    ]


def right_end(lab: Lab, job: str, collection: str) -> None:
    """The job succeeds; its item is there once, whole; and nothing is left over."""
    ended = lab.ended(job)
    assert ended["status"] == "successful", ended["message"]
    (item,) = lab.items(collection).values()
    lab.check_item("sgs", item)
    assert len(item["assets"]) == ended["files_done"] == ended["files_total"] == 2
    lab.check_swept(collection)


def test_a_worker_that_sleeps_past_its_lease_publishes_nothing_twice(lab: Lab, session: str) -> None:
    collection = some_collection()
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 4_000_000})
    job = lab.stage("sgs", [session], collection)
    lab.await_progress(job)
    sleeper = lab.programs["worker-asleep"] = lab.programs.pop("worker")
    sleeper.send(signal.SIGSTOP)
    lab.start_worker()
    lab.stations["sgs"].fault()
    ended = lab.ended(job)
    published = lab.items(collection)
    sleeper.send(signal.SIGCONT)
    time.sleep(3)
    assert ended["status"] == "successful"
    assert lab.items(collection) == published
    (item,) = published.values()
    lab.check_item("sgs", item)
    lab.check_swept(collection)
    lab.programs.pop("worker-asleep").end()


def test_a_worker_lives_through_a_restart_of_the_database_and_goes_on_with_its_files(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-11-21T10:00:00Z")
    collection, worker = some_collection(), lab.programs["worker"]
    lab.stations["sgs"].tell("DELETE", "requests")
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 2_000_000})
    job = lab.stage("sgs", [session], collection)
    lab.await_progress(job, size=PART_BYTES)
    lab.kill("postgres")
    lab.stations["sgs"].fault()
    ended = lab.ended(job)
    assert ended["status"] == "successful", ended["message"]
    sent = sum(record["sent"] for record in lab.stations["sgs"].tell("GET", "requests?operation=download"))
    assert ended["bytes_total"] <= sent <= ended["bytes_total"] + PART_BYTES
    later = lab.stage("sgs", [session], some_collection())
    assert lab.ended(later)["status"] == "successful"  # the queue is worked again
    assert lab.programs["worker"] is worker
    assert worker.runs
    right_end(lab, job, collection)
