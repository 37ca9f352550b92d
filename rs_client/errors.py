"""What can go wrong between you and the platform: one tree, each error saying what, why and what to do.

::

    RsError
      NotConfigured      (LookupError)      nothing says where the platform is, or who you are
      Invalid            (ValueError)       the request was refused as it stands
      NotAuthenticated   (PermissionError)  no login, or one that is over
      Forbidden          (PermissionError)  you are known, and may not
      NotFound           (LookupError)      does not exist, or you may not see it
      Conflict
      StationUnavailable (ConnectionError)  a station is down, slow or refuses
      ServiceUnavailable (ConnectionError)  the platform, or a part of it, does not answer
      Timeout            (TimeoutError)     it took longer than you wanted to wait
      JobFailed          (RuntimeError)     the job ended without a result
      JobDismissed       (RuntimeError)     the job was dismissed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RsError(Exception):
    """Base of the client's errors.

    ``detail`` says what happened and why, ``hint`` what to do, ``status`` is the HTTP status (0: none was had),
    ``request_id`` is what the operators find the request by, and ``problem`` the server's whole problem document
    (RFC 9457), which may name more, such as the ``station`` or all ``errors`` of a form.
    """

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        status: int = 0,
        request_id: str = "",
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.status = status
        self.request_id = request_id
        self.problem = dict(problem or {})

    def __str__(self) -> str:
        notes = (self.hint, f"request {self.request_id}" if self.request_id else "")
        return "\n".join((self.detail, *(f"  → {note}" for note in notes if note)))


class NotConfigured(RsError, LookupError):
    """Nothing says where the platform is, or who you are."""


class Invalid(RsError, ValueError):
    """The request was refused as it stands."""


class NotAuthenticated(RsError, PermissionError):
    """No login, or one that is over."""


class Forbidden(RsError, PermissionError):
    """You are known, and may not."""


class NotFound(RsError, LookupError):
    """Does not exist, or you may not see it."""


class Conflict(RsError):
    """Clashes with what is there."""


class StationUnavailable(RsError, ConnectionError):
    """A station is down, slow or refuses."""


class ServiceUnavailable(RsError, ConnectionError):
    """The platform, or a part of it, does not answer."""


class Timeout(RsError, TimeoutError):
    """It took longer than you wanted to wait."""


class JobFailed(RsError, RuntimeError):
    """The job ended without a result."""


class JobDismissed(RsError, RuntimeError):
    """The job was dismissed."""


_BY_STATUS: Mapping[int, type[RsError]] = {
    400: Invalid,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: ServiceUnavailable,
    502: StationUnavailable,
    503: ServiceUnavailable,
    504: StationUnavailable,
}


def error_class(status: int, document: Mapping[str, Any]) -> type[RsError]:
    """The class for an answer: by its status, and by whether its problem document names a station."""
    if status >= 500 and "station" in document:
        return StationUnavailable
    return _BY_STATUS.get(status, ServiceUnavailable if status >= 500 else RsError)


def from_problem(status: int, document: Mapping[str, Any], *, kind: type[RsError] | None = None) -> RsError:
    """The error that an RFC 9457 problem document tells of."""
    detail = document.get("detail") or document.get("title") or f"the server answered {status}"
    return (kind or error_class(status, document))(
        str(detail),
        hint=str(document.get("hint") or ""),
        status=status,
        request_id=str(document.get("request_id") or ""),
        problem=document,
    )
