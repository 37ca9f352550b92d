"""Looking at the platform for the picture of an object: within seconds, asking no person, and never with an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from rs_client.errors import NotAuthenticated, RsError, Timeout
from rs_client.flow import Call, Identity, Pause, Person, Step, away, refusal
from rs_client.http import Http, options

CARD_S = 2.0
"""Seconds that the platform has to tell what belongs on the card of an object."""
SEARCH_S = 10.0
"""Seconds for a search, which may have to ask stations."""
_RENEWAL_S = 120.0
"""Seconds for a token, as without hurry."""


@dataclass(frozen=True, slots=True)
class Glimpse[T]:
    """What was seen, or nothing and an ``excuse`` in one line."""

    value: T | None = None
    excuse: str = ""


def glance[T](http: Http, look: Callable[[Http], T], within_s: float = CARD_S) -> Glimpse[T]:
    """What ``look`` finds with the connection that it is given, if it does so within ``within_s`` seconds.

    It works in a thread, as a server may send octet after octet for ever, and nobody should have to wait for that.
    """
    found: list[Glimpse[T]] = []

    def seen() -> None:
        try:
            found.append(Glimpse(look(_Brief(http, within_s))))
        except RsError as error:
            found.append(Glimpse(excuse=error.detail))
        except Exception as error:  # noqa: BLE001 - whatever it is, what is looked at can be shown without it
            found.append(Glimpse(excuse=f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=seen, name="glance", daemon=True)
    thread.start()
    thread.join(within_s)
    return found[0] if found else Glimpse(excuse=f"{http.server_url} did not answer within {within_s:g} s")


class _Brief(Http):
    """Drives conversations for who has so many seconds, over the same connections.

    Where another would try again it raises what keeps it from an answer, and ``NotAuthenticated`` where it would ask a
    person to log in.
    """

    def __init__(self, http: Http, within_s: float) -> None:
        super().__init__(http.server_url, http.auth, http.client)
        self.server, self._renewing = http.server, http._renewing  # noqa: SLF001 - the same: one identity at a time
        self._end = time.monotonic() + within_s
        self._trouble: RsError = Timeout(f"{self.server_url} did not answer within {within_s:g} s")

    def _done(self, step: Step) -> Any:
        match step:
            case Call():
                return self._called(step)
            case Pause():
                raise self._trouble
            case Person():
                raise NotAuthenticated("nobody is logged in here", hint="rs login, or s.whoami()")
            case Identity(refused):
                # Begun, it goes on when nobody looks any more: a refresh token that was used and whose answer was not
                # heard may be one that is lost.
                with self._renewing:
                    return _Brief(self, _RENEWAL_S).run(self.auth.identity(refused))
        return super()._done(step)

    def _called(self, call: Call) -> httpx.Response:
        """The answer, in the time that is left; keeps what there is to say if there must be another."""
        left_s = max(0.001, self._end - time.monotonic())
        try:
            answer = self.client.request(**options(call), timeout=left_s)
        except httpx.TimeoutException:
            raise
        except httpx.HTTPError as error:
            self._trouble = away(self.server_url, error)
            raise
        if answer.is_error:
            self._trouble = refusal(answer)
        return answer
