"""What can go wrong between you and the platform: one tree, each error saying what, why and what to do.

::

    RsError
      NotConfigured        (LookupError)      nothing says where the platform is, or who you are
      Invalid              (ValueError)       the request was refused as it stands; ``fields`` names what is wrong
      NotAuthenticated     (PermissionError)  no login that the platform knows
        AuthExpired                           a login that is over
      Forbidden            (PermissionError)  you are known, and may not
      NotFound             (LookupError)      does not exist, or you may not see it
      Conflict                                clashes with what is there
      QuotaExceeded                           more than you may use, or too often; ``retry_after_s`` where it passes
      StationUnavailable   (ConnectionError)  a ``station`` is down, slow or refuses; ``retry_after_s``
      ServiceUnavailable   (ConnectionError)  the platform, or a part of it, does not answer
      Timeout              (TimeoutError)     it took longer than you wanted to wait
      EnvironmentMismatch  (RuntimeError)     a cluster runs other versions than you; ``versions`` names them
      JobFailed            (RuntimeError)     the ``job`` ended without a result; ``step``, ``log_tail``
      JobDismissed         (RuntimeError)     the job was dismissed
    Detached               (KeyboardInterrupt)  you stopped waiting; the job goes on
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

_HERE = str(Path(__file__).parent)


class RsError(Exception):
    """Base of the client's errors.

    ``detail`` says what happened and why, ``hint`` what to do: what the server advises, else what is good advice for
    any error of the kind. ``status`` is the HTTP status (0: none was had), ``url`` what was asked, ``request_id`` what
    the operators find the request by, ``retry_after_s`` when it is worth another try (seconds; ``None``: not told), and
    ``problem`` the server's whole problem document (RFC 9457).
    """

    ADVICE: ClassVar[str] = "tell the operators, with the time and what you did"
    """What to do where nobody says anything better."""

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        status: int = 0,
        url: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or (f"try again in {retry_after_s:.0f} s" if retry_after_s else self.ADVICE)
        self.status = status
        self.url = url
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.problem = dict(problem or {})

    def __str__(self) -> str:
        notes = (*self._notes(), self.hint, f"request {self.request_id}" if self.request_id else "")
        return "\n".join((self.detail, *(f"  → {note}" for note in notes if note)))

    def _notes(self) -> Sequence[str]:
        """What else there is to say, a line each."""
        return ()

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the line of yours that asked, and the error; nothing of our inside."""
        return [*_asked_at(self.__traceback__), f"{type(self).__name__}: {self}"]


class NotConfigured(RsError, LookupError):
    """Nothing says where the platform is, or who you are."""

    ADVICE = "rs login URL, or set RS_SERVER_URL and RS_API_KEY"


class Invalid(RsError, ValueError):
    """The request was refused as it stands."""

    ADVICE = "nothing was done: change the request"

    @property
    def fields(self) -> dict[str, str]:
        """What is wrong with which part of the request, where the server says so."""
        faults = self.problem.get("errors")
        told = (fault for fault in faults if isinstance(fault, Mapping)) if isinstance(faults, list) else ()
        return {str(fault["where"]): str(fault["what"]) for fault in told if {"where", "what"} <= fault.keys()}

    def _notes(self) -> Sequence[str]:
        """The faults after the first, which the detail names."""
        return [f"{where}: {what}" for where, what in self.fields.items() if what not in self.detail]


class NotAuthenticated(RsError, PermissionError):
    """No login that the platform knows."""

    ADVICE = "log in (rs login), or look at RS_API_KEY"


class AuthExpired(NotAuthenticated):
    """A login that is over."""

    ADVICE = "log in again, and connect anew"


class Forbidden(RsError, PermissionError):
    """You are known, and may not."""

    ADVICE = "s.whoami() tells your roles; ask the owner, or the operators, for the right"


class NotFound(RsError, LookupError):
    """Does not exist, or you may not see it."""

    ADVICE = "look for it in a list; what you may not see is not found either"


class Conflict(RsError):
    """Clashes with what is there."""

    ADVICE = "look at what is there now"


class QuotaExceeded(RsError):
    """More than you may use, or too often."""

    ADVICE = "ask for less, or later"


class StationUnavailable(RsError, ConnectionError):
    """A station is down, slow or refuses."""

    ADVICE = "try again later, or another station"

    @property
    def station(self) -> str:
        """Which one; empty where the server does not say."""
        return str(self.problem.get("station", ""))


class ServiceUnavailable(RsError, ConnectionError):
    """The platform, or a part of it, does not answer."""

    ADVICE = "try again soon"


class Timeout(RsError, TimeoutError):
    """It took longer than you wanted to wait."""

    ADVICE = "try again later, or wait longer"


class EnvironmentMismatch(RsError, RuntimeError):
    """A cluster runs other versions than you; ``versions`` is package → place → version."""

    def __init__(self, detail: str, *, versions: Mapping[str, Mapping[str, str]], hint: str = "") -> None:
        super().__init__(detail, hint=hint)
        self.versions = {package: dict(places) for package, places in versions.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _mismatch, (self.detail, self.versions, self.hint)


class JobFailed(RsError, RuntimeError):
    """The job ended without a result; ``job`` is its id, ``step`` what failed, ``log_tail`` what it said last.

    ``problem`` is what it failed with, ``unit`` and ``input`` among it where a processor did.
    """

    ADVICE = "the job's log says more: s.job(ID).log, or rs jobs log ID"

    def __init__(
        self, detail: str, *, job: str = "", step: str = "", log_tail: Sequence[str] = (), **more: Any
    ) -> None:
        super().__init__(detail, **more)
        self.job, self.step, self.log_tail = job, step, tuple(log_tail)

    def _notes(self) -> Sequence[str]:
        return ["its log ended with:", *(f"  {line}" for line in self.log_tail)] if self.log_tail else ()


class JobDismissed(RsError, RuntimeError):
    """The job was dismissed."""

    ADVICE = "its log says by whom; start it again if you want it"


class Detached(KeyboardInterrupt):
    """You stopped waiting (Ctrl-C); the job goes on, and the message says how to come back to it."""

    def __init__(self, job: str) -> None:
        super().__init__(f"job {job} goes on without you; come back with s.job({job!r}).wait(), or: rs jobs wait {job}")
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return Detached, (self.job,)

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


_BY_STATUS: Mapping[int, type[RsError]] = {
    400: Invalid,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: QuotaExceeded,
    422: Invalid,
    429: QuotaExceeded,
    502: ServiceUnavailable,  # of a gateway before the server: errors of a station name it
    503: ServiceUnavailable,
    504: ServiceUnavailable,
    507: QuotaExceeded,
}


def error_class(status: int, document: Mapping[str, Any]) -> type[RsError]:
    """The class for an answer: by its status, and by what its problem document tells."""
    if status >= 500 and "station" in document:
        return StationUnavailable
    if status == 401 and "expired" in str(document.get("detail", "")):
        return AuthExpired
    return _BY_STATUS.get(status, ServiceUnavailable if status >= 500 else RsError)


def from_problem(
    status: int,
    document: Mapping[str, Any],
    *,
    kind: type[RsError] | None = None,
    url: str = "",
    retry_after_s: float | None = None,
) -> RsError:
    """The error that an RFC 9457 problem document tells of."""
    detail = document.get("detail") or document.get("title") or f"the server answered {status}"
    return (kind or error_class(status, document))(
        str(detail),
        hint=str(document.get("hint") or ""),
        status=status,
        url=url,
        request_id=str(document.get("request_id") or ""),
        retry_after_s=retry_after_s,
        problem=document,
    )


def _mismatch(detail: str, versions: Mapping[str, Mapping[str, str]], hint: str) -> EnvironmentMismatch:
    return EnvironmentMismatch(detail, versions=versions, hint=hint)


def _asked_at(trace: TracebackType | None) -> list[str]:
    """The innermost line of the caller's own code, as a traceback shows it."""
    frames = [frame for frame in traceback.extract_tb(trace) if _HERE not in frame.filename]
    theirs = [frame for frame in frames if "site-packages" not in frame.filename and frame.line]
    return [f"line {theirs[-1].lineno}: {theirs[-1].line}"] if theirs else []
