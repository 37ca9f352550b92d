"""Files lie in the bucket that a lifecycle rule names, whatever the rules say later, and nothing is left in any."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from rs_server.catalog.expiry import Expiry
from rs_server.catalog.removal import Removal
from rs_server.database import open_database
from rs_server.settings import Settings
from rs_server.storage import layout
from rs_server.storage.buckets import open_storage
from tests.faults.conftest import LONG
from tests.faults.lab import PART_BYTES, Lab, eventually, some_collection

KEPT, OTHER, LOST = "lab-kept", "lab-other", "lab-lost"
Rule = Callable[..., None]


@pytest.fixture
def rule(lab: Lab) -> Iterator[Rule]:
    """Files of some collections go to a bucket from now on, until others do."""

    def write(bucket: str, *collections: str) -> None:
        names = [collection.removeprefix("local_") for collection in collections]
        rules = [{"owner": "local", "collection": name, "bucket": bucket, "days": 30} for name in names]
        lab.write(catalog={"lifecycle": rules})
        lab.restart("server", "worker")

    yield write
    lab.write(catalog={})  # for what is started later; these rules are about collections that nobody else writes


def staged(lab: Lab, session: str, collection: str, **options: Any) -> dict[str, Any]:
    """The item of a session, staged."""
    ended = lab.ended(lab.stage("sgs", [session], collection, **options))
    assert ended["status"] == "successful", ended["message"]
    return lab.items(collection)[session]


def left_behind(lab: Lab, session: str, collection: str) -> str:
    """A job that is dismissed with one file carried and one under way, while its worker stands still."""
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 2_500_000})
    job = lab.stage("sgs", [session], collection)
    lab.await_progress(job, size=PART_BYTES)
    worker = lab.programs["worker"]
    worker.send(signal.SIGSTOP)
    with lab.api as api:
        assert api.delete(f"/jobs/{job}").json()["status"] == "dismissed"
    lab.stations["sgs"].fault()
    return job


def remove(lab: Lab, bucket: str) -> None:
    """Somebody takes a bucket away, with all that is in it."""
    for each in lab.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        lab.s3.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
    for each in lab.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        lab.s3.delete_object(Bucket=bucket, Key=each["Key"])
    lab.s3.delete_bucket(Bucket=bucket)


@pytest.mark.skipif(not LONG, reason="in the long form; the sweep of each bucket is tested with its rows")
def test_a_bucket_that_is_gone_ends_no_worker_and_holds_up_no_other(lab: Lab, rule: Rule) -> None:
    sessions = [lab.stations["sgs"].add_session(f"2024-12-22T10:00:0{n}Z") for n in range(2)]
    lost, other = some_collection(), some_collection()
    rule(LOST, lost)
    worker = lab.programs["worker"]
    jobs = []
    for session, collection in zip(sessions, (lost, other), strict=True):
        worker.send(signal.SIGCONT)
        jobs.append(left_behind(lab, session, collection))
    remove(lab, LOST)
    worker.send(signal.SIGCONT)
    unswept = "SELECT key FROM rs.transfers WHERE job = ANY(%s::uuid[]) AND fence > 0 AND (NOT swept OR upload > '')"
    assert lab.rows(unswept, jobs)
    eventually("all of it is swept", lambda: lab.rows(unswept, jobs) == [], 40)
    lab.check_swept(other)
    assert lab.programs["worker"] is worker
    assert worker.runs


def buckets_of(item: dict[str, Any]) -> set[str]:
    """The buckets that the files of an item lie in."""
    return {place.bucket for place in layout.named(item)}


def test_the_next_edition_of_an_item_and_a_copy_lie_in_the_bucket_of_the_rule(lab: Lab, rule: Rule) -> None:
    session = lab.stations["sgs"].add_session("2024-12-20T10:00:00Z")
    collection, copies = some_collection(), some_collection()
    name = next(iter(lab.get(f"/cadip/collections/sessions/items/{session}")["assets"]))
    before = staged(lab, session, collection, assets=[name])
    assert buckets_of(before) == {"lab"}
    rule(KEPT, collection, copies)
    item = staged(lab, session, collection, existing="replace")
    assert buckets_of(item) == {item["properties"]["storage:schemes"]["rs"]["bucket"]} == {KEPT}
    lab.check_item("sgs", item)
    lab.check_swept(collection)
    with lab.api as api:
        answer = api.get(f"/catalog/collections/{collection}/items/{session}/download/{name}")
    assert len(httpx.get(answer.headers["location"]).content) == item["assets"][name]["file:size"]
    job = lab.submit({"items": {"href": f"/catalog/search?collections={collection}"}, "collection": copies})
    assert lab.ended(job)["status"] == "successful"
    assert buckets_of(lab.items(copies)[session]) == {KEPT}
    lab.check_item("sgs", lab.items(copies)[session])
    expire(lab, collection)
    assert lab.items(collection)[session]["assets"] == {}
    assert lab.objects(f"{collection.replace('_', '/')}/") == set()
    assert buckets_of(staged(lab, session, collection)) == {KEPT}


def expire(lab: Lab, collection: str) -> None:
    """The time of a collection's one item is over, and its files are removed."""
    lab.rows(
        "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,expires}', '\"2020-01-01T00:00:00Z\"') "
        "WHERE collection = %s RETURNING 1",
        collection,
    )
    known = Settings.model_validate({name: lab.values[name] for name in ("database", "storage")})

    async def run() -> None:
        async with open_database(known.database) as database, open_storage(known.storage) as storage:
            assert await Expiry(database).run() == 1
            await Removal(database, storage).sweep()

    asyncio.run(run())


def test_a_rule_that_changes_moves_nothing_under_way(lab: Lab, rule: Rule) -> None:
    first, second, third = (lab.stations["sgs"].add_session(f"2024-12-21T10:00:0{n}Z") for n in range(3))
    collection = some_collection()
    prefix = f"{collection.replace('_', '/')}/"
    rule(KEPT, collection)
    lab.kill("worker")
    worker = lab.start_worker(kill_at="mid-part:2")
    job = lab.stage("sgs", [first], collection)
    eventually("the worker died", lambda: not worker.runs)
    assert {layout.parse(each).bucket for each in lab.uploads(prefix)} == {KEPT}
    rule(OTHER, collection)
    assert lab.ended(job)["status"] == "successful"
    assert buckets_of(lab.items(collection)[first]) == {KEPT}
    assert buckets_of(staged(lab, second, collection)) == {OTHER}
    for item in lab.every_item(collection):
        lab.check_item("sgs", item)
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 3_000_000})
    job = lab.stage("sgs", [third], collection)
    eventually("an upload is under way", lambda: {layout.parse(each).bucket for each in lab.uploads(prefix)} == {OTHER})
    with lab.api as api:
        assert api.delete(f"/jobs/{job}").json()["status"] == "dismissed"
    time.sleep(2)
    lab.check_swept(collection)
