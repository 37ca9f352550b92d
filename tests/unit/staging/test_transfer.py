"""A file comes whole and right, over as many connections as allowed, or no object appears."""

import pytest

from rs_server.catalog.names import CollectionName
from rs_server.errors import StationRefused, StationUnavailable
from rs_server.processes.references import Reference
from rs_server.staging.plan import Transfer, plan
from rs_server.staging.transfer import Patience, carry
from tests.unit.staging.station import SESSION, Bucket, Fault, Station, checksum, content, name_of

NAME = name_of(1, 1)
PATIENCE = Patience(tries=4, pause_s=0)


def first(station: Station) -> Transfer:
    source = Reference("cadip", "s1-sgs", SESSION)
    return plan([(source, station.session)], CollectionName("alice", "c")).transfers[0]


async def carried(station: Station, bucket: Bucket) -> list[int]:
    counted: list[int] = []
    await carry(first(station), station, bucket, counted.append, PATIENCE)
    return counted


async def test_a_file_is_carried_and_counted() -> None:
    station, bucket = Station(), Bucket()
    counted = await carried(station, bucket)
    assert bucket.objects == {f"alice/c/{SESSION}/{NAME}": content(NAME, 4088)}
    assert counted == [1000, 1000, 1000, 1000, 88]


async def test_a_whole_object_is_not_fetched_again() -> None:
    station, bucket = Station(), Bucket()
    bucket.objects[f"alice/c/{SESSION}/{NAME}"] = content(NAME, 4088)
    assert await carried(station, bucket) == [4088]
    assert station.connections == []


async def test_an_object_of_another_size_is_replaced() -> None:
    station, bucket = Station(), Bucket()
    bucket.objects[f"alice/c/{SESSION}/{NAME}"] = b"half"
    await carried(station, bucket)
    assert bucket.objects[f"alice/c/{SESSION}/{NAME}"] == content(NAME, 4088)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda _name, n, data: None if n < PATIENCE.tries else data, id="broken connections"),
        pytest.param(lambda _name, n, data: data[:1500] if n < 3 else data, id="ends early"),
    ],
)
async def test_a_broken_transfer_goes_on_where_it_stopped(fault: Fault) -> None:
    station, bucket = Station(fault), Bucket()
    counted = await carried(station, bucket)
    assert bucket.objects[f"alice/c/{SESSION}/{NAME}"] == content(NAME, 4088)
    assert sum(counted) == 4088
    offsets = [offset for _, offset in station.connections]
    assert offsets == sorted(set(offsets))


@pytest.mark.parametrize(
    ("fault", "error", "why"),
    [
        (lambda _name, _n, _data: None, StationUnavailable, "station sgs: broke the connection"),
        (lambda _name, _n, data: data[:0], StationRefused, "0 bytes, not the 4088"),
        (lambda _name, _n, data: data + b"x", StationRefused, "4089 bytes, not the 4088"),
        (lambda _name, _n, _data: b"<html>please log in</html>" * 400, StationRefused, "not the 4088"),
    ],
)
async def test_a_wrong_file_never_appears(fault: Fault, error: type[Exception], why: str) -> None:
    station, bucket = Station(fault), Bucket()
    with pytest.raises(error, match=why):
        await carried(station, bucket)
    assert bucket.objects == {}


@pytest.mark.parametrize("right", [True, False])
async def test_a_checksum_is_held_against_the_bytes(*, right: bool) -> None:
    station, bucket = Station(), Bucket()
    station.session["assets"][NAME]["file:checksum"] = checksum(content(NAME, 4088) if right else b"other")
    if right:
        await carried(station, bucket)
    else:
        with pytest.raises(StationRefused, match="checksum"):
            await carried(station, bucket)
    assert bool(bucket.objects) is right
