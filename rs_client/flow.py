"""What is said to the server: each conversation described once, as a generator, and driven with or without asyncio.

A flow yields steps and is sent their results: a ``Call`` gives an ``httpx.Response`` (or raises ``httpx.HTTPError``
into the flow), a ``Pause`` and a ``Person`` give nothing, an ``Identity`` gives the headers that say who you are,
``Listen`` an answer that goes on, ``Hear`` its next piece of text. The drivers are in ``http`` and ``asynchttp``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from rs_client.errors import Invalid, RsError, ServiceUnavailable, Timeout, from_problem

TRIES = 4
"""How often a request is sent that may be repeated."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_AWAY = frozenset({502, 503, 504})
_BUSY = 429
_NO_LOGIN = 401
_REDIRECTS = 5
_AS_IT_WAS = frozenset({307, 308})  # redirects that keep method and body


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    json: Any = None
    form: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Waiting, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Person:
    """A wish to ask a person for something, which may take minutes; a driver in a hurry throws ``NotAuthenticated``."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A wish for the headers that say who you are; ``refused`` are those that the server does not take any more."""

    refused: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """One HTTP request whose answer goes on; ``silence_s`` is how long, in seconds, it may say nothing."""

    url: str
    headers: Mapping[str, str]
    silence_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """An answer that goes on, and its text as it comes."""

    answer: httpx.Response
    text: Any  # an iterator, or one of asyncio: the driver's matter


@dataclass(frozen=True, slots=True)
class Hear:
    """The next piece of text; empty at the end."""

    to: Listening


@dataclass(frozen=True, slots=True)
class HangUp:
    """The end of listening."""

    to: Listening


type Step = Call | Pause | Person | Identity | Listen | Hear | HangUp
type Flow[T] = Generator[Step, Any, T]


class Server:
    """Conversations with rs-server: JSON answers, refusals as the errors of ``rs_client.errors``.

    What may safely be repeated is tried again when the server is away for a moment or has too much to do; what changes
    something is sent once, except after a 401, which says that nothing was done. All of them raise the error of a
    refusal, ``Invalid`` for an address that is not this server's, ``Timeout`` or ``ServiceUnavailable`` when there is
    no answer, and ``RsError`` for one that is not JSON or for redirects in a circle.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._origins = {_origin(self.url)}

    def get(self, path: str, **parameters: Any) -> Flow[Any]:
        """The JSON answer of a path, or of an address of the server; tried again when it is away for a moment."""
        return read((yield from self.again("GET", path, params=parameters or None)))

    def post(self, path: str, body: Any) -> Flow[Any]:
        """Send JSON once."""
        return read((yield from self.once("POST", path, json=body)))

    def post_once(self, path: str, body: Any) -> Flow[Any]:
        """Send JSON that must have its effect once: tried again under one Idempotency-Key, which the server knows."""
        headers = {"Idempotency-Key": str(uuid4())}
        return read((yield from self.again("POST", path, json=body, headers=headers)))

    def put(self, path: str, body: Any) -> Flow[Any]:
        """Put JSON in a place; to do it twice is to do it once, so it is tried again."""
        return read((yield from self.again("PUT", path, json=body)))

    def delete(self, path: str) -> Flow[Any]:
        """Delete once."""
        return read((yield from self.once("DELETE", path)))

    def again(self, method: str, path: str, **options: Any) -> Flow[httpx.Response]:
        """The answer, refusals included, to a request that may be repeated: ``TRIES`` times at most."""
        for attempt in range(TRIES - 1):
            pause = _FIRST_PAUSE_S * 2**attempt
            try:
                answer = yield from self.once(method, path, **options)
            except ServiceUnavailable:
                pass
            else:
                if answer.status_code not in _AWAY and answer.status_code != _BUSY:
                    return answer
                pause = max(pause, _asked_to_wait(answer))
            yield Pause(pause)
        return (yield from self.once(method, path, **options))

    def also_at(self, url: str) -> None:
        """Take another address for this server's: the one that it calls its own in its links."""
        self._origins.add(_origin(url))

    def owns(self, url: str) -> bool:
        """Whether an address lies at this server, so that it may be shown your identity."""
        return _origin(url) in self._origins

    def address(self, path: str) -> str:
        """The whole address of a path; ``Invalid`` for one that is not this server's."""
        url = f"{self.url}{path}" if path.startswith("/") else path
        if not self.owns(url):
            raise Invalid(f"{url} is not an address of {self.url}")
        return url

    def once(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Flow[httpx.Response]:
        """One request, a second time with a fresh identity where the first was refused: the answer, as it is."""
        call = Call(method, self.address(path), headers or {}, **options)
        identity: dict[str, str] = yield Identity()
        answer = yield from self._followed(call, identity)
        if answer.status_code == _NO_LOGIN:
            renewed: dict[str, str] = yield Identity(refused=identity)
            if renewed != identity:
                answer = yield from self._followed(call, renewed)
        return answer

    def _followed(self, call: Call, identity: Mapping[str, str]) -> Flow[httpx.Response]:
        """The answer at the end of the redirects; only this server is told who you are."""
        for _ in range(_REDIRECTS):
            known = identity if self.owns(call.url) else {}
            answer = yield from self.called(replace(call, headers={**known, **call.headers}))
            if not answer.has_redirect_location or (call.method != "GET" and answer.status_code not in _AS_IT_WAS):
                return answer
            call = replace(call, url=str(answer.url.join(answer.headers["location"])), params=None)
        raise RsError(f"{call.url} sends us from one address to the next", url=call.url)

    def called(self, call: Call) -> Flow[httpx.Response]:
        """The answer to a call as it is; ``Timeout`` or ``ServiceUnavailable`` when there is none."""
        try:
            answer: httpx.Response = yield call
        except httpx.TimeoutException as error:
            raise Timeout(f"{call.url} did not answer in time", hint="try again later", url=call.url) from error
        except httpx.HTTPError as error:
            raise away(self.url if self.owns(call.url) else call.url, error) from error
        return answer


def read(answer: httpx.Response) -> Any:
    """The JSON of an answer, nothing where it is empty. Raises the error of a refusal, ``RsError`` for no JSON."""
    if answer.is_error:
        raise refusal(answer)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise RsError(
            f"{answer.url} answered something that is not JSON",
            hint="is RS_SERVER_URL the address of rs-server?",
            url=str(answer.url),
        ) from error


def refusal(answer: httpx.Response) -> RsError:
    """The error that an answer tells of (RFC 9457, or any other body); ``retry_after_s`` is from Retry-After."""
    return from_problem(
        answer.status_code, document(answer), url=str(answer.url), retry_after_s=_seconds(answer.headers)
    )


def document(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where there is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def away(server_url: str, reason: Exception) -> ServiceUnavailable:
    """The error for a server that cannot be reached."""
    return ServiceUnavailable(
        f"{server_url} does not answer: {reason}", hint="is the platform up? try `rs status`", url=server_url
    )


def _asked_to_wait(answer: httpx.Response) -> float:
    """How long a server that is too busy for us wants us to wait, in seconds; it is believed up to a bound."""
    return min(_seconds(answer.headers) or 0.0, _LONGEST_PAUSE_S) if answer.status_code == _BUSY else 0.0


def _seconds(headers: httpx.Headers) -> float | None:
    """What Retry-After says, in seconds; its other form, a date, is not used by our servers."""
    stated = headers.get("Retry-After", "")
    return float(stated) if stated.isdecimal() else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
