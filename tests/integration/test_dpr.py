"""Processing on a running installation: planned, prepared, run on a cluster, published whole or not at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

import rs_client
from rs_client.reproduce import reproduce
from rs_server.resources import open_resources
from rs_server.storage.credentials import Scope
from tests.faults.dpr_kills import (
    check_end,
    clusters,
    eventually,
    kill_once,
    open_keys,
    start,
    stored,
)
from tests.integration.jobs import SESSION, accepted, caller, ended, s3, settings, some_collection, staged
from tests.schemas import item_faults, ogc_faults

PRODUCT = f"{SESSION}_L0"
DISMISSED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "alice") as client:
        yield client


@pytest.fixture(scope="module")
def session(alice: httpx.Client) -> dict[str, Any]:
    """The demo session, staged."""
    return staged(alice, some_collection())


def address(item: dict[str, Any]) -> str:
    return str(next(link["href"] for link in item["links"] if link["rel"] == "self"))


def at_work(client: httpx.Client, job_id: str) -> None:
    """Wait until the processor runs, which it does for a second: what it says itself is heard twice in that time."""
    looks = iter(range(2400))
    while not any(line.startswith("processing ") for line in log(client, job_id)):
        job = client.get(f"/jobs/{job_id}").json()
        assert job["status"] in ("accepted", "running"), job["message"]
        assert next(looks, None) is not None, job["message"]
        time.sleep(0.05)
    time.sleep(0.3)


def publishing(client: httpx.Client, job_id: str) -> None:
    """Wait until the product is made, and to be published."""
    while not client.get(f"/jobs/{job_id}").json()["message"].startswith(("publishing", "made")):
        time.sleep(0.01)


def log(client: httpx.Client, job_id: str) -> list[str]:
    return [each["line"] for each in client.get(f"/jobs/{job_id}/log").json()]


def text(platform: Any, asset: dict[str, Any]) -> str:
    bucket, _, key = asset["href"].removeprefix("s3://").partition("/")
    return str(s3(platform).get_object(Bucket=bucket, Key=key)["Body"].read().decode())


class TestPlans:
    def test_processors_are_listed_with_their_task_tables(self, platform: Any, alice: httpx.Client) -> None:
        assert ogc_faults(alice.get("/dpr/processes").json(), "processList") == []
        described = alice.get("/dpr/processes/s1-l0").json()
        assert ogc_faults(described, "process") == []
        assert described["taskTable"]["inputs"]["cadu"]["role"] == "cadu"
        assert "cadu" in described["inputs"]
        assert alice.get("/dpr/processes/staging").status_code == 404
        with caller(platform, "bob") as bob:
            assert bob.get("/dpr/processes").json()["processes"] == []
            assert bob.get("/dpr/processes/s1-l0").status_code == 404
            for route in ("plan", "execution"):
                assert bob.post(f"/dpr/processes/s1-l0/{route}", json={"inputs": {}}).status_code == 403

    def test_a_plan_changes_nothing(self, alice: httpx.Client) -> None:
        before = alice.get("/jobs").json()["jobs"][:1]
        search = {"service": "cadip", "collections": ["s1-sgs"], "ids": [SESSION]}
        collection = some_collection()
        body = {"inputs": {"cadu": {"search": search}, "collection": collection, "workers": 1}}
        answer = alice.post("/dpr/processes/s1-l0/plan", json=body)
        assert answer.status_code == 200, answer.text
        plan = answer.json()
        ((read,), (made,)) = plan["steps"][0]["inputs"], plan["steps"][0]["outputs"]
        assert (read["id"], read["files"]) == (SESSION, 38)
        assert made == {"name": "l0", "id": PRODUCT, "product:type": "S1_L0", "collection": f"alice_{collection}"}
        assert plan["cluster"]["workers"] == 1
        assert plan["problems"] == []
        assert alice.get("/jobs").json()["jobs"][:1] == before
        assert alice.get(f"/catalog/collections/alice_{collection}").status_code == 404

    @pytest.mark.parametrize(
        ("inputs", "status", "named"),
        [
            ({}, 400, "inputs.cadu"),
            ({"cadu": {"search": {"ids": ["nothing"]}}}, 400, "inputs.cadu.0.search: nothing is found"),
            ({"cadu": {"search": {"service": "cadip", "filter": "nonsense = "}}}, 400, ""),
            ({"parameters": {"basis": "other"}}, 400, "inputs.parameters.basis"),
            ({"mode": "other"}, 400, "inputs.mode"),
            ({"strange": 1}, 400, "inputs.strange"),
        ],
    )
    def test_wrong_requests_are_named(
        self, alice: httpx.Client, inputs: dict[str, Any], status: int, named: str
    ) -> None:
        answer = alice.post("/dpr/processes/s1-l0/execution", json={"inputs": inputs})
        assert answer.status_code == status
        assert named in answer.json()["detail"]


class TestRuns:
    def test_from_the_station_to_a_product_and_again(self, platform: Any, alice: httpx.Client) -> None:
        """Staged first, processed, published with how it was made; made again, it is the same, array by array."""
        collection = some_collection()
        body = {
            "inputs": {"cadu": {"search": {"service": "cadip", "ids": [SESSION]}}, "collection": {"l0": collection}}
        }
        job = ended(alice, accepted(alice.post("/dpr/processes/s1-l0/execution", json=body)), within_s=300)
        assert job["status"] == "successful", job["message"]
        assert (job["progress"], job["files_done"], job["files_total"]) == (100, 38, 38)
        lines = log(alice, job["jobID"])
        assert any(line.startswith("Workflow progress: 100%") for line in lines)
        assert any("workers there" in line for line in lines)
        assert not any(settings(platform).storage.secret_key.get_secret_value() in line for line in lines)
        (link,) = alice.get(f"/jobs/{job['jobID']}/results").json()["items"]
        item = alice.get(link["href"]).json()
        assert item_faults(item) == []
        assert (item["collection"], item["properties"]["processing:level"]) == (f"alice_{collection}", "L0")
        self._told(platform, alice, job["jobID"], item)
        assert clusters(platform) == []
        assert open_keys(platform, job["jobID"]) == 0
        self._made_again(platform, f"alice_{collection}")

    def _told(self, platform: Any, alice: httpx.Client, job_id: str, item: dict[str, Any]) -> None:
        """The plan, the payload and the reports say how the product was made."""
        plan = alice.get(f"/dpr/jobs/{job_id}/plan").json()
        (payload,) = alice.get(f"/dpr/jobs/{job_id}/payloads").json()["payloads"]
        assert payload["workflow"][0]["name"] == "s1-l0"
        told = json.loads(text(platform, item["assets"]["provenance"]))
        assert told["payload"] == payload
        assert told["job"] == job_id
        (source,) = told["inputs"]
        assert source["href"] == plan["steps"][0]["inputs"][0]["href"]
        origin = alice.get(source["href"]).json()
        derived = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
        assert derived == [source["href"]]
        assert item["properties"]["eopf:origin_datetime"] == origin["properties"]["eopf:origin_datetime"]
        told_checksums = {asset.get("file:checksum") for asset in origin["assets"].values()}
        assert {file["checksum"] for file in source["files"]} == told_checksums
        assert all(file["etag"] for file in source["files"])
        assert len(told["environment"]["lock"]) == len(told["environment"]["installed"]) == 64
        report = json.loads(text(platform, item["assets"]["report"]))
        assert report["report"]["units"][0]["identifier"] == "s1-l0"
        assert report["quality"]["input_octets"] == plan["bytes_to_read"]
        station = report["quality"]["station"]  # its QualityInfo, channel by channel
        assert (station["agrees"], sorted(station["channels"])) == (True, ["1", "2"])
        assert "Workflow progress: 100%" in text(platform, item["assets"]["log"])

    def _made_again(self, platform: Any, collection: str) -> None:
        environment = platform.env("alice")
        from rs_client.auth import ApiKey

        with rs_client.connect(environment["RS_SERVER_URL"], auth=ApiKey(environment["RS_API_KEY"])) as session:
            first = next(iter(session.catalog.search(collections=[collection], ids=[PRODUCT]).items()))
            again = reproduce(session, first, to=some_collection())
        assert again.same, repr(again)
        assert again.environment == ()
        assert again.comparison.arrays > 10

    def test_a_dismissed_job_stops_within_seconds_and_leaves_nothing(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        collection = some_collection()
        job_id = start(alice, session, collection)
        at_work(alice, job_id)
        assert len(clusters(platform)) == 1
        begin = time.monotonic()
        assert alice.delete(f"/jobs/{job_id}").json()["status"] == "dismissed"
        assert eventually(lambda: open_keys(platform, job_id) == 0, DISMISSED_WITHIN_S)
        assert eventually(lambda: clusters(platform) == [], max(0, begin + DISMISSED_WITHIN_S - time.monotonic()))
        assert eventually(lambda: stored(platform, f"alice/{collection}/") == {}, 5)
        assert alice.get(f"/catalog/collections/alice_{collection}/items/{PRODUCT}").status_code == 404

    def test_a_killed_worker_leaves_no_cluster_and_no_half_product(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        killed = kill_once(platform, alice, session, partial(at_work, alice))
        assert killed.status == "successful", killed.message
        assert eventually(lambda: clusters(platform) == [], 30)

    def test_what_is_dismissed_while_no_worker_lives_is_swept(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        killed = kill_once(platform, alice, session, partial(at_work, alice), dismissed=True)
        assert killed.status == "dismissed", killed.message
        assert eventually(lambda: clusters(platform) == [], 90)

    def test_what_is_dismissed_while_it_is_published_is_whole_or_swept(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        killed = kill_once(platform, alice, session, partial(publishing, alice), dismissed=True)
        assert killed.status in ("dismissed", "successful"), killed.message

    def test_a_key_that_its_maker_did_not_live_to_use_is_swept(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        job_id = start(alice, session, some_collection())
        assert alice.delete(f"/jobs/{job_id}").status_code == 200

        async def issue() -> None:
            async with open_resources(settings(platform)) as opened:
                await opened.credentials.issue("alice", f"job {job_id}", Scope(read=(), write=("alice/none/",)))

        asyncio.run(issue())
        assert open_keys(platform, job_id) == 1
        assert eventually(lambda: open_keys(platform, job_id) == 0, 90)

    def test_a_failing_unit_says_what_failed_on_what_and_what_to_do(
        self, platform: Any, alice: httpx.Client, session: dict[str, Any]
    ) -> None:
        inputs = some_collection()
        broken = staged(alice, inputs)
        name, asset = next(iter(broken["assets"].items()))
        s3(platform).put_object(
            Bucket=settings(platform).storage.bucket,
            Key=asset["href"].removeprefix("s3://").partition("/")[2],
            Body=b"short",
        )
        collection = some_collection()
        job = ended(alice, start(alice, broken, collection), within_s=240)
        assert job["status"] == "failed"
        problem = alice.get(f"/jobs/{job['jobID']}/results").json()
        assert (problem["unit"], problem["input"]) == ("s1-l0", asset["href"])
        assert name in problem["detail"]
        assert "stage it again" in problem["hint"]
        assert "Traceback" not in problem["detail"]
        assert len(problem["detail"]) < 700
        check_end(platform, alice, job, collection)
        assert clusters(platform) == []


def test_staging_asked_for_by_a_job_ends_with_it(platform: Any, alice: httpx.Client) -> None:
    platform.rs("station", "fault", "sgs", "--latency-s", "0.5")
    try:
        body = {"inputs": {"cadu": {"search": {"service": "cadip", "ids": [SESSION]}}}}
        _forget_copies(alice)
        job_id = accepted(alice.post("/dpr/processes/s1-l0/execution", json=body))
        assert eventually(lambda: _staging_of(alice, job_id) is not None, 30)
        child = _staging_of(alice, job_id)
        assert alice.delete(f"/jobs/{job_id}").status_code == 200
        assert alice.get(f"/jobs/{child}").json()["status"] == "dismissed"
    finally:
        platform.rs("station", "heal", "sgs")


def _staging_of(client: httpx.Client, job_id: str) -> str | None:
    lines = [line for line in log(client, job_id) if line.startswith("waiting for the staging of")]
    return lines[0].rpartition(" ")[2] if lines else None


def _forget_copies(client: httpx.Client) -> None:
    """Take every staged copy of the session out of the catalog."""
    found = client.post("/catalog/search", json={"ids": [SESSION], "limit": 100}).json()["features"]
    for item in found:
        client.delete(address(item))
