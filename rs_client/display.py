"""What a person sees of our objects: plain text in a terminal, small HTML without scripts in a notebook.

The HTML takes its colours from the page around it, so that it is right in a light and in a dark one, and is bounded in
size. All text is escaped: what stations and catalogs say is not trusted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from rs_client import prefectrun
from rs_client.progress import ENDED, Progress

if TYPE_CHECKING:
    import pystac

    from rs_client.catalog import Reader
    from rs_client.keys import Key
    from rs_client.lta import Order
    from rs_client.session import User
    from rs_client.subscriptions import Subscription

MAX_ROWS = 50
MAX_BYTES = 50_000
"""No HTML of ours is larger than this, in bytes of UTF-8."""
_TABLE_BYTES = 38_000
_CELL_CHARACTERS = 200
_MESSAGE_CHARACTERS = 110
_LINE_CHARACTERS = 1000
_COLUMNS = 80  # of a terminal that does not say how wide it is
_CELL = ' style="text-align:left;vertical-align:top"'
_UNITS = ("B", "kB", "MB", "GB", "TB")
_NAMES = 12
"""How many names of a long list are shown."""

type Rows = Sequence[Sequence[Any]]


class Line(Protocol):
    """One line that changes in place."""

    def show(self, text: str, percent: int | None = None) -> None:
        """Replace what it says; ``percent`` of something is done, from 0 to 100."""
        ...


def size(number: float) -> str:
    """Bytes as a person says them, in decimal units."""
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def progress(process: str, now: Progress) -> str:
    """One line about a job."""
    parts = [*([process] if process else []), str(now.status), f"{now.percent} %"]
    if now.bytes_total:
        parts.append(f"{size(now.bytes_done)} of {size(now.bytes_total)}")
    if now.files_total:
        parts.append(f"{now.files_done}/{now.files_total} files")
    if now.message:
        parts.append(short(now.message, _MESSAGE_CHARACTERS))
    if now.waiting and now.waiting != now.message:
        parts.append(f"waits for {now.waiting.removeprefix('waiting for ')}")
    if now.estimated_end and now.status not in ENDED:
        parts.append(f"to end at {now.estimated_end.astimezone():%H:%M:%S}")
    return " · ".join(parts)


@contextmanager
def live_line() -> Iterator[Line]:
    """A line in the notebook's output, in the terminal, in a Prefect flow's log, or on stderr, whichever this is."""
    logger = prefectrun.logger()
    if logger is not None:
        yield _LogLine(logger.info)
    elif _in_notebook():
        yield _NotebookLine()
    elif sys.stderr.isatty():
        line = _TerminalLine()
        try:
            yield line
        finally:
            line.end()
    else:
        yield _LogLine(lambda text: sys.stderr.write(f"{text}\n"))


class _NotebookLine:
    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, percent: int | None = None) -> None:
        from IPython.display import HTML, display

        html = HTML(bar(text, percent))  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(html)


class _TerminalLine:
    """Cut to the terminal's width: what runs over its edge could not be taken back."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str, percent: int | None = None) -> None:  # noqa: ARG002 - the text says it
        sys.stderr.write(f"\r\x1b[2K{short(text, _columns() - 1)}")
        sys.stderr.flush()
        self._shown = True

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\n")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


class _LogLine:
    """Says something only when it changed."""

    def __init__(self, say: Any) -> None:
        self._say = say
        self._last = ""

    def show(self, text: str, percent: int | None = None) -> None:  # noqa: ARG002 - the text says it
        if text != self._last:
            self._say(text)
            self._last = text


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"


def bar(text: str, percent: int | None) -> str:
    """A line with the part that is done, from 0 to 100 percent, as HTML."""
    meter = "" if percent is None else f'<progress max="100" value="{percent}" style="width:12em"></progress> '
    return f"<div>{meter}<code>{escape(text)}</code></div>"


def card(rows: Rows, *, note: str = "", more: str = "") -> str:
    """What an object is and what one does with it, as HTML; ``note`` says what could not be told, ``more`` is HTML."""
    said = f"<p><small>{_cell(note)}</small></p>" if note else ""
    return (table((), rows, parts=4) if rows else "") + more + said


def session(
    server_url: str, who: User | None, services: Mapping[str, Mapping[str, Any]] | None, *, note: str = ""
) -> str:
    """The session as HTML: where, who, and what of the platform is up, as far as that is known."""
    rows: list[tuple[str, str]] = [("server", server_url)]
    if who is not None:
        rows += [("user", who.login), ("groups", _names(who.groups))]
    if services is not None:
        states = [f"{name} {'up' if state.get('ok') else 'DOWN'}" for name, state in services.items()]
        rows.append(("services", _names(states)))
    return card(rows, note=note)


def user(who: User) -> str:
    """Who one is, as HTML."""
    rows = [("user", who.login), ("groups", _names(who.groups)), ("roles", _names(who.roles)), ("by", who.via)]
    return table((), rows)


def job(job_id: str, process: str, now: Progress, *, note: str = "") -> str:
    """A job as HTML; ``note`` says why this may be old."""
    rows = [("job", job_id), ("process", process), *_when(now)]
    done = bar(progress(process, now), None if now.status in ENDED else now.percent)
    return card(rows, more=done, note=note)


def moment(now: Progress) -> str:
    """How far a job is, as HTML."""
    return card(_when(now), more=bar(progress("", now), None if now.status in ENDED else now.percent))


_JOB_HEAD = ("job", "process", "state", "%", "created", "what it says")


def _job_rows(found: Sequence[tuple[str, str, Progress]]) -> Rows:
    return [
        (job_id, process, now.status.value, now.percent, _instant(now.created), now.message)
        for job_id, process, now in found
    ]


def jobs(found: Sequence[tuple[str, str, Progress]], *, parts: int = 1) -> str:
    """Jobs as HTML, one of so many ``parts`` of a page."""
    return table(_JOB_HEAD, _job_rows(found), parts=parts)


def jobs_text(found: Sequence[tuple[str, str, Progress]]) -> str:
    """Jobs as text."""
    return text_table(_JOB_HEAD, _job_rows(found))


_KEY_HEAD = ("name", "id", "expires", "last used")


def _key_rows(found: Sequence[Key]) -> Rows:
    return [
        (key.name, key.id, _instant(key.expires) or "when revoked", _instant(key.last_used) or "never") for key in found
    ]


def keys(found: Sequence[Key], *, parts: int = 1) -> str:
    """API keys as HTML, one of so many ``parts`` of a page; their secrets are not shown."""
    return table(_KEY_HEAD, _key_rows(found), parts=parts)


def keys_text(found: Sequence[Key]) -> str:
    """API keys as text; their secrets are not shown."""
    return text_table(_KEY_HEAD, _key_rows(found))


_READER_HEAD = ("", "name", "may", "until")


def _reader_rows(found: Sequence[Reader]) -> Rows:
    return [(each.kind, each.name, ", ".join(each.rights), _instant(each.until) or "no end") for each in found]


def readers(found: Sequence[Reader]) -> str:
    """Readers of a collection as HTML."""
    return table(_READER_HEAD, _reader_rows(found))


def readers_text(found: Sequence[Reader]) -> str:
    """Readers of a collection as text."""
    return text_table(_READER_HEAD, _reader_rows(found))


_ORDER_HEAD = ("order", "item", "state", "expected")


def _order_rows(found: Sequence[Order]) -> Rows:
    return [(each.id, each.item, each.status, _instant(each.estimated)) for each in found]


def orders(found: Sequence[Order]) -> str:
    """Orders at an archive as HTML."""
    return table(_ORDER_HEAD, _order_rows(found))


def orders_text(found: Sequence[Order]) -> str:
    """Orders at an archive as text."""
    return text_table(_ORDER_HEAD, _order_rows(found))


_SUBSCRIPTION_HEAD = ("subscription", "to", "state", "items", "seen up to", "finds", "what it says")


def _subscription_rows(found: Sequence[Subscription]) -> Rows:
    return [
        (each.id, each.to, each.state, each.items, _instant(each.cursor), each.finds, each.reason) for each in found
    ]


def subscriptions(found: Sequence[Subscription], *, parts: int = 1) -> str:
    """Subscriptions as HTML, one of so many ``parts`` of a page."""
    return table(_SUBSCRIPTION_HEAD, _subscription_rows(found), parts=parts)


def subscriptions_text(found: Sequence[Subscription]) -> str:
    """Subscriptions as text."""
    return text_table(_SUBSCRIPTION_HEAD, _subscription_rows(found))


def subscription(one: Subscription) -> str:
    """A subscription as HTML: what it finds, where that goes to, and how far it is."""
    rows = [
        ("subscription", one.id),
        ("finds", one.finds),
        ("to", one.to),
        ("options", ", ".join(f"{name} {_option(value)}" for name, value in one.options.items())),
        ("published since", _instant(one.since)),
        ("seen up to", _instant(one.cursor)),
        ("last look", _instant(one.looked) or "not yet"),
        ("so far", _so_far(one)),
        ("state", f"ended {_instant(one.ended)}" if one.ended else one.state),
    ]
    return card(rows, note=one.reason)


def subscription_line(one: Subscription) -> str:
    """One line about a subscription."""
    parts = [f"{short(one.finds, _MESSAGE_CHARACTERS)} → {one.to}", one.state, f"since {_instant(one.since)}"]
    parts += [f"seen up to {_instant(one.cursor)}", _so_far(one)]
    return " · ".join((*parts, *([short(one.reason, _MESSAGE_CHARACTERS)] if one.reason else [])))


def _so_far(one: Subscription) -> str:
    return f"{one.items} item{'s' * (one.items != 1)} in {one.jobs} job{'s' * (one.jobs != 1)}"


def _option(value: Any) -> str:
    """An option of staging as a person says it; no names are all of them."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if not isinstance(value, list) else " ".join(map(str, value)) or "all"


def item(one: pystac.Item) -> str:
    """An item as HTML: its properties, its footprint and its assets."""
    rows = [("item", one.id), ("collection", one.collection_id or ""), *sorted(one.properties.items())]
    assets = [
        (name, asset.media_type or "", _size_of(asset.extra_fields.get("file:size")), ", ".join(asset.roles or ()))
        for name, asset in one.assets.items()
    ]
    listed = table(("", "type", "size", "roles"), assets, parts=2)
    folded = f"<details><summary>{len(assets)} assets</summary>{listed}</details>"
    return table((), rows, parts=2) + folded + footprints([one])


_ITEM_HEAD = ("id", "collection", "time", "platform", "size", "assets")


def _item_row(one: pystac.Item) -> Sequence[Any]:
    properties = one.properties
    begin = properties.get("start_datetime") or (one.datetime.isoformat() if one.datetime else "")
    volume = sum(asset.extra_fields.get("file:size") or 0 for asset in one.assets.values())
    platform = properties.get("platform", "")
    return one.id, one.collection_id or "", str(begin)[:19], platform, _size_of(volume), len(one.assets)


def items(found: Sequence[pystac.Item], *, matched: int | None = None) -> str:
    """Items as HTML: a table, and where on Earth they lie."""
    rows = [_item_row(one) for one in found[:MAX_ROWS]]
    return f"<p>{_count(found, matched)}</p>{table(_ITEM_HEAD, rows)}{footprints(found[:MAX_ROWS])}"


def items_text(found: Sequence[pystac.Item], *, matched: int | None = None) -> str:
    """Items as text."""
    return f"{_count(found, matched)}\n{text_table(_ITEM_HEAD, [_item_row(one) for one in found[:MAX_ROWS]])}"


def collection(one: pystac.Collection) -> str:
    """A collection as HTML."""
    rows = [("collection", one.id), ("title", one.title or ""), ("description", one.description)]
    rows.append(("address", one.get_self_href() or ""))
    return table((), [*rows, *((name, _names(map(str, values))) for name, values in one.summaries.lists.items())])


_COLLECTION_HEAD = ("id", "title", "description")


def collections(found: Sequence[pystac.Collection], *, parts: int = 1) -> str:
    """The collections of a service as HTML, one of so many ``parts`` of a page."""
    rows = [(one.id, one.title or "", one.description) for one in found]
    return table(_COLLECTION_HEAD, rows, parts=parts)


def collections_text(found: Sequence[pystac.Collection]) -> str:
    """The collections of a service as text."""
    return text_table(_COLLECTION_HEAD, [(one.id, one.title or "", one.description) for one in found])


def table(head: Sequence[str], rows: Rows, *, parts: int = 1) -> str:
    """Rows as an HTML table, one of so many ``parts`` of a page; those that are too many are counted."""
    top = f"<thead><tr>{''.join(f'<th{_CELL}>{_cell(name)}</th>' for name in head)}</tr></thead>" if head else ""
    most = _TABLE_BYTES // parts
    body: list[str] = []
    for row in rows:
        line = f"<tr>{''.join(f'<td{_CELL}>{_cell(value)}</td>' for value in row)}</tr>"
        most -= len(line.encode())
        if most < 0:
            break
        body.append(line)
    more = f"<p>… and {len(rows) - len(body)} more</p>" if len(body) < len(rows) else ""
    return f"<table>{top}<tbody>{''.join(body)}</tbody></table>{more}"


def text_table(head: Sequence[str], rows: Rows) -> str:
    """Rows as text, in columns."""
    lines = [tuple(head), *(tuple(short(value) for value in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def lines(found: Sequence[str], *, last: bool = False) -> str:
    """Text as HTML, line by line; of what is too long the first lines are shown, or the ``last``."""
    kept: list[str] = []
    most = _TABLE_BYTES
    for line in reversed(found) if last else found:
        shown = escape(line[:_LINE_CHARACTERS])
        most -= len(shown.encode()) + 1
        if most < 0:
            break
        kept.append(shown)
    left = len(found) - len(kept)
    told = kept[::-1] if last else kept
    more = f"<p>… and {left} {'before' if last else 'more'}</p>" if left else ""
    block = "\n".join(told)
    return f"{more if last else ''}<pre>{block}</pre>{'' if last else more}"


def _cell(value: Any) -> str:
    return escape(short(value))


def short(value: Any, most: int = _CELL_CHARACTERS) -> str:
    """A text in one line of ``most`` characters; what is left out is said by an ellipsis."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _count(found: Sequence[Any], matched: int | None) -> str:
    shown = min(len(found), MAX_ROWS)
    if matched is None:
        return f"the first {shown}" if len(found) >= MAX_ROWS else f"{shown} item{'s' * (shown != 1)}"
    return f"{shown} of {matched}"


def _names(names: Any) -> str:
    listed = list(names)
    more = f", … {len(listed) - _NAMES} more" if len(listed) > _NAMES else ""
    return ", ".join(listed[:_NAMES]) + more or "none"


def _when(now: Progress) -> Rows:
    if now.created is None:
        return ()
    took = f"{(now.finished - now.created).total_seconds():.1f} s" if now.finished else ""
    return [("created", _instant(now.created)), *([("took", took)] if took else [])]


def _instant(when: datetime | None) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if when else ""


def _size_of(volume: Any) -> str:
    return size(volume) if isinstance(volume, int | float) and volume else ""


_MAP_WIDTH, _MAP_POINTS, _MAP_RINGS = 420, 600, 80
_LEAST_WIDTH = 30.0  # degrees of longitude that a map shows at least


def footprints(found: Sequence[pystac.Item]) -> str:
    """Where items lie, as a small SVG map with a graticule of 10 or 30 degrees; nothing if none has a geometry."""
    whole = [ring for one in found for ring in _rings(one.geometry or {})][:_MAP_RINGS]
    rings = [ring[:: 1 + len(ring) * len(whole) // _MAP_POINTS] for ring in whole]
    points = [point for ring in rings for point in ring]
    if not points:
        return ""
    west, south, width, height = _window(points)
    step = 10 if width <= 120 else 30
    shapes = [_path(ring, west, south + height) for ring in rings]
    grid = [
        *(f"M{x - west:.1f} 0V{height:.1f}" for x in _ticks(west, width, step)),
        *(f"M0 {south + height - y:.1f}H{width:.1f}" for y in _ticks(south, height, step)),
    ]
    stroke = width / _MAP_WIDTH
    label = f"{_degrees(south, 'SN')} to {_degrees(south + height, 'SN')}"
    across = f"{_degrees(west, 'WE')} to {_degrees(west + width, 'WE')}"
    return (
        f'<svg role="img" aria-label="footprints" width="{_MAP_WIDTH}" viewBox="0 0 {width:.1f} {height:.1f}" '
        f'style="display:block;max-width:100%;border:1px solid currentColor">'
        f'<path d="{"".join(grid)}" stroke="currentColor" stroke-opacity=".2" stroke-width="{stroke:.3f}" fill="none"/>'
        f'<path d="{"".join(shapes)}" stroke="#1f8fff" stroke-width="{2 * stroke:.3f}" fill="#1f8fff" '
        f'fill-opacity=".25"/></svg><small>{label}, {across}, a line every {step}°</small>'
    )


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):.0f}°{sides[value >= 0]}"


def _rings(geometry: Mapping[str, Any]) -> Iterator[Sequence[Sequence[float]]]:
    """The outer rings of a polygon or of several."""
    coordinates = geometry.get("coordinates") or ()
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(geometry.get("type")), ())
    for polygon in polygons:
        if polygon:
            yield [(float(x), float(y)) for x, y, *_ in polygon[0]]


def _window(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """West, south, width and height of a window around points, twice as wide as high, within the world."""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    width = max(_LEAST_WIDTH, 1.3 * (max(xs) - min(xs)), 2.6 * (max(ys) - min(ys)))
    width = min(width, 360.0)
    west = min(max((min(xs) + max(xs) - width) / 2, -180.0), 180.0 - width)
    south = min(max((min(ys) + max(ys) - width / 2) / 2, -90.0), 90.0 - width / 2)
    return west, south, width, width / 2


def _ticks(first: float, length: float, step: int) -> Iterator[int]:
    begin = int(first // step + 1) * step
    yield from range(begin, int(first + length) + 1, step)


def _path(ring: Sequence[Sequence[float]], west: float, north: float) -> str:
    return "M" + "L".join(f"{x - west:.2f} {north - y:.2f}" for x, y in ring) + "Z"
