"""The Python client of RS-Python: find, stage, process and open Sentinel data from one session."""

from typing import TYPE_CHECKING

from rs_client.codegen import code
from rs_client.errors import (
    AuthExpired,
    Conflict,
    Detached,
    EnvironmentMismatch,
    Forbidden,
    Invalid,
    JobDismissed,
    JobFailed,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    QuotaExceeded,
    RsError,
    ServiceUnavailable,
    StationUnavailable,
    Timeout,
)
from rs_client.session import RsClient, User, connect

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient, connect_async

__all__ = [
    "AsyncRsClient",
    "AuthExpired",
    "Conflict",
    "Detached",
    "EnvironmentMismatch",
    "Forbidden",
    "Invalid",
    "JobDismissed",
    "JobFailed",
    "NotAuthenticated",
    "NotConfigured",
    "NotFound",
    "QuotaExceeded",
    "RsClient",
    "RsError",
    "ServiceUnavailable",
    "StationUnavailable",
    "Timeout",
    "User",
    "code",
    "connect",
    "connect_async",
]


def __getattr__(name: str) -> object:
    """The session for asyncio is loaded when it is asked for."""
    if name in ("AsyncRsClient", "connect_async"):
        from rs_client import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
