"""Faults over real connections: what a client sees, what the log says, and that the same seed does the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from rs_server.simulators.app import TOKEN_PATH
from rs_server.simulators.faults import Fault, Faults, Operation
from rs_server.simulators.requestlog import RequestLog, covered
from rs_server.simulators.serving import running
from tests.unit.simulators.conftest import ADMIN, FORM, settings

ROOT = "/odata/v1"
FILE = "228b97bc-aa04-4036-8450-3106bc7684bb"
NAME = "DCS_04_S1A_20241114143038056552_ch2_DSDB_00001.raw"
VALUE = f"{ROOT}/Files({FILE})/$value"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(settings("cadip")) as found:
        yield found


@pytest.fixture
def station(address: str) -> Iterator[httpx.Client]:
    """A client with a token, and the station without faults and with an empty log."""
    with httpx.Client(base_url=address, timeout=10, trust_env=False) as client:
        for path in ("faults", "requests"):
            client.delete(f"/admin/{path}", headers=ADMIN).raise_for_status()
        login(client)
        yield client


def login(client: httpx.Client) -> None:
    answer = client.post(TOKEN_PATH, data=FORM).raise_for_status()
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def fault(station: httpx.Client, **given: Any) -> None:
    station.post("/admin/faults", json=given, headers=ADMIN).raise_for_status()


def downloads(station: httpx.Client) -> Any:
    return station.get("/admin/downloads", headers=ADMIN).raise_for_status().json()


def last_request(station: httpx.Client) -> Any:
    """The record of the last download; it is complete a moment after the client has its answer."""
    time.sleep(0.05)
    return station.get("/admin/requests?operation=download", headers=ADMIN).raise_for_status().json()[-1]


def received(station: httpx.Client, path: str = VALUE, **headers: str) -> tuple[bytes, Exception | None]:
    """What arrived before the connection broke, and how it broke."""
    got = bytearray()
    try:
        with station.stream("GET", path, headers=headers) as answer:
            answer.raise_for_status()
            for piece in answer.iter_raw():
                got += piece
    except (httpx.TransportError, httpx.HTTPStatusError) as broken:
        return bytes(got), broken
    return bytes(got), None


@pytest.fixture
def whole(station: httpx.Client) -> bytes:
    content = station.get(VALUE).raise_for_status().content
    station.delete("/admin/requests", headers=ADMIN)
    return content


# --- what a client sees -----------------------------------------------------------------------------------------------


def test_a_reset_comes_at_its_octet(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", reset_at=50_000, times=1)
    got, broken = received(station)
    assert isinstance(broken, httpx.ReadError)
    assert got == whole[:50_000]
    record = last_request(station)
    assert (record["status"], record["sent"], record["whole"], record["faults"]) == (200, 50_000, False, ["fault-1"])
    assert received(station) == (whole, None)


def test_a_short_read_ends_in_order(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", short_at=1234)
    got, broken = received(station)
    assert isinstance(broken, httpx.RemoteProtocolError)
    assert got == whole[:1234]


def test_a_flipped_bit_is_one(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", flip_at=4321)
    got, broken = received(station)
    assert broken is None
    different = [place for place, (a, b) in enumerate(zip(got, whole, strict=True)) if a != b]
    assert different == [4321]
    assert (got[4321] ^ whole[4321]).bit_count() == 1


@pytest.mark.parametrize("delta", [-100, 100])
def test_a_wrong_length(station: httpx.Client, whole: bytes, delta: int) -> None:
    fault(station, requests="download", length_delta=delta)
    assert int(station.head(VALUE).headers["content-length"]) == len(whole) + delta
    got, broken = received(station)
    assert got == whole[: len(whole) + min(0, delta)]
    assert (broken is None) is (delta < 0)


def test_an_ignored_range(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", ignore_range=True)
    answer = station.get(VALUE, headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.content) == (200, whole)


def test_a_stall_and_a_slow_answer(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", stall_at=7, stall_s=0.2, times=1)
    began = time.monotonic()
    assert received(station) == (whole, None)
    assert time.monotonic() - began >= 0.2
    fault(station, requests="download", stall_at=7, stall_s=60)
    with httpx.Client(base_url=station.base_url, headers=station.headers, timeout=0.2, trust_env=False) as hasty:
        got, broken = received(hasty)
    assert (got, type(broken)) == (whole[:7], httpx.ReadTimeout)


def test_bandwidth(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", bytes_per_s=len(whole) * 4)
    began = time.monotonic()
    assert received(station) == (whole, None)
    assert 0.2 < time.monotonic() - began < 2


def test_a_page_for_people(station: httpx.Client) -> None:
    fault(station, html=True)
    for path in (VALUE, f"{ROOT}/Files"):
        answer = station.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(("status", "given", "expected"), [(429, 2, "2"), (503, None, "5"), (500, None, None)])
def test_a_status(station: httpx.Client, status: int, given: int | None, expected: str | None) -> None:
    fault(station, requests="download", status=status, retry_after_s=given, times=1)
    answer = station.get(VALUE)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, expected)
    assert answer.json()["error"]["message"] == "a fault was set for this station"
    assert station.get(VALUE).status_code == 200


def test_a_token_dies_in_the_middle(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", revoke_tokens=True, reset_at=60_000, times=1)
    got, broken = received(station)
    assert isinstance(broken, httpx.ReadError)
    rest = {"Range": f"bytes={len(got)}-"}
    assert station.get(VALUE, headers=rest).status_code == 401
    login(station)
    assert got + station.get(VALUE, headers=rest).content == whole


def test_redirects_that_want_the_token_again(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", redirect="resend")
    answer = station.get(VALUE)
    target = answer.headers["location"]
    assert answer.status_code == 307
    assert httpx.URL(target).host == "localhost" != station.base_url.host
    assert httpx.get(target, trust_env=False).status_code == 401
    headers = {"Authorization": station.headers["Authorization"], "Range": "bytes=10-"}
    assert httpx.get(target, headers=headers, trust_env=False).content == whole[10:]


def test_redirects_that_refuse_the_token(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", redirect="presigned", redirect_status=302)
    target = station.get(VALUE).headers["location"]
    assert "X-Amz-Credential=" in target
    refused = httpx.get(target, headers={"Authorization": station.headers["Authorization"]}, trust_env=False)
    assert refused.status_code == 400
    assert httpx.get(target.replace("Signature=", "Signature=0"), trust_env=False).status_code == 403
    answer = httpx.get(target, headers={"Range": "bytes=-5"}, trust_env=False)
    assert (answer.status_code, answer.content) == (206, whole[-5:])
    assert "X-Amz" not in station.get("/admin/requests", headers=ADMIN).text


def test_redirects_without_end_and_elsewhere(station: httpx.Client) -> None:
    fault(station, requests="download", redirect="loop", times=50)
    with pytest.raises(httpx.TooManyRedirects):
        station.get(VALUE, follow_redirects=True)
    station.delete("/admin/faults", headers=ADMIN)
    fault(station, requests="download", redirect="http://elsewhere.invalid/x")
    assert station.get(VALUE).headers["location"] == "http://elsewhere.invalid/x"


def test_quotas() -> None:
    # Slow enough that the first download still runs when the second is asked for.
    quotas = {"parallel_downloads": 1, "total_downloads": 2, "status": 403, "bytes_per_s": 1_000_000}
    with other_station({"quotas": quotas}) as client:
        with client.stream("GET", VALUE) as first:
            first.raise_for_status()
            refused = client.get(VALUE)
            assert refused.status_code == 403
            assert refused.json()["error"]["message"].startswith("User quota exceeded: parallel downloads")
            first.read()
        time.sleep(0.05)
        assert client.get(VALUE).status_code == 200
        time.sleep(0.05)
        assert "downloads, of which 2" in client.get(VALUE).json()["error"]["message"]


@contextmanager
def other_station(scenario: dict[str, Any], **changes: Any) -> Iterator[httpx.Client]:
    with (
        running(settings("cadip", scenario=scenario, **changes)) as found,
        httpx.Client(base_url=found, timeout=10, trust_env=False) as client,
    ):
        login(client)
        yield client


# --- what queries show ------------------------------------------------------------------------------------------------


def query(station: httpx.Client, path: str = "Files", **options: str) -> Any:
    answer = station.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
    return answer.raise_for_status().json()


def test_wrong_sizes_and_text_for_numbers(station: httpx.Client) -> None:
    right = query(station, "Sessions", expand="Files")["value"][0]
    fault(station, requests="query", size_delta=3, string_integers=True)
    wrong = query(station, "Sessions", expand="Files")["value"][0]
    assert [file["Size"] for file in wrong["Files"]] == [str(file["Size"] + 3) for file in right["Files"]]
    assert (wrong["NumChannels"], wrong["Retransfer"]) == ("2", False)


def test_lists_rows_and_options(station: httpx.Client) -> None:
    fault(station, requests="query", bare_list=True, duplicate_rows=2, ignore=["$filter"])
    rows = query(station, filter="Channel eq 5", top="10")
    assert len(rows) == 12
    assert rows[:2] == rows[10:]


@pytest.mark.parametrize(
    ("feature", "options"),
    [
        ("expand", {"expand": "QualityInfo"}),
        ("select", {"expand": "Files($select=Name)"}),
        ("orderby", {"expand": "Files($orderby=Name)"}),
        ("in", {"filter": "not (Satellite in ('S1A'))"}),
        ("or", {"filter": "Satellite eq 'a' or Satellite eq 'b'"}),
        ("bool", {"filter": "true"}),
        ("contains", {"filter": "startswith(SessionId,'S1A') and true"}),
    ],
)
def test_what_a_station_does_not_know(station: httpx.Client, feature: str, options: dict[str, str]) -> None:
    query(station, "Sessions", **options)
    fault(station, requests="query", refuse=[feature])
    answer = station.get(f"{ROOT}/Sessions", params={f"${name}": value for name, value in options.items()})
    assert answer.status_code == 501
    query(station, "Sessions")


def test_files_go_between_list_and_get() -> None:
    with other_station({"faults": [{"requests": "query", "name": "Files", "evict": True}]}) as client:
        files = query(client, top="2", orderby="Name")["value"]
        for file in files:
            answer = client.get(f"{ROOT}/Files({file['Id']})/$value")
            assert answer.status_code == 410
            assert client.get(f"{ROOT}/Files({file['Id']})").status_code == 404
        assert query(client, "Files", count="true", top="0")["@odata.count"] == 36
        fault(client, requests="download", evict=True)
        assert client.get(VALUE).status_code == 410
        gone = client.post("/admin/evictions", json={"name": "*_ch2_*"}, headers=ADMIN).json()
        assert gone == {"evicted": 18}  # of 19, one of which was gone


def test_rows_come_in_while_a_client_pages() -> None:
    with other_station(
        {"faults": [{"requests": "query", "name": "Sessions", "insert_rows": 2, "insert_late_s": 86400}]}
    ) as client:
        counts = [query(client, "Sessions", count="true")["@odata.count"] for _ in range(3)]
        assert counts == [1, 3, 5]
        session = query(client, "Sessions", orderby="PublicationDate desc", top="1", expand="Files")["value"][0]
        age = time.time() - time.mktime(time.strptime(session["PublicationDate"][:19], "%Y-%m-%dT%H:%M:%S"))
        assert 86_000 < age + time.timezone < 87_000
        assert client.get(f"{ROOT}/Files({session['Files'][0]['Id']})/$value").status_code == 200


# --- which requests, and how often ------------------------------------------------------------------------------------


def struck(faults: Faults, count: int, target: str = "a", operation: Operation = Operation.DOWNLOAD) -> list[bool]:
    return [bool(faults.strike(operation, target).ids) for _ in range(count)]


def test_skipping_counting_and_each_file_by_itself() -> None:
    assert struck(Faults(1, [Fault(status=500, skip=2, times=2)]), 6) == [False, False, True, True, False, False]
    each = Faults(1, [Fault(status=500, times=1, each=True)])
    assert struck(each, 2, "a") == struck(each, 2, "b") == [True, False]
    named = Faults(1, [Fault(status=500, requests="download", name="*_ch1_*")])
    assert struck(named, 1, "x_ch1_y") == [True]
    assert struck(named, 1, "x_ch2_y") == struck(named, 1, "x_ch1_y", Operation.QUERY) == [False]
    (shown,) = named.shown()["faults"]
    assert (shown["met"], shown["struck"], shown["requests"]) == (1, 1, ["download"])


def test_luck_follows_from_the_seed_and_not_from_who_comes_first() -> None:
    def outcome(seed: int, order: str) -> dict[str, list[bool]]:
        faults, found = Faults(seed, [Fault(reset_at=(0, 999), chance=0.5)]), dict[str, list[bool]]()
        for target in order:
            found.setdefault(target, []).append(bool(faults.strike(Operation.DOWNLOAD, target).ids))
        return found

    assert outcome(1, "abab" * 20) == outcome(1, "a" * 40 + "b" * 40)
    assert outcome(1, "a" * 80) != outcome(2, "a" * 80)
    assert 20 < sum(outcome(1, "a" * 80)["a"]) < 60


def test_the_token_endpoint_is_spared_unless_it_is_meant() -> None:
    assert struck(Faults(1, [Fault(status=500)]), 1, "", Operation.TOKEN) == [False]
    assert struck(Faults(1, [Fault.model_validate({"down": True})]), 1, "", Operation.TOKEN) == [True]
    assert struck(Faults(1, [Fault.model_validate({"requests": "any", "status": 500})]), 1, "", Operation.TOKEN) == [
        True
    ]


@pytest.mark.parametrize(
    "given", [{}, {"requests": "download"}, {"redirect": "sideways"}, {"skip": 1}, {"retry_after_s": 3}]
)
def test_a_fault_that_does_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(given)


def test_one_fault_is_healed_by_its_name(station: httpx.Client) -> None:
    fault(station, status=500)
    fault(station, requests="token", status=503)
    assert station.delete("/admin/faults/fault-1", headers=ADMIN).status_code == 204
    assert station.delete("/admin/faults/fault-1", headers=ADMIN).status_code == 404
    assert station.get(VALUE).status_code == 200
    assert station.post(TOKEN_PATH, data=FORM).status_code == 503


# --- the log ----------------------------------------------------------------------------------------------------------


def test_what_was_sent_again(station: httpx.Client, whole: bytes) -> None:
    fault(station, requests="download", short_at=1000, times=1)
    received(station)
    received(station, Range="bytes=900-")
    time.sleep(0.05)
    (one,) = downloads(station)
    size = len(whole)
    expected = {"name": NAME, "size": size, "requests": 2, "sent": size + 100, "again": 100, "after_whole": 0}
    assert one == expected
    received(station, Range="bytes=0-9")
    time.sleep(0.05)
    assert downloads(station) == [{**expected, "requests": 3, "sent": size + 110, "again": 110, "after_whole": 1}]


def test_answers_without_octets_are_no_second_download() -> None:
    log = RequestLog()
    for status, sent in ((200, 10), (401, 30), (416, 0)):
        record = log.open(Operation.DOWNLOAD, "GET", "/x", target="a", size=10)
        record.status, record.sent = status, sent
    (one,) = log.downloads()
    assert (one.requests, one.sent, one.again, one.after_whole) == (3, 10, 0, 0)


@pytest.mark.parametrize(
    ("spans", "expected"), [([], 0), ([(0, 5), (3, 8)], 8), ([(5, 9), (0, 2)], 6), ([(0, 9), (2, 3)], 9)]
)
def test_covered(spans: list[tuple[int, int]], expected: int) -> None:
    assert covered(spans) == expected
