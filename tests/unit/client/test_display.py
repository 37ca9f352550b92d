"""What a person sees: sizes as people say them, and no foreign text that becomes markup."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import termios
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import httpx
import pystac
import pytest

from rs_client import display
from rs_client.aio import AsyncRsClient
from rs_client.catalog import Reader
from rs_client.codegen import Code
from rs_client.dpr import Processor, ProcessorList
from rs_client.jobs import AsyncJob, Job, JobList, Log
from rs_client.keys import Key
from rs_client.lta import Order
from rs_client.plans import Plan
from rs_client.processing.compare import Comparison, Difference
from rs_client.progress import Progress
from rs_client.reproduce import Reproduction
from rs_client.session import User
from rs_client.stac import ItemCollection, ItemList, StationList
from rs_client.subscriptions import Subscription, SubscriptionList
from tests.unit.client.far import Answer, async_http, session, table

EVIL = "<script>alert('1')</script>"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_536_000, "1.5 MB"),
        (2.5e9, "2.5 GB"),
        (3e12, "3.0 TB"),
        (4e15, "4000.0 TB"),
    ],
)
def test_size(number: float, said: str) -> None:
    assert display.size(number) == said


def item(item_id: str) -> pystac.Item:
    return pystac.Item(item_id, None, None, datetime(2024, 11, 14, tzinfo=UTC), {"platform": EVIL}, collection=EVIL)


def collection() -> pystac.Collection:
    extent = pystac.Extent(pystac.SpatialExtent([-180, -90, 180, 90]), pystac.TemporalExtent([None, None]))
    return pystac.Collection(EVIL, EVIL, extent, title=EVIL)


@pytest.mark.parametrize(
    "html",
    [
        display.item(item(EVIL)),
        display.items([item(EVIL)], matched=3),
        display.collections([collection()]),
        display.session(EVIL, User(EVIL, (), (EVIL,)), {EVIL: {"ok": True}}),
    ],
)
def test_foreign_text_stays_text(html: str) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_long_lists_are_cut_and_say_so() -> None:
    html = display.items([item(f"i{number}") for number in range(60)], matched=900)
    assert html.count("<tr>") == display.MAX_ROWS + 1
    assert "50 of 900" in html


def test_a_log_gets_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    with display.live_line() as line:
        for text in ("10 %", "10 %", "20 %"):
            line.show(text)
    assert capsys.readouterr().err == "10 %\n20 %\n"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_line_in_a_terminal_stays_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran over the edge of a terminal would stay there, once for each time that it changed."""
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    with open(terminal, "w") as stream:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", stream)
        with display.live_line() as line:
            line.show("staging · running · " * 20, 10)
            line.show("done", 100)
    said = os.read(screen, 10_000).decode()
    os.close(screen)
    first, second = said.split("\r\x1b[2K")[1:]
    assert len(first) == columns - 1
    assert first.endswith("…")
    assert second == "done\r\n"


def test_a_line_that_never_said_anything_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with display.live_line():
        pass
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


RICH = {f"a{number}": pystac.Asset(f"s3://x/{number}", extra_fields={"file:size": 10**9}) for number in range(2000)}
MANY = [item(EVIL * 20) for _ in range(500)]
HUGE = pystac.Item(
    EVIL * 50,
    {"type": "Polygon", "coordinates": [[[x / 1000, x % 90] for x in range(20_000)] + [[0, 0]]]},
    [0, 0, 20, 90],
    datetime(2024, 11, 14, tzinfo=UTC),
    {f"p{number}": EVIL * 10 for number in range(3000)},
    assets=RICH,
)
STEP = {"name": EVIL, "id": EVIL * 20, "files": 1, "bytes": 1, "why": EVIL * 20, "stage_to": EVIL}
WORDY = {
    "processor": EVIL * 900,
    "version": EVIL,
    "bytes_to_read": 1,
    "bytes_to_stage": 1,
    "steps": [{"inputs": [STEP] * 900, "adfs": [], "outputs": []}],
    "notes": [EVIL * 30] * 900,
    "problems": [EVIL],
    "cluster": {"workers": 1, "cores": 1, "memory_gib": 1},
}
UNLIKE = Comparison(1, 1, (Difference(EVIL * 9, EVIL * 20, 1, 2, 0.5),) * 900)
BUSY = Progress.of({"status": "running", "message": EVIL * 1000, "progress": 40})
PROCESSOR = Processor(
    id=EVIL, title=EVIL * 99, description=EVIL * 999, inputs={EVIL * n: {"title": EVIL} for n in range(900)}
)
RUNNING = {
    "jobID": EVIL * 9,
    "processID": EVIL,
    "status": "running",
    "message": EVIL * 100,
    "created": "2024-11-14T00:00:00Z",
}
HELD = {"id": EVIL * 9, "name": EVIL * 9, "owner": EVIL, "expires": None}
MOMENT = datetime(2027, 1, 1, tzinfo=UTC)
STANDING = Subscription(
    id=EVIL,
    owner=EVIL,
    service=EVIL,
    search={EVIL * n: [EVIL] * 99 for n in range(1, 20)},
    to=EVIL * 9,
    options={EVIL: [EVIL] * 999},
    since=MOMENT,
    cursor=MOMENT,
    created=MOMENT,
    reason=EVIL * 99,
)
LANDING = {
    "type": "Catalog",
    "stac_version": "1.0.0",
    "id": EVIL,
    "title": EVIL * 99,
    "description": EVIL,
    "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search"],
    "links": [
        {"rel": "self", "href": "http://server.test/cadip/"},
        {"rel": "search", "type": "application/geo+json", "href": "http://server.test/cadip/search"},
        {"rel": "data", "type": "application/json", "href": "http://server.test/cadip/collections"},
    ],
}
ANSWERS: dict[str, Any] = {
    "GET /auth/me": {"login": EVIL * 99, "roles": [EVIL] * 999, "groups": [EVIL] * 999},
    "GET /ready": {"checks": {EVIL * n: {"ok": True} for n in range(99)}},
    "GET /dpr/processes": {"processes": [{"id": EVIL * n, "title": EVIL * 99} for n in range(900)]},
    "GET /auth/api_keys": [HELD] * 900,
    "GET /jobs": {"jobs": [RUNNING] * 900},
    "GET /jobs/j": RUNNING,
    "GET /cadip/": LANDING,
    "GET /cadip/collections": {"collections": [collection().to_dict()] * 900},
    "POST /cadip/search": {"features": [item(EVIL * 9).to_dict()] * 900, "numberMatched": 10**6},
}


def landing_alone(answer: Answer) -> Answer:
    """A server whose services open, and then say nothing but a long refusal."""

    def refusing(request: httpx.Request) -> httpx.Response:
        known = request.url.path == "/cadip/"
        return answer(request) if known else httpx.Response(502, json={"detail": EVIL * 9000})

    return refusing


def objects(answer: Answer) -> list[Any]:
    """What one reaches from a session, and looks at; each of it may ask the server for its picture."""
    s = session(answer)
    return [
        s,
        s.cadip,
        s.cadip.search(ids=[EVIL * 999]),
        s.staging,
        s.dpr,
        s.keys,
        s.storage,
        Job(s, {"jobID": "j", "processID": EVIL * 99, "status": "running"}),
    ]


def objects_of_asyncio() -> list[Any]:
    s = AsyncRsClient(async_http(table({})))
    hits = s.cadip.search(station=EVIL * 99, ids=[EVIL * 999])
    services = [s.cadip, s.auxip, s.prip, s.lta, s.catalog]
    return [s, *services, hits, s.staging, s.dpr, s.keys, AsyncJob(s, RUNNING)]


LOOKED_AT = [*objects(table(ANSWERS)), *objects(landing_alone(table(ANSWERS))), *objects_of_asyncio()]


TAGS = {
    *("div", "p", "small", "code", "pre", "details", "summary", "progress"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "path"),
}


@pytest.mark.parametrize(
    "html",
    [
        display.item(HUGE),
        display.items([HUGE] * 50, matched=10**6),
        display.items(MANY),
        display.collections([collection()] * 3000),
        display.collection(collection()),
        display.jobs([(EVIL, EVIL, BUSY)] * 3000),
        display.job(EVIL, EVIL, BUSY),
        display.session(EVIL, User(EVIL, (EVIL,) * 999, (EVIL,) * 999), {EVIL: {}}),
        display.user(User(EVIL, (EVIL,) * 9999, (EVIL,) * 9999)),
        display.keys([Key(EVIL, EVIL, EVIL, datetime(2027, 1, 1, tzinfo=UTC))] * 3000),
        display.readers([Reader(EVIL, "user", ("read",))] * 3000),
        display.orders([Order(EVIL, EVIL, EVIL)] * 3000),
        STANDING._repr_html_(),
        SubscriptionList([STANDING] * 1000)._repr_html_(),
        ProcessorList({EVIL * n: EVIL * 1000 for n in range(300)})._repr_html_(),
        PROCESSOR._repr_html_(),
        Plan(WORDY)._repr_html_(),
        UNLIKE._repr_html_(),
        Reproduction(cast("Any", None), UNLIKE, (EVIL * 100,) * 3000)._repr_html_(),
        BUSY._repr_html_(),
        Key.of(HELD)._repr_html_(),
        Reader(EVIL, "user", ("read",))._repr_html_(),
        Order(EVIL, EVIL, EVIL)._repr_html_(),
        Log([EVIL * 900] * 900)._repr_html_(),
        Code(f"{EVIL}\n" * 9000)._repr_html_(),
        ItemCollection(MANY)._repr_html_(),
        StationList({EVIL * n: [EVIL] * 99 for n in range(300)})._repr_html_(),
        JobList([Job(session(table({})), RUNNING)] * 900)._repr_html_(),
        *(shown._repr_html_() for shown in LOOKED_AT),
    ],
)
def test_pages_are_small_safe_and_right_in_light_and_dark(html: str) -> None:
    assert len(html.encode()) <= display.MAX_BYTES
    assert "<script" not in html
    assert not re.search(r"\son\w+=|javascript:", html)
    assert not re.search(r"background|[\"; ]color:|#fff|#000", html)  # the colours are those of the page around
    elements = list(ET.fromstring(f"<div>{html}</div>").iter())
    assert {element.tag for element in elements} <= TAGS  # of which none brings anything from elsewhere
    assert not any("://" in value for element in elements for value in element.attrib.values())


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, 0, 10, 10), "10°"),
        ((-180, -90, 180, 90), "30°"),
        ((170, 60, 179, 80), "10°"),
        ((-179, -80, -178, -79), "10°"),
    ],
)
def test_a_footprint_lies_within_its_map(box: tuple[float, float, float, float], said: str) -> None:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    one = pystac.Item("x", {"type": "Polygon", "coordinates": [ring]}, list(box), datetime(2024, 1, 1, tzinfo=UTC), {})
    svg = display.footprints([one])
    width, height = (float(number) for number in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    shape = re.findall(r'<path d="(M[^"]+Z)"', svg)[0]
    points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", shape)
    assert len(points) == 5
    assert all(0 <= float(x) <= width + 0.01 and 0 <= float(y) <= height + 0.01 for x, y in points)
    assert width == 2 * height
    assert f"a line every {said}" in svg


@pytest.mark.parametrize(
    "geometry", [None, {"type": "Point", "coordinates": [1, 2]}, {"type": "Polygon", "coordinates": []}]
)
def test_what_has_no_footprint_has_no_map(geometry: dict[str, Any] | None) -> None:
    assert display.footprints([pystac.Item("x", geometry, None, datetime(2024, 1, 1, tzinfo=UTC), {})]) == ""


def test_text_has_the_same_content() -> None:
    found = [item("S1A_1"), item("S1A_2")]
    text, html = display.items_text(found, matched=9), display.items(found, matched=9)
    for word in ("2 of 9", "S1A_1", "S1A_2", "platform"):
        assert word in text
        assert word in html
    assert ItemList().__repr__().startswith("0 items\n")


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("running", [True, False])
def test_in_a_prefect_run_its_logger_is_told(
    running: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = Logger()
    context = SimpleNamespace(get=lambda: running or None)
    places = SimpleNamespace(FlowRunContext=context, TaskRunContext=context)
    monkeypatch.setitem(sys.modules, "prefect", cast("ModuleType", SimpleNamespace(get_run_logger=lambda: logger)))
    monkeypatch.setitem(sys.modules, "prefect.context", cast("ModuleType", places))
    with display.live_line() as line:
        line.show("10 %")
        line.show("10 %")
    assert (logger.lines, capsys.readouterr().err) == ((["10 %"], "") if running else ([], "10 %\n"))
