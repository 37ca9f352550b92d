"""Following a job to its end: by the events that the server sends, or by looking where it sends none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from rs_client.errors import QuotaExceeded, RsError, ServiceUnavailable, Timeout
from rs_client.events import MEDIA_TYPE, Decoder
from rs_client.flow import Flow, HangUp, Hear, Identity, Listen, Listening, Pause, Server, away, document, refusal
from rs_client.progress import ENDED, Progress

POLL_S = 1.0
"""Seconds between two looks at a job, where there are no events."""
PATIENCE_S = 300.0
"""How long, in seconds, one bears with a server that does not answer: jobs outlive its restarts."""
SILENCE_S = 45.0
"""How long, in seconds, events may be silent: the server says something every 15 s, if only that it is there."""
_NO_EVENTS = frozenset({404, 405, 406, 501})


class Watch:
    """Follows one job. ``tell`` gets each state, ``excuse`` what keeps us from seeing it; ``timeout_s`` ends it.

    ``clock`` tells seconds from any start.
    """

    def __init__(
        self,
        server: Server,
        job: str,
        *,
        tell: Callable[[Progress], None],
        excuse: Callable[[str], None],
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._job, self._tell, self._excuse, self._clock = server, job, tell, excuse, clock
        self._deadline = None if timeout_s is None else clock() + timeout_s
        self._answered = clock()
        self._events = True
        self._last_id = ""
        self._progress: Progress | None = None

    def to_end(self) -> Flow[Progress]:
        """The state in which it ended.

        Raises ``Timeout`` when that took too long, ``NotFound`` for a job that is not yours or gone, and what keeps us
        from seeing it (``ServiceUnavailable``, ``QuotaExceeded``, ``Timeout``) when that lasts for ``PATIENCE_S``.
        """
        while True:
            pause_s = POLL_S
            try:
                yield from self._listen() if self._events else self._look()
            except (ServiceUnavailable, QuotaExceeded, Timeout) as error:
                if self._clock() - self._answered > PATIENCE_S:
                    raise
                self._excuse(error.detail)
                pause_s = max(POLL_S, error.retry_after_s or 0.0)
            if self._progress is not None and self._progress.status in ENDED:
                return self._progress
            self._in_time()
            yield Pause(min(pause_s, self._left_s()))

    def _look(self) -> Flow[None]:
        """Ask once."""
        self._heard((yield from self._server.get(f"/jobs/{self._job}")))

    def _listen(self) -> Flow[None]:
        """Hear events until the job or the stream ends; without events, look from now on."""
        listening = yield from self._opened()
        try:
            if listening.answer.is_error and listening.answer.status_code not in _NO_EVENTS:
                raise refusal(listening.answer)
            if not listening.answer.headers.get("Content-Type", "").startswith(MEDIA_TYPE):
                self._events = False
                return (yield from self._look())
            yield from self._hear(listening)
        finally:
            yield HangUp(listening)

    def _opened(self) -> Flow[Listening]:
        identity: dict[str, str] = yield Identity()
        url = self._server.address(f"/jobs/{self._job}/events")
        resume = {"Last-Event-ID": self._last_id} if self._last_id else {}
        headers = {**identity, **resume, "Accept": MEDIA_TYPE, "Cache-Control": "no-store"}
        try:
            listening: Listening = yield Listen(url, headers, min(SILENCE_S, self._left_s()))
            if listening.answer.status_code == 401:
                yield HangUp(listening)
                fresh: dict[str, str] = yield Identity(refused=identity)
                listening = yield Listen(url, {**headers, **fresh}, min(SILENCE_S, self._left_s()))
        except httpx.HTTPError as error:
            raise away(self._server.url, error) from error
        return listening

    def _hear(self, listening: Listening) -> Flow[None]:
        decoder = Decoder(self._last_id)
        silence_s = min(SILENCE_S, self._left_s())
        while text := (yield from self._next(listening)):
            for event in decoder.feed(text):
                if event.name == "status":
                    self._heard(json.loads(event.data))
                    self._last_id = event.id
            self._answered = self._clock()
            if self._over() or self._left_s() < silence_s - 1:  # so near to our end, silence must be cut shorter
                return

    def _next(self, listening: Listening) -> Flow[str]:
        try:
            text: str = yield Hear(listening)
        except httpx.HTTPError as error:  # the stream broke off, or was silent: the way out is to open it again
            if self._late():
                return ""
            raise away(self._server.url, error) from error
        return text

    def _heard(self, document: dict[str, Any]) -> None:
        self._answered = self._clock()
        self._progress = Progress.of(document)
        self._tell(self._progress)

    def _over(self) -> bool:
        return self._progress is not None and self._progress.status in ENDED

    def _left_s(self) -> float:
        """How long we still wait, in seconds."""
        return float("inf") if self._deadline is None else max(0.001, self._deadline - self._clock())

    def _late(self) -> bool:
        return self._deadline is not None and self._clock() >= self._deadline

    def _in_time(self) -> None:
        if self._late():
            state = self._progress.status if self._progress else "unknown"
            raise Timeout(f"job {self._job} is still {state}", hint=f"it goes on: s.job({self._job!r}).wait()")


def problem_of(server: Server, job: str) -> Flow[dict[str, Any]]:
    """What a job failed with, as a problem document (RFC 9457); empty where that cannot be had."""
    try:  # once: the status of the answer is that of the failure, and says nothing of the server
        answer = yield from server.once("GET", f"/jobs/{job}/results")
    except RsError:
        return {}
    return document(answer) if answer.is_error else {}


def last_lines(server: Server, job: str, count: int = 5) -> Flow[list[str]]:
    """What a job said last, at most ``count`` lines; nothing where that cannot be had."""
    try:
        lines: list[dict[str, Any]] = yield from server.get(f"/jobs/{job}/log")
    except RsError:
        return []
    return [str(entry["line"]) for entry in lines[-count:]]
