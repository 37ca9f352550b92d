"""A file comes whole and right, over as many connections as it takes, or no object appears."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from rs_server.errors import NotFound, StationRefused, StationUnavailable, Unavailable
from rs_server.processes.references import Reference
from rs_server.staging import transfer
from rs_server.staging.checksum import Checker
from rs_server.staging.fetch import Connections, InOrder, parts_in_memory
from rs_server.staging.inspection import Inspector
from rs_server.staging.model import Lost, Transfer
from rs_server.staging.source import Changed, Gone
from rs_server.staging.transfer import Meter, World, carry
from tests.unit.staging.station import (
    SESSION,
    Answer,
    Bucket,
    Notes,
    Station,
    Turns,
    Uploads,
    checksum,
    content,
    name_of,
)

NAME = name_of(1, 1)
KEY = f"alice/c/{SESSION}/job/{NAME}"
SMALL, LARGE, PART = 4088, 2044 * 40, 2044 * 4


@dataclass
class Case:
    """A transfer and everything it is carried between."""

    station: Station = field(default_factory=Station)
    size: int = LARGE
    width: int = 1
    checksum: str | None = None
    bucket: Bucket = field(default_factory=Bucket)
    notes: Notes = field(default_factory=Notes)
    turns: Turns = field(default_factory=Turns)
    fence: int = 1
    most_parts: int = 10_000
    connections: Connections = field(default_factory=Connections)
    joins: int = 0  # connections that come to help, one with each part that is put
    spared: int = 0

    @property
    def data(self) -> bytes:
        return content(NAME, self.size)

    async def carry(self) -> str:
        asset = self.station.session["assets"][NAME]
        asset["file:size"] = self.size
        asked = Transfer(
            *(1, self.fence, uuid4(), Reference("cadip", "s1-sgs", SESSION), "sgs", "alice", NAME, asset),
            *("rs-data", KEY, self.size, self.checksum, self.width, 0, 0),
            *(self.notes.upload, PART if self.notes.upload else None, self.notes.validator, self.notes.ranges, None),
        )
        self.fence += 1
        there = {"rs-data": self.bucket}
        world = World(
            *(self.station, self.turns, there.__getitem__, lambda name: Uploads(there[name]), self.notes),
            part_bytes=PART,
            most_parts=self.most_parts,
            reached=self._reached,
            pause_s=0,
        )
        self.connections = Connections(self.width, self._spare)
        return await carry(asked, world, Meter(), self.connections)

    def _spare(self, connections: int) -> None:
        self.spared += connections

    async def _reached(self, point: str) -> None:
        if point == "mid-part" and self.joins and self.connections.join is not None:
            self.joins -= 1
            self.connections.join()


def own_checksum(data: bytes) -> str:
    checker = Checker(None)
    checker.update(data)
    return checker.multihash


@pytest.mark.parametrize("size", [0, 1, 2044, SMALL, PART, PART + 2044, LARGE])
@pytest.mark.parametrize("width", [1, 3])
async def test_a_file_is_carried(size: int, width: int) -> None:
    case = Case(size=size, width=width)
    if size % 2044:
        case.station.session["assets"][NAME]["roles"] = ["data"]
    assert await case.carry() == own_checksum(case.data)
    assert case.bucket.objects == {KEY: case.data}
    assert case.bucket.uploads == {}


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("size", [PART, LARGE])
async def test_each_connection_is_given_back_once(size: int, width: int) -> None:
    case = Case(size=size, width=width)
    await case.carry()
    assert (case.spared, case.connections.count, case.connections.join) == (width, 0, None)


@pytest.mark.parametrize("joins", [1, 3])
@pytest.mark.parametrize("missing", [1, 4])
async def test_connections_that_join_share_what_is_left(joins: int, missing: int) -> None:
    case = Case(checksum=checksum(content(NAME, LARGE)))
    if missing > 1:  # it was begun before
        case.notes.lost_after = missing
        with pytest.raises(Lost):
            await case.carry()
        case.notes.lost_after = None
    before, case.joins = len(case.station.requests), joins
    assert await case.carry() == case.checksum
    assert case.bucket.objects == {KEY: case.data}
    assert (case.joins, case.connections.count) == (0, 0)
    _first, *others = case.station.requests[before:]
    assert len(others) == len(set(others)) > 1  # the first was left for parts of all, each of which was fetched once


def breaking(every: int, upto: int = 10**6) -> Callable[[int, Answer], Answer]:
    """Connections break off after so many bytes, up to the nth."""

    def fault(number: int, answer: Answer) -> Answer:
        return replace(answer, data=answer.data[:every], broken=True) if number <= upto else answer

    return fault


def at(numbers: set[int], change: Callable[[Answer], Answer]) -> Callable[[int, Answer], Answer]:
    """What happens to some of the connections."""
    return lambda number, answer: change(answer) if number in numbers else answer


def flipped(answer: Answer) -> Answer:
    data = bytearray(answer.data)
    data[1500] ^= 1
    return replace(answer, data=bytes(data))


HTML = Answer(200, {"content-type": "text/html"}, b"<html>please log in</html>")


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(breaking(5000), id="resets"),
        pytest.param(breaking(0, upto=3), id="nothing at first"),
        pytest.param(lambda n, answer: replace(answer, data=answer.data[: 3000 * n]), id="short reads"),
    ],
)
async def test_what_breaks_off_goes_on_where_it_stopped(fault: Any, width: int) -> None:
    case = Case(Station(fault), width=width, checksum=checksum(content(NAME, LARGE)))
    assert await case.carry() == case.checksum
    assert case.bucket.objects == {KEY: case.data}


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("fault", "error", "why"),
    [
        (breaking(0), StationUnavailable, "broke the connection"),
        (lambda _, answer: replace(answer, data=b""), StationUnavailable, "ended .* early"),
        (lambda _, answer: replace(answer, headers={}, data=answer.data + b"x"), Changed, "more than the"),
        (lambda _, answer: replace(answer, headers={"content-length": "7"}), Changed, "7 bytes, not the"),
        (lambda _, __: HTML, StationRefused, "web page"),
        (lambda _, answer: Answer(416, {}, b""), Changed, "shorter"),
        (lambda _, answer: replace(answer, data=bytes(len(answer.data))), Changed, "not made of CADUs"),
        (lambda _, answer: replace(answer, status=206, headers={}), StationRefused, "not asked for"),
    ],
)
async def test_a_wrong_file_never_appears(size: int, fault: Any, error: type[Exception], why: str) -> None:
    case = Case(Station(fault), size=size)
    with pytest.raises(error, match=why):
        await case.carry()
    assert case.bucket.objects == {}
    assert error is not Changed or case.bucket.uploads == {}


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("width", [1, 4])
async def test_a_flipped_bit_is_found_by_the_checksum(size: int, width: int) -> None:
    case = Case(Station(at({1}, flipped)), size=size, width=width, checksum=checksum(content(NAME, size)))
    with pytest.raises(Changed, match="checksum"):
        await case.carry()
    assert (case.bucket.objects, case.bucket.uploads) == ({}, {})


async def test_the_next_carrier_fetches_only_what_is_missing() -> None:
    case = Case(notes=Notes(lost_after=4), checksum=checksum(content(NAME, LARGE)))
    with pytest.raises(Lost):
        await case.carry()
    there = len(case.notes.there)
    assert there >= 2
    case.notes.lost_after = None
    before = len(case.station.requests)
    assert await case.carry() == case.checksum
    assert case.station.requests[before:] == [f"bytes={there * PART}-{LARGE - 1}"]
    assert case.bucket.objects == {KEY: case.data}


async def test_what_is_said_to_be_complete_and_is_not_there_yet_is_waited_for() -> None:
    class Slow(Bucket):
        """Says that the object is made, and makes it later."""

        made: dict[str, bytes]

        async def complete(self, key: str, upload: str, parts: Mapping[int, str]) -> None:
            await super().complete(key, upload, parts)
            self.made = {key: self.objects.pop(key)}

    bucket = Slow()
    case = Case(bucket=bucket, checksum=checksum(content(NAME, LARGE)))
    with pytest.raises(Unavailable, match="still completing"):
        await case.carry()
    before = len(case.station.requests)
    bucket.objects |= bucket.made
    assert await case.carry() == case.checksum
    assert len(case.station.requests) == before


async def test_an_upload_goes_on_with_the_parts_that_it_was_begun_with() -> None:
    case = Case(notes=Notes(lost_after=4), checksum=checksum(content(NAME, LARGE)))
    with pytest.raises(Lost):
        await case.carry()
    case.notes.lost_after, case.most_parts = None, 3  # what the storage takes was set meanwhile
    assert await case.carry() == case.checksum
    assert len(case.notes.there) == LARGE // PART
    other = Case(most_parts=3)
    await other.carry()
    assert len(other.notes.there) < LARGE // PART


async def test_what_was_completed_already_is_read_and_not_fetched() -> None:
    case = Case(fence=2, checksum=checksum(content(NAME, LARGE)))
    case.bucket.objects[KEY] = case.data
    assert await case.carry() == case.checksum
    assert case.station.requests == []
    case.bucket.objects[KEY] = bytes(LARGE)
    with pytest.raises(Changed, match="checksum"):
        await case.carry()
    assert case.bucket.objects == {KEY: bytes(LARGE)}  # it is swept, unless somebody names it


async def test_who_was_taken_for_dead_takes_nothing_away_from_the_next() -> None:
    case = Case(Station(at({1}, flipped)), checksum=checksum(content(NAME, LARGE)))
    with pytest.raises(Changed):
        await case.carry()
    case = Case(Station(at({1}, flipped)), checksum=case.checksum)
    case.notes = Notes(lost_after=LARGE // PART + 1)  # the upload and its parts are noted: it has one more to ask
    with pytest.raises(Lost):
        await case.carry()
    assert list(case.bucket.uploads) == [case.notes.upload]


@pytest.mark.parametrize(("long_s", "puts"), [(60.0, 1), (-1.0, 0)])
async def test_who_took_long_asks_before_a_small_file_is_put(
    monkeypatch: pytest.MonkeyPatch, long_s: float, puts: int
) -> None:
    monkeypatch.setattr(transfer, "_LONG_S", long_s)
    case = Case(size=SMALL, notes=Notes(lost_after=0))
    if puts:
        await case.carry()
    else:
        with pytest.raises(Lost):
            await case.carry()
    assert len(case.bucket.objects) == puts


async def test_parts_that_somebody_else_has_written_make_no_object() -> None:
    case = Case(notes=Notes(lost_after=4))
    with pytest.raises(Lost):
        await case.carry()
    case.notes.lost_after = None
    case.notes.there[1] = "etag of another"
    with pytest.raises(Changed, match="not those written"):
        await case.carry()
    assert (case.bucket.objects, case.bucket.uploads) == ({}, {})


async def test_a_file_that_is_another_by_now_begins_anew() -> None:
    case = Case(notes=Notes(lost_after=4))
    with pytest.raises(Lost):
        await case.carry()
    case.notes.lost_after, case.notes.validator = None, '"of another file"'
    with pytest.raises(Changed, match="another file than before"):
        await case.carry()
    assert case.bucket.uploads == {}


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("there", [0, 4])
async def test_a_station_that_ignores_ranges_is_borne_with(width: int, there: int) -> None:
    case = Case(Station(ranges=False), width=width)
    if there:
        case.notes.lost_after, case.width = there, 1
        with pytest.raises(Lost):
            await case.carry()
        case.notes.lost_after, case.width = None, width
    assert await case.carry() == own_checksum(case.data)
    assert case.bucket.objects == {KEY: case.data}
    assert case.station.requests.count("whole") <= width + 1  # each connection learns it once


async def test_an_upload_that_somebody_aborted_is_begun_anew() -> None:
    case = Case(notes=Notes(lost_after=4))
    with pytest.raises(Lost):
        await case.carry()
    case.bucket.uploads.clear()
    case.notes.lost_after = None
    with pytest.raises(Changed, match="are gone"):
        await case.carry()


async def test_an_evicted_file_is_gone() -> None:
    def evicted(_number: int, _answer: Answer) -> Answer:
        raise NotFound("station sgs does not have it (any more)")

    with pytest.raises(Gone, match="any more"):
        await Case(Station(evicted)).carry()


class Slow(Station):
    """The connection that asks for the first part stalls until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    @asynccontextmanager
    async def download(self, *asked: Any, range_: str | None = None, **more: Any) -> AsyncIterator[Answer]:
        async with super().download(*asked, range_=range_, **more) as answer:
            if range_ and range_.startswith("bytes=0-"):
                await self.go.wait()
            yield answer


async def test_a_slow_connection_keeps_no_more_in_memory_than_was_said() -> None:
    station = Slow()
    case = Case(station, width=4, size=PART * 60, checksum=checksum(content(NAME, PART * 60)))
    carrying = asyncio.create_task(case.carry())
    for _ in range(300):
        await asyncio.sleep(0.001)
    assert len(station.requests) <= parts_in_memory(4)
    station.go.set()
    assert await carrying == case.checksum
    assert case.bucket.objects == {KEY: case.data}


class Paced(Turns):
    """What is counted of a station that has a pace."""

    def __init__(self) -> None:
        self.counted = 0

    async def after_bytes(self, station: str, owner: str, count: int) -> None:
        self.counted += count

    def is_paced(self, station: str) -> bool:
        return True


@pytest.mark.parametrize("told", [True, False])
async def test_an_answer_is_read_no_further_than_was_asked_for(told: bool) -> None:
    read = 0

    def longer(number: int, answer: Answer) -> Answer:
        """All of the file from the first byte asked for on, whether its header tells so or not."""
        first, last = answer.headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
        last = str(LARGE - 1) if told else last
        headers = {**answer.headers, "content-range": f"bytes {first}-{last}/{LARGE}"}
        return Counted(206, headers, content(NAME, LARGE)[int(first) :])

    class Counted(Answer):
        async def _chunks(self) -> AsyncIterator[bytes]:
            nonlocal read
            async for chunk in super()._chunks():
                read += len(chunk)
                yield chunk

    case = Case(Station(longer), width=3, turns=(paced := Paced()))
    await case.carry()
    assert case.bucket.objects == {KEY: case.data}
    assert paced.counted == read < 1.5 * LARGE


@pytest.mark.parametrize("fault", ["gone", "grown"])
async def test_an_empty_file_is_asked_for_as_well(fault: str) -> None:
    def other(_number: int, answer: Answer) -> Answer:
        if fault == "gone":
            raise NotFound("it was evicted")
        return Answer(200, {"content-length": "5"}, b"grown")

    case = Case(Station(other), size=0)
    case.station.session["assets"][NAME]["roles"] = ["data"]
    with pytest.raises(Gone if fault == "gone" else Changed):
        await case.carry()
    assert case.bucket.objects == {}
    assert case.station.requests == ["whole"]


WRITTEN, LATER = "Thu, 14 Nov 2024 14:30:44 GMT", "Thu, 14 Nov 2024 14:30:45 GMT"
ENDLESS = f"Thu, 14 Nov 2024 14:30:44 +{'9' * 30}"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"a"', "last-modified": "x"}, '"a"'),
        ({"etag": 'W/"a"'}, None),
        ({"etag": '"caf\xe9"'}, 'W/"caf\xe9"'),
        ({"last-modified": WRITTEN, "date": LATER}, WRITTEN),
        ({"last-modified": WRITTEN, "date": WRITTEN}, f"W/{WRITTEN}"),
        ({"last-modified": WRITTEN}, f"W/{WRITTEN}"),
        ({"last-modified": "yesterday", "date": WRITTEN}, "W/yesterday"),
        ({"last-modified": ENDLESS, "date": WRITTEN}, f"W/{ENDLESS}"),
    ],
)
async def test_a_part_is_asked_for_under_a_name_that_only_its_file_has(
    headers: dict[str, str], validator: str | None
) -> None:
    station = Named(named(headers))
    case = Case(station, notes=Notes(lost_after=4))
    with pytest.raises(Lost):
        await case.carry()
    assert case.notes.validator == validator
    case.notes.lost_after = None
    await case.carry()
    assert station.conditions == [None, validator if validator and not validator.startswith("W/") else None]


@pytest.mark.parametrize("range_", [f"bytes 0-{'9' * 5000}/*", f"bytes {'9' * 5000}-1/1", "bytes a-b/c", ""])
async def test_a_part_that_is_said_to_be_no_part_is_refused(range_: str) -> None:
    def said(_number: int, answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "content-range": range_})

    case = Case(Station(said), width=3)
    with pytest.raises(StationRefused, match="that was not asked for"):
        await case.carry()


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("first", [{"last-modified": WRITTEN}, {"last-modified": WRITTEN, "date": LATER}])
@pytest.mark.parametrize("then", [{"last-modified": LATER}, {"last-modified": LATER, "date": LATER}])
async def test_another_date_is_another_file_however_fresh(
    first: dict[str, str], then: dict[str, str], resumed: bool
) -> None:
    """A date that does not prove that two answers are of the same bytes still tells that they are not."""
    case = Case(Named(named(first, then)), width=1 if resumed else 3, notes=Notes(lost_after=4 if resumed else None))
    if resumed:
        with pytest.raises(Lost):
            await case.carry()
        case.notes.lost_after = None
    with pytest.raises(Changed, match="another file than before"):
        await case.carry()
    assert (case.bucket.objects, case.bucket.uploads) == ({}, {})


async def test_a_date_names_the_file_once_an_answer_is_older_than_it() -> None:
    case = Case(
        Named(named({"last-modified": WRITTEN, "date": WRITTEN}, {"last-modified": WRITTEN, "date": LATER})), width=3
    )
    await case.carry()
    assert case.notes.validator == WRITTEN


def named(first: dict[str, str], then: dict[str, str] | None = None) -> Callable[[int, Answer], Answer]:
    """The first answer, and all others, say this of the file beside its size."""

    def fault(number: int, answer: Answer) -> Answer:
        size = {name: answer.headers[name] for name in ("content-range", "content-length") if name in answer.headers}
        return replace(answer, headers={**size, **(first if number == 1 or then is None else then)})

    return fault


@dataclass
class Named(Station):
    """It sends any range of the file, whatever file the range was asked of: but it keeps what was asked."""

    conditions: list[str | None] = field(default_factory=list)

    @asynccontextmanager
    async def download(self, *asked: Any, if_range: str | None = None, **more: Any) -> AsyncIterator[Answer]:
        self.conditions.append(if_range)
        async with super().download(*asked, **more) as answer:
            yield answer


@pytest.mark.parametrize("joins", [0, 3])
@pytest.mark.parametrize("width", [1, 4])
async def test_more_parts_than_there_is_memory_for_come_in_any_order(width: int, joins: int) -> None:
    """Connections that break off at many places hold parts back, but none for ever."""
    size = PART * 60
    station = Station(lambda number, answer: replace(answer, data=answer.data[: 700 * (number % 13)]))
    case = Case(station, size=size, width=width, joins=joins, checksum=checksum(content(NAME, size)))
    async with asyncio.timeout(20):
        assert await case.carry() == case.checksum
    assert case.bucket.objects == {KEY: case.data}


class Seen(bytearray):
    """A part that tells whether it is still in memory."""

    there: ClassVar[list[weakref.ref[Seen]]] = []
    most: ClassVar[list[int]] = []  # in memory, whenever one more came

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.there.append(weakref.ref(self))
        self.most.append(self.alive())

    @classmethod
    def alive(cls) -> int:
        return sum(each() is not None for each in cls.there)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> type[Seen]:
    """Parts of the fetching that tell whether they are still in memory."""
    monkeypatch.setattr("rs_server.staging.fetch.bytearray", Seen, raising=False)
    Seen.there.clear()
    Seen.most.clear()
    return Seen


async def test_a_part_that_was_put_before_others_is_not_kept_in_memory(seen: type[Seen]) -> None:
    late = asyncio.Event()

    @dataclass
    class Unequal(Bucket):
        """The first two parts take longer than those after them."""

        async def put_part(self, key: str, upload: str, number: int, data: bytes | bytearray) -> str:
            if number < 3:
                await late.wait()
            elif number > 3:
                late.set()
            return await super().put_part(key, upload, number, data)

    case = Case(bucket=Unequal(), size=PART * 8)
    async with asyncio.timeout(20):
        await case.carry()
    assert case.bucket.objects == {KEY: case.data}
    assert max(seen.most) == parts_in_memory(1)


async def test_a_thread_that_is_still_about_keeps_no_part_in_memory(seen: type[Seen]) -> None:
    class Keeping(ThreadPoolExecutor):
        """It forgets nothing that it was given."""

        given: ClassVar[list[Any]] = []

        def submit(self, call: Callable[..., Any], /, *of: Any, **more: Any) -> Future[Any]:
            self.given.append((call, of, more))
            return super().submit(call, *of, **more)

    asyncio.get_running_loop().set_default_executor(Keeping(1))
    part = seen(b"a")
    await InOrder(Inspector("x.raw", {"roles": ["data"]}, 1, None)).show(1, part)
    del part
    assert Keeping.given
    assert seen.alive() == 0


async def test_a_part_is_needed_no_more_once_it_has_been_seen_itself() -> None:
    last = threading.Event()

    class Checking(Inspector):
        """The second part takes its time."""

        def update(self, data: bytes | bytearray) -> None:
            if data == b"b":
                last.wait(10)
            super().update(data)

    inspector = Checking("x.raw", {"roles": ["data"]}, 2, None)
    order = InOrder(inspector)
    second = asyncio.create_task(order.show(2, bytearray(b"b")))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(order.show(1, bytearray(b"a")), 5)
        assert not second.done()
    finally:
        last.set()
    await second
    assert inspector.verdict() == own_checksum(b"ab")
