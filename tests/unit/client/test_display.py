"""What a person sees: sizes as people say them, and no foreign text that becomes markup."""

from __future__ import annotations

from datetime import UTC, datetime

import pystac
import pytest

from rs_client import display
from rs_client.session import User

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
        display.collections(EVIL, [collection()]),
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
