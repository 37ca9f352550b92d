"""Staging and processing on a running installation: the right end, and a clear one when it cannot be."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import httpx_sse
import psycopg
import pytest

from tests.integration.callers import calling
from tests.integration.jobs import (
    SESSION,
    accepted,
    caller,
    ended,
    heal,
    s3,
    settings,
    some_collection,
    stage,
    staged,
)
from tests.schemas import item_faults, ogc_faults


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "alice") as client:
        yield client


@pytest.fixture(scope="module")
def bob(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "bob") as client:
        yield client


@pytest.fixture(scope="module")
def operator(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "operator") as client:
        yield client


@pytest.fixture
def slow_station(platform: Any, alice: httpx.Client) -> Iterator[Any]:
    """A station whose every answer takes half a second, so that a job can be met at work; healed at the end."""
    platform.rs("station", "fault", "sgs", "--latency-s", "0.5")
    yield platform
    heal(platform, alice)


def station_files(platform: Any) -> dict[str, bytes]:
    """The session's files as the station serves them."""
    station = settings(platform).stations["sgs"]
    grant = {name: value.get_secret_value() for name, value in station.grant.items()}
    with httpx.Client(timeout=30, trust_env=False) as client:
        token = client.post(str(station.token_url), data=grant).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        query = {"$filter": f"SessionId eq '{SESSION}'", "$top": "1000"}
        files = client.get(f"{station.url}/Files", params=query).json()["value"]
        return {file["Name"]: client.get(f"{station.url}/Files({file['Id']})/$value").content for file in files}


def objects(platform: Any, prefix: str) -> dict[str, int]:
    listed = s3(platform).list_objects_v2(Bucket=settings(platform).storage.bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for entry in listed.get("Contents", [])}


def uploads(platform: Any, prefix: str) -> list[str]:
    listed = s3(platform).list_multipart_uploads(Bucket=settings(platform).storage.bucket, Prefix=prefix)
    return [upload["Key"] for upload in listed.get("Uploads", [])]


def to_be_swept(platform: Any) -> set[str]:
    """Objects that are taken away after the time of grace."""
    with psycopg.connect(settings(platform).database.dsn.get_secret_value()) as conn:
        return {key for (key,) in conn.execute("SELECT key FROM rs.leftovers")}


def at_work(client: httpx.Client, job_id: str) -> None:
    """Wait until the first files of a job are there, and others are still to come."""
    end = time.monotonic() + 30
    while (job := client.get(f"/jobs/{job_id}").json())["files_done"] == 0:
        assert time.monotonic() < end, job["message"]
        time.sleep(0.05)
    assert job["files_done"] < job["files_total"]


def until(client: httpx.Client, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job, once something holds of it."""
    end = time.monotonic() + 30
    while not holds(job := client.get(f"/jobs/{job_id}").json()):
        assert time.monotonic() < end, job
        time.sleep(0.1)
    return dict(job)


def worker_pid(platform: Any) -> int:
    (worker,) = [service for service in platform.status() if service["name"] == "rs-worker"]
    return int(worker["pid"])


def processing(client: httpx.Client, item: dict[str, Any], collection: str) -> httpx.Response:
    (link,) = [link for link in item["links"] if link["rel"] == "self"]
    body = {"inputs": {"items": [{"href": link["href"]}], "collection": collection}}
    return client.post("/processes/s1-l0/execution", json=body)


class TestStaging:
    def test_every_byte_arrives_and_the_item_says_where(self, platform: Any, alice: httpx.Client) -> None:
        collection = some_collection()
        item = staged(alice, collection)
        files = station_files(platform)
        assert item["collection"] == f"alice_{collection}"
        assert item_faults(item) == []
        assert item["assets"].keys() == files.keys()
        store = s3(platform)
        for name, asset in item["assets"].items():
            bucket, _, key = asset["href"].removeprefix("s3://").partition("/")
            body = store.get_object(Bucket=bucket, Key=key)["Body"].read()
            assert body == files[name]
            assert asset["file:size"] == len(body)

    def test_the_job_tells_how_it_went(self, alice: httpx.Client) -> None:
        job = ended(alice, accepted(stage(alice, some_collection())))
        assert ogc_faults(job, "statusInfo") == []
        assert job["progress"] == 100
        assert job["bytes_done"] == job["bytes_total"] > 0
        assert job["files_done"] == job["files_total"] == 38
        assert job["owner"] == "alice"
        lines = [entry["line"] for entry in alice.get(f"/jobs/{job['jobID']}/log").json()]
        assert lines[-1] == job["message"]

    def test_staging_again_what_is_the_same_changes_nothing(self, alice: httpx.Client) -> None:
        collection = some_collection()
        first, second = staged(alice, collection), staged(alice, collection)
        assert second == first

    def test_a_station_that_goes_down_is_waited_for(self, slow_station: Any, alice: httpx.Client) -> None:
        slow_station.rs("station", "fault", "sgs", "--latency-s", "3")  # so that it goes down before the job ends
        collection = some_collection()
        job_id = accepted(stage(alice, collection))
        at_work(alice, job_id)
        slow_station.rs("station", "fault", "sgs", "--down")
        told = until(alice, job_id, lambda job: "station sgs: it a" in job.get("waiting", ""))  # answered 503, or asked
        assert told["status"] == "running"
        assert alice.get(f"/catalog/collections/alice_{collection}/items/{SESSION}").status_code == 404
        heal(slow_station, alice)
        assert ended(alice, job_id)["status"] == "successful"

    def test_whoever_watches_is_told_up_to_the_end(self, alice: httpx.Client) -> None:
        job_id = accepted(stage(alice, some_collection()))
        told: list[dict[str, Any]] = []
        with httpx_sse.connect_sse(alice, "GET", f"/jobs/{job_id}/events") as source:
            events = [event for event in source.iter_sse() if event.data]  # a ping reads as an event of nothing
        told = [event.json() for event in events]
        assert {event.event for event in events} == {"status"}
        assert [int(event.id) for event in events] == sorted({int(event.id) for event in events})
        assert told[-1] == alice.get(f"/jobs/{job_id}").json()
        assert (told[-1]["status"], told[-1]["files_done"]) == ("successful", 38)
        assert all(ogc_faults(status, "statusInfo") == [] for status in told)

    def test_whoever_was_told_of_the_end_need_not_come_back(self, alice: httpx.Client) -> None:
        """A browser comes back to events until it is answered 204, with the id of what it was told last."""
        job = ended(alice, accepted(stage(alice, some_collection())))
        path = f"/jobs/{job['jobID']}/events"
        last = alice.get(path, headers={"Last-Event-ID": "9" * 5000}).text.partition("\n")[0].removeprefix("id: ")
        assert alice.get(path, headers={"Last-Event-ID": last}).status_code == 204
        assert "successful" in alice.get(path, headers={"Last-Event-ID": str(int(last) - 1)}).text

    def test_an_item_that_is_there_is_a_conflict(self, alice: httpx.Client) -> None:
        collection = some_collection()
        item = staged(alice, collection)
        inputs = {"items": {"href": _via(item)}, "collection": collection, "existing": "fail"}
        job = ended(alice, accepted(alice.post("/processes/staging/execution", json={"inputs": inputs})))
        answer = alice.get(f"/jobs/{job['jobID']}/results")
        assert (job["status"], answer.status_code) == ("failed", 409)
        assert ogc_faults(answer.json(), "exception") == []

    def test_a_station_that_is_down_is_named_at_once(self, platform: Any, alice: httpx.Client) -> None:
        platform.rs("station", "fault", "sgs", "--down")
        try:
            answer = stage(alice, some_collection())
        finally:
            heal(platform, alice)
        assert (answer.status_code, answer.json()["station"]) == (503, "sgs")

    def test_a_killed_workers_job_is_finished_by_the_next(self, slow_station: Any, alice: httpx.Client) -> None:
        collection = some_collection()
        job_id = accepted(stage(alice, collection))
        at_work(alice, job_id)
        os.kill(worker_pid(slow_station), signal.SIGKILL)
        job = ended(alice, job_id)
        assert (job["status"], job["files_done"]) == ("successful", 38)
        item = alice.get(f"/catalog/collections/alice_{collection}/items/{SESSION}").json()
        sizes = {
            asset["href"].partition("//")[2].partition("/")[2]: asset["file:size"] for asset in item["assets"].values()
        }
        there = objects(slow_station, f"alice/{collection}/")
        assert {key: size for key, size in there.items() if key in sizes} == sizes
        assert there.keys() - sizes.keys() <= to_be_swept(slow_station)
        assert uploads(slow_station, f"alice/{collection}/") == []

    def test_a_dismissed_job_publishes_nothing(self, slow_station: Any, alice: httpx.Client) -> None:
        collection = some_collection()
        job_id = accepted(stage(alice, collection))
        at_work(alice, job_id)
        answer = alice.delete(f"/jobs/{job_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, "dismissed")
        assert ogc_faults(answer.json(), "statusInfo") == []
        time.sleep(2)
        before = objects(slow_station, f"alice/{collection}/")
        time.sleep(2)
        assert objects(slow_station, f"alice/{collection}/") == before
        assert uploads(slow_station, f"alice/{collection}/") == []
        assert alice.get(f"/catalog/collections/alice_{collection}/items/{SESSION}").status_code == 404
        assert alice.get(f"/jobs/{job_id}/results").status_code == 404
        assert alice.delete(f"/jobs/{job_id}").status_code == 200

    def test_one_key_makes_one_job(self, alice: httpx.Client) -> None:
        collection = some_collection()

        def ask(_: int) -> httpx.Response:
            return stage(alice, collection, **{"Idempotency-Key": collection})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(20)))
        assert len({accepted(answer) for answer in answers}) == 1
        other = stage(alice, some_collection(), **{"Idempotency-Key": collection})
        assert other.status_code == 409
        ended(alice, accepted(answers[0]))


class TestRights:
    def test_without_a_login(self, platform: Any) -> None:
        with httpx.Client(base_url=platform.url("rs-server"), trust_env=False) as nobody:
            for path in ("/processes", "/processes/staging", "/jobs", "/jobs/x", "/jobs/x/results"):
                assert nobody.get(path).status_code == 401
            assert nobody.post("/processes/staging/execution", json={}).status_code == 401

    def test_without_the_right_to_execute(self, bob: httpx.Client) -> None:
        answer = stage(bob, some_collection())
        assert answer.status_code == 403
        assert answer.json()["missing_role"] == "rs_processes_staging_execute"

    def test_processes_that_may_not_be_known(self, bob: httpx.Client, alice: httpx.Client) -> None:
        assert bob.get("/processes").json()["processes"] == []
        assert bob.get("/processes/staging").status_code == 404
        processors = {"s1-l0", "s1-echo", "quicklook", "safe-to-zarr"}
        assert {process["id"] for process in alice.get("/processes").json()["processes"]} == {"staging", *processors}

    def test_anothers_collection_may_not_be_written(self, alice: httpx.Client) -> None:
        answer = stage(alice, "bob:mine")
        assert answer.status_code == 403
        assert answer.json()["missing_role"] == "rs_catalog_bob:mine_write"

    def test_anothers_job_does_not_exist(self, alice: httpx.Client, bob: httpx.Client, operator: httpx.Client) -> None:
        job_id = accepted(stage(alice, some_collection()))
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/results", f"/jobs/{job_id}/log"):
            answer = bob.get(path)
            assert answer.status_code == 404
            assert answer.json()["type"].endswith("/no-such-job")
        assert bob.delete(f"/jobs/{job_id}").status_code == 404
        assert job_id not in [job["jobID"] for job in bob.get("/jobs").json()["jobs"]]
        assert bob.get("/jobs", params={"owner": "alice"}).json()["jobs"] == []
        assert operator.get(f"/jobs/{job_id}").json()["owner"] == "alice"
        assert job_id in [job["jobID"] for job in operator.get("/jobs", params={"owner": "alice"}).json()["jobs"]]
        ended(alice, job_id)

    def test_unknown_things_are_not_found(self, alice: httpx.Client) -> None:
        assert stage(alice, some_collection(), session=f"{SESSION}9").status_code == 404
        for job_id in ("x", "00000000-0000-0000-0000-000000000000"):
            answer = alice.get(f"/jobs/{job_id}")
            assert answer.status_code == 404
            assert ogc_faults(answer.json(), "exception") == []
        answer = alice.post("/processes/nothing/execution", json={"inputs": {}})
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("/no-such-process")

    @pytest.mark.parametrize(
        ("inputs", "named"),
        [
            ({"collection": "c"}, "inputs.items"),
            ({"items": [], "collection": "c"}, "inputs.items"),
            (
                {"items": [{"href": "https://elsewhere/cadip/collections/a/items/b"}], "collection": "c"},
                "inputs.items.0",
            ),
            ({"items": [{"href": "s3://rs-data/bob/x"}], "collection": "c"}, "inputs.items.0"),
            (
                {"items": [{"service": "cadip", "search": {"ids": ["\0"]}}], "collection": "c"},
                "inputs.items.0.search.ids.0: \\u0000 is no character",
            ),
        ],
    )
    def test_wrong_inputs_are_named(self, alice: httpx.Client, inputs: dict[str, Any], named: str) -> None:
        answer = alice.post("/processes/staging/execution", json={"inputs": inputs})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(named)


class TestStandard:
    def test_descriptions_are_valid(self, alice: httpx.Client) -> None:
        assert ogc_faults(alice.get("/processes").json(), "processList") == []
        for name in ("staging", "s1-l0"):
            assert ogc_faults(alice.get(f"/processes/{name}").json(), "process") == []

    def test_jobs_are_listed_by_pages_and_filters(self, alice: httpx.Client) -> None:
        made = [accepted(stage(alice, some_collection())) for _ in range(3)]
        for job_id in made:
            ended(alice, job_id)
        first = alice.get("/jobs", params={"limit": 2, "status": "successful"}).json()
        assert ogc_faults(first, "jobList") == []
        assert [job["jobID"] for job in first["jobs"]] == made[:0:-1]
        (after,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
        assert alice.get(after).json()["jobs"][0]["jobID"] == made[0]
        assert alice.get("/jobs", params={"processID": "nothing"}).json()["jobs"] == []
        assert alice.get("/jobs", params={"status": "strange"}).status_code == 400
        (mine,) = [link["href"] for link in first["links"] if link["rel"] == "self"]
        assert [job["jobID"] for job in alice.get(mine).json()["jobs"]] == made[:0:-1]
        forgotten = alice.get("/jobs", params={"after": str(uuid4())})
        assert (forgotten.status_code, forgotten.json()["detail"][:6]) == (400, "after:")

    def test_what_is_read_by_get_is_read_by_head(self, platform: Any, alice: httpx.Client) -> None:
        job_id = accepted(stage(alice, some_collection()))
        ended(alice, job_id)
        job = f"/jobs/{job_id}"
        staging = ("/processes/staging", "/processes/staging/state", "/processes/staging/subscriptions")
        for path in ("/", "/conformance", "/processes", *staging, "/jobs?limit=1", job, f"{job}/results", f"{job}/log"):
            head, get = alice.head(path), alice.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
            assert head.headers["content-length"] == str(len(get.content)) or "state" in path
        assert alice.head("/jobs/x").status_code == 404
        assert alice.head(f"{job}/events").status_code == alice.head("/processes/staging/execution").status_code == 405
        with httpx.Client(base_url=platform.url("rs-server"), trust_env=False) as nobody:
            assert nobody.head("/jobs").status_code == 401

    def test_processes_are_listed_by_pages(self, alice: httpx.Client) -> None:
        known = [process["id"] for process in alice.get("/processes").json()["processes"]]
        path, found = "/processes?limit=2", []
        while path:
            page = alice.get(path).json()
            assert ogc_faults(page, "processList") == []
            assert len(page["processes"]) <= 2
            found += [process["id"] for process in page["processes"]]
            path = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        assert found == known
        assert alice.get("/processes", params={"limit": 0}).status_code == 400

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("filter=platform='sentinel-1a'", 1),
            ("filter=platform='sentinel-9z'", 0),
            ('query={"platform":{"eq":"sentinel-1a"}}', 1),
            ("bbox=-180,-90,0,180,90,9", 0),  # a session lies nowhere
        ],
    )
    def test_a_search_of_the_catalog_finds_what_it_finds_there(
        self, alice: httpx.Client, query: str, found: int
    ) -> None:
        full = f"alice_{(collection := some_collection())}"
        ended(alice, accepted(stage(alice, collection)))
        address = f"/catalog/search?collections={full}&{query}"
        assert len(alice.get(address).json()["features"]) == found
        inputs = {"items": {"href": address}, "collection": some_collection()}
        job = ended(alice, accepted(alice.post("/processes/staging/execution", json={"inputs": inputs})))
        assert len(alice.get(f"/jobs/{job['jobID']}/results").json()["items"]) == found

    def test_a_search_that_the_catalog_cannot_read_is_refused(self, alice: httpx.Client) -> None:
        full = f"alice_{(collection := some_collection())}"
        ended(alice, accepted(stage(alice, collection)))
        search = {"collections": [full], "filter": {"op": "nonsense", "args": [1]}}
        body = {"inputs": {"items": {"service": "catalog", "search": search}, "collection": collection}}
        assert alice.post("/processes/staging/execution", json=body).status_code == 400
        order = {"service": "catalog", "search": search, "collection": collection}
        assert alice.post("/processes/staging/subscriptions", json=order).status_code == 400

    def test_a_standing_order_follows_the_sessions_that_it_finds(self, alice: httpx.Client) -> None:
        order = {"service": "cadip", "collection": some_collection(), "search": {"ids": ["none"]}}
        made = alice.post("/processes/staging/subscriptions", json=order)
        assert (made.status_code, made.json()["options"]["follow"]) == (201, True)
        again = alice.post("/processes/staging/subscriptions", json=order)
        assert (again.status_code, again.headers["location"]) == (200, made.headers["location"])
        assert alice.delete(made.headers["location"]).status_code == 204

    @pytest.mark.parametrize(
        "since", ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]
    )
    def test_a_standing_order_begins_in_our_time(self, alice: httpx.Client, since: str) -> None:
        order = {"service": "auxip", "collection": some_collection(), "since": since}
        answer = alice.post("/processes/staging/subscriptions", json=order)
        assert (answer.status_code, answer.json()["detail"][:10]) == (400, "body.since")


class TestState:
    def test_stations_that_may_not_be_read_are_not_told(self, platform: Any, values: dict[str, Any]) -> None:
        with calling(platform, stations=values["stations"]) as callers:
            callers.rows("INSERT INTO rs.stations (name) VALUES ('sgs') ON CONFLICT DO NOTHING RETURNING name")
            for role, told in (("cadip_sgs", True), ("cadip_mti", False), ("processes_*", True)):
                roles = {"rs_processes_staging_read", f"rs_{role}_read"}
                state = callers.ask("eve", "GET", "/processes/staging/state", roles=roles).json()
                assert ("sgs" in [each["name"] for each in state["stations"]]) is told


class TestProcessing:
    def test_what_may_not_be_read_does_not_exist(self, alice: httpx.Client, operator: httpx.Client) -> None:
        session = staged(alice, some_collection())
        hidden = {**session, "links": [{"rel": "self", "href": _self(session).replace("alice_", "bob_")}]}
        assert processing(alice, hidden, some_collection()).status_code == 404
        answer = processing(operator, session, some_collection())
        assert answer.status_code == 403
        assert answer.json()["missing_role"] == "rs_processes_s1-l0_execute"


def _self(item: dict[str, Any]) -> str:
    return str(next(link["href"] for link in item["links"] if link["rel"] == "self"))


def _via(item: dict[str, Any]) -> str:
    return str(next(link["href"] for link in item["links"] if link["rel"] == "via"))
