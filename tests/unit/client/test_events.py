"""Server-sent events in pieces of any length, against another implementation."""

from __future__ import annotations

import httpx
from httpx_sse import EventSource
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_client.events import Decoder, Event

LINES = st.sampled_from(
    [
        "",
        "",
        "data: a",
        'data: {"message": "one\u2028line"}',
        "data",
        "data:  b",
        "event: status",
        "id: 7",
        ": ping",
        "retry: 9",
        "x: y",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n"])


@settings(deadline=None, max_examples=100)
@given(st.lists(LINES, max_size=20), ENDS, st.data())
def test_as_another_reads_it(lines: list[str], end: str, data: st.DataObject) -> None:
    text = "".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    decoder = Decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text.encode())
    expected = [Event(one.event, one.data, one.id) for one in EventSource(answer).iter_sse() if one.data]
    assert [event for event in events if event.data] == expected


def test_an_event_is_told_as_soon_as_it_is_whole() -> None:
    decoder = Decoder()
    assert list(decoder.feed("event: status\ndata: 1\n")) == []
    assert list(decoder.feed(": ping\n")) == []
    assert list(decoder.feed("id: 3\n\n")) == [Event("status", "1", "3")]
    assert decoder.last_id == "3"
