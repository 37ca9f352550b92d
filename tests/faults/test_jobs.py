"""What callers do at the same time, and what they take back; and what is asked for once and for all."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from uuid import uuid4

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rs_server.processes.queue import SCHEMA
from tests.faults.conftest import LONG
from tests.faults.lab import Lab, eventually, some_collection


def test_twenty_submits_at_once_are_one_job(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-12-02T10:00:00Z")
    inputs = {"items": {"href": f"/cadip/collections/sessions/items/{session}"}, "collection": some_collection()}
    key = uuid4().hex
    with ThreadPoolExecutor(20) as pool:
        jobs = set(pool.map(lambda _: lab.submit(inputs, **{"Idempotency-Key": key}), range(20)))
    assert len(jobs) == 1
    assert lab.ended(jobs.pop())["status"] == "successful"


def test_a_job_that_the_queue_has_forgotten_is_worked_all_the_same(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-12-02T11:00:00Z")
    lab.kill("worker")
    job = lab.stage("sgs", [session])
    with psycopg.connect(lab.values["database"]["dsn"], options=f"-c search_path={SCHEMA}") as conn:
        assert conn.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = %s", [job]).rowcount == 1
    lab.start_worker()
    assert lab.ended(job, within_s=20)["status"] == "successful"


def test_a_dismissed_job_stops_within_two_seconds_and_leaves_nothing(lab: Lab) -> None:
    """Several of them side by side, each dismissed at another moment of its work."""
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 3_000_000})
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_dismissed, lab), (0.0, 0.3, 0.8, 1.5)))


def _dismissed(lab: Lab, after_s: float) -> None:
    session = lab.stations["sgs"].add_session(f"2024-12-03T10:00:{int(after_s * 10):02}Z")
    collection = some_collection()
    job = lab.stage("sgs", [session], collection)
    time.sleep(after_s)
    with lab.api as api:
        assert api.delete(f"/jobs/{job}").json()["status"] == "dismissed"
    time.sleep(2)
    sent = _sent(lab, session)
    time.sleep(1)
    assert _sent(lab, session) == sent
    assert lab.items(collection) == {}
    lab.check_swept(collection)


def _sent(lab: Lab, session: str) -> int:
    """Bytes of the files of a session that its station has sent."""
    records = lab.stations["sgs"].tell("GET", "requests?operation=download")
    return sum(record["sent"] for record in records if session in record["target"])


def test_a_small_job_is_not_kept_waiting_by_a_big_one(lab: Lab) -> None:
    """Both are of one user: between her jobs, the one with fewer connections comes first."""
    big = [lab.stations["sgs"].add_session(f"2024-12-04T10:00:{second:02}Z", chunks=4) for second in range(4)]
    small = lab.stations["sgs"].add_session("2024-12-04T11:00:00Z", chunks=1)
    lab.stations["sgs"].fault({"requests": "download", "bytes_per_s": 6_000_000})
    first = lab.stage("sgs", big)
    lab.await_progress(first)
    second = lab.stage("sgs", [small])
    assert lab.ended(second)["status"] == "successful"
    assert lab.job(first)["status"] == "running"
    lab.stations["sgs"].fault()
    assert lab.ended(first)["status"] == "successful"


@pytest.mark.skipif(not LONG, reason="in the long form; the turns of a plan are tested with its steps")
def test_jobs_that_are_planned_for_long_keep_no_other_waiting(lab: Lab) -> None:
    """More of them than a worker works at a time, at a station that takes a second for each of a hundred items."""
    station = lab.stations["adgs"]
    station.tell("POST", "publish", {"count": 100, "late_s": 7200})  # before what other tests look for
    found = lab.get("/auxip/search?limit=100")["features"]
    assert len(found) == 100
    session = lab.stations["sgs"].add_session("2024-12-04T12:00:00Z", chunks=1)
    station.fault({"requests": "query", "latency_s": 1})
    planned = [lab.stage("adgs", [each["id"] for each in found]) for _ in range(5)]
    eventually("all slots plan", lambda: all(lab.job(job)["status"] == "running" for job in planned[:4]))
    begin = time.monotonic()
    assert lab.ended(lab.stage("sgs", [session]))["status"] == "successful"
    assert time.monotonic() - begin < 15
    assert {lab.job(job)["status"] for job in planned} <= {"accepted", "running"}
    station.fault()
    for job in planned:
        assert lab.ended(job)["message"].endswith("100 published")


def test_a_standing_order_stages_each_new_item_once(lab: Lab, dice: Random) -> None:
    station, collection = lab.stations["adgs"], some_collection()
    since = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    wanted = {"service": "auxip", "search": {"collections": ["aux"]}, "collection": collection, "since": since}
    with lab.api as api:
        made = api.post("/processes/staging/subscriptions", json=wanted)
        assert made.status_code == 201, made.text
        order = made.json()["id"]
        for number in range(3):
            station.tell("POST", "publish", {"count": 4, "late_s": 60 if number == 1 else 0})
            if number == 1:
                time.sleep(dice.uniform(0, 1.5))
                lab.kill("worker")
                lab.start_worker()
            time.sleep(1)
        eventually("all of them are there", lambda: len(list(lab.every_item(collection))) == 12)
        time.sleep(2)
        assert len(list(lab.every_item(collection))) == 12
        seen = lab.rows(
            "SELECT count(*), count(DISTINCT job) FROM rs.subscription_items WHERE subscription = %s", order
        )
        told = api.get(f"/processes/staging/subscriptions/{order}").json()
        assert (told["items"], told["jobs"]) == seen[0]
        assert api.delete(f"/processes/staging/subscriptions/{order}").status_code == 204
        station.tell("POST", "publish", {"count": 2})
        time.sleep(2)
        assert len(list(lab.every_item(collection))) == 12
    staged = lab.rows(
        "SELECT i.item, count(*) FROM rs.staging_items i JOIN rs.subscription_items s ON s.job = i.job "
        "AND s.item = i.item WHERE s.subscription = %s GROUP BY i.item HAVING count(*) > 1",
        order,
    )
    assert staged == []


def test_a_standing_order_begins_with_the_second_in_which_it_is_given(lab: Lab) -> None:
    """Some stations date by whole seconds: what they publish next would be before it."""
    with lab.api as api:
        wanted = {"service": "auxip", "search": {"collections": ["aux"]}, "collection": some_collection()}
        order = api.post("/processes/staging/subscriptions", json=wanted).json()
        assert datetime.fromisoformat(order["since"]).microsecond == 0
        assert api.delete(f"/processes/staging/subscriptions/{order['id']}").status_code == 204


def test_an_item_that_is_there_is_skipped_replaced_or_failed(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-12-05T10:00:00Z")
    collection = some_collection()
    assert lab.ended(lab.stage("sgs", [session], collection))["message"].endswith("1 published")
    before = lab.items(collection)
    for existing, status in (("skip", "successful"), ("replace", "successful"), ("fail", "failed")):
        job = lab.stage("sgs", [session], collection, existing=existing)
        assert lab.ended(job)["status"] == status
        assert lab.items(collection) == before


def test_items_of_the_catalog_are_copied_inside_the_storage(lab: Lab) -> None:
    session = lab.stations["sgs"].add_session("2024-12-06T10:00:00Z")
    first, second = some_collection(), some_collection()
    lab.ended(lab.stage("sgs", [session], first))
    lab.stations["sgs"].tell("DELETE", "requests")
    job = lab.submit({"items": {"href": f"/catalog/search?collections={first}"}, "collection": second})
    assert lab.ended(job)["status"] == "successful"
    (item,) = lab.items(second).values()
    lab.check_item("sgs", item)
    assert item["assets"]
    assert not {asset["href"] for asset in item["assets"].values()} & {
        asset["href"] for asset in lab.items(first)[session]["assets"].values()
    }


def test_one_trace_from_the_request_to_the_catalog(lab: Lab) -> None:
    with _collector() as (url, spans):
        lab.write(telemetry={"collector": url})
        lab.restart("server", "worker")
        session = lab.stations["sgs"].add_session("2024-12-07T10:00:00Z")
        trace = f"{uuid4().hex}"
        inputs = {"items": {"href": f"/cadip/collections/sessions/items/{session}"}, "collection": some_collection()}
        job = lab.submit(inputs, traceparent=f"00-{trace}-{'ab' * 8}-01")
        assert lab.ended(job)["status"] == "successful"
        wanted = {
            *("POST processes", "step staging", "transfer", "station download", "storage part", "storage object"),
            "catalog publish",
        }
        eventually("the whole trace", lambda: wanted <= {name for name, of in spans if of == trace}, 20)
        lab.write(telemetry={})
        lab.restart("server", "worker")


@contextmanager
def _collector() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """An OTLP collector on a free port: its address, and the spans it was sent, with their traces."""
    spans: list[tuple[str, str]] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if packed else body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend((span.name, span.trace_id.hex()) for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
        server.shutdown()


def test_the_metrics_tell_how_it_goes(lab: Lab) -> None:
    with lab.api as api:
        text = api.get("/metrics").text
        state = api.get("/processes/staging/state").json()
    assert "\ndb_pool_in_use " in text
    counters = lab.counters()
    assert "\ndb_pool_in_use " in counters
    for name in ("station_requests_total", "station_bytes_total", "station_circuit_state", "s3_errors_total"):
        assert f"\n# TYPE {name} " in counters
    for name in ("staging_jobs", "staging_files_total", "staging_bytes_total", "staging_oldest_pending_seconds"):
        assert f"\n{name}" in text
    assert 'staging_files_total{outcome="done",station="sgs"}' in text
    assert state["workers"] >= 1
    assert state["jobs"] == []
