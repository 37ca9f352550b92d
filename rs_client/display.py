"""What a person sees of our objects: plain text in a terminal, small HTML without scripts in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pystac

    from rs_client.jobs import Job, Progress
    from rs_client.session import User

MAX_ROWS = 50
_CELL = "padding:2px 10px;text-align:left"
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Line(Protocol):
    """One line that changes in place."""

    def show(self, text: str) -> None:
        """Replace what it says."""
        ...


def size(number: float) -> str:
    """Bytes as a person says them, in decimal units."""
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def progress(job: Job, now: Progress) -> str:
    """One line about a job."""
    parts = [job.process, str(now.status), f"{now.percent} %"]
    if now.bytes_total:
        parts.append(f"{size(now.bytes_done)} of {size(now.bytes_total)}")
    if now.files_total:
        parts.append(f"{now.files_done}/{now.files_total} files")
    if now.message:
        parts.append(now.message)
    return " · ".join(parts)


@contextmanager
def live_line() -> Iterator[Line]:
    """A line in the notebook's output, in the terminal, or in a log, whichever this is."""
    if _in_notebook():
        yield _NotebookLine()
    elif sys.stderr.isatty():
        line = _TerminalLine()
        try:
            yield line
        finally:
            sys.stderr.write("\n")
    else:
        yield _LogLine()


class _NotebookLine:
    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        from IPython.display import HTML, display

        html = HTML(f"<code>{escape(text)}</code>")  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(html)


class _TerminalLine:
    def show(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()


class _LogLine:
    """Says something only when it changed."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, text: str) -> None:
        if text != self._last:
            sys.stderr.write(f"{text}\n")
            self._last = text


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"


def session(server_url: str, user: User) -> str:
    """The session as HTML."""
    return _table((), [("server", server_url), ("user", user.login), ("groups", ", ".join(user.groups) or "none")])


def job(which: Job, now: Progress) -> str:
    """A job as HTML."""
    return _table((), [("job", which.id), ("process", which.process), ("state", progress(which, now))])


def item(one: pystac.Item) -> str:
    """An item as HTML."""
    rows = [("item", one.id), ("collection", one.collection_id or ""), *sorted(one.properties.items())]
    return _table((), [*rows, ("assets", f"{len(one.assets)}")])


def items(found: Sequence[pystac.Item], *, matched: int | None = None) -> str:
    """The items of a search as HTML."""
    rows = [
        (one.id, one.collection_id or "", one.datetime or "", one.properties.get("platform", ""), len(one.assets))
        for one in found[:MAX_ROWS]
    ]
    count = f"{len(rows)} of {matched if matched is not None else len(found)}"
    return f"<p>{count}</p>" + _table(("id", "collection", "datetime", "platform", "assets"), rows)


def collections(title: str, found: Sequence[pystac.Collection]) -> str:
    """The collections of a service as HTML."""
    rows = [(one.id, one.title or "", one.description) for one in found[:MAX_ROWS]]
    return f"<p>{escape(title)}</p>" + _table(("id", "title", "description"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose texts are escaped: what stations and catalogs say is not trusted."""
    top = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(str(cell)[:200])}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
