"""Every fault there is, given in the words of `rs station fault` and in a scenario, and seen over a real connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
import yaml

from rs_platform.stations import _assignments
from rs_server.simulators.app import TOKEN_PATH
from rs_server.simulators.faults import EFFECTS
from rs_server.simulators.scenario import Scenario
from rs_server.simulators.serving import running
from tests.unit.simulators.conftest import ADMIN, FORM, settings

ROOT = "/odata/v1"

type Seen = Callable[[httpx.Client], bool]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        running(settings("auxip")) as address,
        httpx.Client(base_url=address, timeout=10, trust_env=False) as opened,
    ):
        yield opened


@pytest.fixture
def station(client: httpx.Client) -> httpx.Client:
    client.put("/admin/scenario", json={}, headers=ADMIN).raise_for_status()
    log_in(client)
    return client


def log_in(client: httpx.Client) -> None:
    answer = client.post(TOKEN_PATH, data=FORM).raise_for_status()
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


# --- what a client sees of each ---------------------------------------------------------------------------------------


def products(client: httpx.Client, **options: str) -> Any:
    given = {"orderby": "ContentLength desc", "top": "3", **options}
    answer = client.get(f"{ROOT}/Products", params={f"${name}": value for name, value in given.items()})
    return answer.raise_for_status().json()


def value_of(client: httpx.Client, which: str = "desc") -> str:
    """The path of the largest file's bytes, or of the smallest."""
    (found,) = products(client, top="1", select="Id", orderby=f"ContentLength {which}")["value"]
    return f"{ROOT}/Products({found['Id']})/$value"


def status(expected: int, header: str = "", value: str = "") -> Seen:
    def seen(client: httpx.Client) -> bool:
        answer = client.get(f"{ROOT}/Products")
        return answer.status_code == expected and (not header or answer.headers[header] == value)

    return seen


def whole_for_a_range(client: httpx.Client) -> bool:
    return client.get(value_of(client), headers={"Range": "bytes=1-2"}).status_code == 200


def slow(least_s: float) -> Seen:
    def seen(client: httpx.Client) -> bool:
        begin = time.monotonic()
        client.get(value_of(client)).raise_for_status()
        return time.monotonic() - begin >= least_s

    return seen


def breaks(kind: type[httpx.HTTPError]) -> Seen:
    def seen(client: httpx.Client) -> bool:
        with pytest.raises(kind):
            client.get(value_of(client), timeout=0.15)
        return True

    return seen


def other_bytes(client: httpx.Client) -> bool:
    path = value_of(client)
    wrong, right = client.get(path).content, client.get(path).content
    return len(wrong) == len(right) and sum(a != b for a, b in zip(wrong, right, strict=True)) == 1


def cut_short(client: httpx.Client) -> bool:
    path = value_of(client)
    return len(client.get(path).content) == len(client.get(path).content) - 10


def token_dies(client: httpx.Client) -> bool:
    path = value_of(client)
    log_in(client)  # what this asks for is what a fault of the token endpoint spoils
    client.get(path)
    return client.get(path).status_code == 401


def token_endpoint_down(client: httpx.Client) -> bool:
    return client.post(TOKEN_PATH, data=FORM).status_code == 503


def sizes_differ(client: httpx.Client) -> bool:
    (largest,) = products(client, top="1")["value"]
    length = int(client.head(f"{ROOT}/Products({largest['Id']})/$value").headers["content-length"])
    return bool(largest["ContentLength"] == length + 7)


def without_checksum(client: httpx.Client) -> bool:
    return not products(client, top="1")["value"][0]["Checksum"]


def wrong_checksum(client: httpx.Client) -> bool:
    return bool(products(client, top="1")["value"][0]["Checksum"][0]["Value"] == "d41d8cd98f00b204e9800998ecf8427e")


def integers_as_text(client: httpx.Client) -> bool:
    return isinstance(products(client, top="1")["value"][0]["ContentLength"], str)


def a_bare_list(client: httpx.Client) -> bool:
    return isinstance(products(client), list)


def rows_twice(client: httpx.Client) -> bool:
    rows = products(client)["value"]
    return len(rows) == 5 and rows[3:] == rows[:2]


def more_rows_later(client: httpx.Client) -> bool:
    first, second = (products(client, count="true", top="0")["@odata.count"] for _ in range(2))
    return bool(second == first + 2)


def two_of_a_name(client: httpx.Client) -> bool:
    (shown,) = products(client, top="1")["value"]
    same = products(client, filter=f"Name eq '{shown['Name']}'")["value"]
    bodies = {client.get(f"{ROOT}/Products({one['Id']})/$value").content for one in same}
    return len({one["Id"] for one in same}) == len(same) >= 2 and len(bodies) == 1


def filter_ignored(client: httpx.Client) -> bool:
    return len(products(client, filter="Name eq 'nothing'")["value"]) == 3


def feature_refused(client: httpx.Client) -> bool:
    return client.get(f"{ROOT}/Products", params={"$expand": "Attributes"}).status_code == 501


def gone(client: httpx.Client) -> bool:
    return client.get(value_of(client, "asc")).status_code == 410


def a_page_for_people(client: httpx.Client) -> bool:
    return client.get(f"{ROOT}/Products").headers["content-type"].startswith("text/html")


def redirected(target: str) -> Seen:
    return lambda client: target in client.get(value_of(client)).headers["location"]


FAULTS: Mapping[str, tuple[str, Seen]] = {
    "down": ("down=true", status(503, "retry-after", "5")),
    "status": ("status=429 retry_after_s=2", status(429, "retry-after", "2")),
    "status, of the token endpoint": ("requests=token status=503", token_endpoint_down),
    "status, of queries": ("requests=query status=500", status(500)),
    "latency_s": ("latency_s=0.05", slow(0.1)),
    "jitter_s": ("jitter_s=0.2", slow(0.01)),
    "html": ("html=true", a_page_for_people),
    "redirect": ("requests=download redirect=resend", redirected("/mirror/odata/v1/")),
    "redirect, presigned": ("requests=download redirect=presigned redirect_status=302", redirected("X-Amz-Credential")),
    "redirect, without end": ("requests=download redirect=loop", redirected("/$value")),
    "token_life_s": ("requests=token token_life_s=0", token_dies),
    "revoke_tokens": ("requests=download revoke_tokens=true", token_dies),
    "evict": ("requests=query evict=true", gone),
    "evict, a download": ("requests=download evict=true", gone),
    "ignore_range": ("requests=download ignore_range=true", whole_for_a_range),
    "bytes_per_s": ("requests=download bytes_per_s=5000000", slow(0.05)),
    "reset_at": ("requests=download reset_at=[10,90]", breaks(httpx.ReadError)),
    "short_at": ("requests=download short_at=50", breaks(httpx.RemoteProtocolError)),
    "stall_at": ("requests=download stall_at=0 stall_s=9", breaks(httpx.ReadTimeout)),
    "flip_at": ("requests=download flip_at=[0,500] times=1", other_bytes),
    "length_delta": ("requests=download length_delta=-10 times=1", cut_short),
    "size_delta": ("requests=query size_delta=7", sizes_differ),
    "checksum": ("requests=query checksum=missing", without_checksum),
    "checksum, a wrong one": ("requests=query checksum=wrong", wrong_checksum),
    "string_integers": ("requests=query string_integers=true", integers_as_text),
    "bare_list": ("requests=query bare_list=true", a_bare_list),
    "duplicate_rows": ("requests=query duplicate_rows=2", rows_twice),
    "insert_rows": ("requests=query insert_rows=2 insert_late_s=3600", more_rows_later),
    "twin_rows": ("requests=query twin_rows=1 times=1", two_of_a_name),
    "ignore": ("requests=query ignore=[$filter]", filter_ignored),
    "refuse": ("requests=query refuse=[expand]", feature_refused),
}


def test_none_is_left_out() -> None:
    assert {name.partition(",")[0] for name in FAULTS} == set(EFFECTS)


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_told_in_words(station: httpx.Client, name: str) -> None:
    words, seen = FAULTS[name]
    answer = station.put("/admin/faults", json=_assignments(words.split()), headers=ADMIN).raise_for_status()
    assert [fault["id"] for fault in answer.json()["faults"]] == ["fault-1"]
    assert seen(station)
    (fault,) = station.get("/admin/faults", headers=ADMIN).json()["faults"]
    assert fault["struck"] >= 1


@pytest.mark.parametrize("name", FAULTS)
def test_it_stands_in_a_scenario(station: httpx.Client, name: str) -> None:
    words, seen = FAULTS[name]
    text = yaml.safe_dump({"seed": 3, "faults": [_assignments(words.split())]})
    told = Scenario.model_validate(yaml.safe_load(text)).model_dump(mode="json", exclude_defaults=True)
    station.put("/admin/scenario", json=told, headers=ADMIN).raise_for_status()
    assert seen(station)
    station.delete("/admin/faults", headers=ADMIN).raise_for_status()
    log_in(station)
    assert products(station)["value"]
