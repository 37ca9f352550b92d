"""A station that costs next to nothing: its answers are cut from bytes made beforehand, so that ours can be measured.

It understands the filters that the engine pages with (place in the order, one name), not OData as a whole. Run
``python tests/benchmarks/canned_station.py KIND PORT ROWS``.
"""

from __future__ import annotations

import asyncio
import re
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from uuid import UUID

import orjson

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
FILES = 38
_PLACE = re.compile(r"PublicationDate lt ([0-9T:.-]+Z)")
_TOP = re.compile(r"\$top=(\d+)")


def moment(number: int) -> str:
    """Publication of a row: one each minute."""
    return (BEGIN + timedelta(minutes=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session(number: int) -> bytes:
    """A session of two channels with its files, and what is said of the channels."""
    name = f"S1A_{BEGIN + timedelta(minutes=number):%Y%m%d%H%M%S}{number:06d}"
    at = moment(number)
    values = {
        "Id": str(UUID(int=number)),
        "SessionId": name,
        "NumChannels": 2,
        "PublicationDate": at,
        "Satellite": "S1A",
        "StationUnitId": "04",
        "DownlinkOrbit": number,
        "AcquisitionId": "565521",
        "AntennaId": "TLR3",
        "FrontEndId": "DEM-KSPT-SENT-DFEP4",
        "Retransfer": False,
        "AntennaStatusOK": True,
        "FrontEndStatusOK": True,
        "PlannedDataStart": at,
        "PlannedDataStop": at,
        "DownlinkStart": at,
        "DownlinkStop": at,
        "DownlinkStatusOK": True,
        "DeliveryPushOK": True,
        "Files": [
            {
                "Id": str(UUID(int=(number << 32) + at_file)),
                "Name": f"DCS_04_{name}_ch{at_file % 2 + 1}_DSDB_{at_file // 2 + 1:05d}.raw",
                "SessionId": name,
                "Channel": at_file % 2 + 1,
                "BlockNumber": at_file // 2 + 1,
                "FinalBlock": at_file >= FILES - 2,
                "PublicationDate": f"{at[:-5]}.{at_file * 7:03d}Z",
                "EvictionDate": at,
                "Size": 314571600,
                "Retransfer": False,
            }
            for at_file in range(FILES)
        ],
        "QualityInfo": [
            {
                "Channel": channel,
                "SessionId": name,
                "AcquiredTFs": 2821742,
                **dict.fromkeys(("ErrorTFs", "CorrectedTFs", "UncorrectableTFs"), 0),
                "DataTFs": 2815020,
                **dict.fromkeys(("ErrorDataTFs", "CorrectedDataTFs", "UncorrectableDataTFs"), 0),
                "DeliveryStart": at,
                "DeliveryStop": at,
                "TotalChunks": FILES // 2,
                "TotalVolume": FILES // 2 * 314571600,
            }
            for channel in (1, 2)
        ],
    }
    return orjson.dumps(values)


def product(number: int) -> bytes:
    """An auxiliary file."""
    at = moment(number)
    written = {"productType": "AUX_PP1", "platformShortName": "SENTINEL-1", "platformSerialIdentifier": "A"}
    values = {
        "Id": str(UUID(int=number)),
        "Name": f"S1A_AUX_PP1_V{number:08d}.SAFE.zip",
        "ContentType": "application/octet-stream",
        "ContentLength": number,
        "OriginDate": at,
        "PublicationDate": at,
        "EvictionDate": at,
        "Checksum": [{"Algorithm": "MD5", "Value": "7866557ed8cbeac83225459eb3bd7438", "ChecksumDate": at}],
        "ContentDate": {"Start": at, "End": at},
        "Attributes": [{"Name": name, "ValueType": "String", "Value": value} for name, value in written.items()],
    }
    return orjson.dumps(values)


class Station:
    """Rows newest first, each as the bytes of its JSON."""

    def __init__(self, kind: str, rows: int) -> None:
        make = session if kind == "cadip" else product
        kept = min(rows, 20_000)  # of a million rows, those that a benchmark reads
        self.count = rows
        self.dates = [moment(number) for number in range(rows - kept, rows)]
        self.rows = [make(number) for number in range(rows - kept, rows)]

    def answer(self, query: str) -> bytes:
        """A page."""
        if "Retransfer eq true" in query:
            return b'{"@odata.count":0,"value":[]}'
        place = _PLACE.search(query)
        end = bisect_left(self.dates, place[1]) if place else len(self.rows)
        top = _TOP.search(query)
        page = self.rows[max(0, end - int(top[1] if top else 1000)) : end]
        count = b'"@odata.count":%d,' % self.count if "$count=true" in query else b""
        return b'{%b"value":[%b]}' % (count, b",".join(reversed(page)))


async def serve(kind: str, port: int, rows: int) -> None:
    """Answer GET requests until killed."""
    station = Station(kind, rows)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = station.answer(unquote(head.split(b" ", 2)[1].decode()))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body))
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
