"""The Python client of RS-Python: find, stage, process and open Sentinel data from one session."""

from rs_client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    JobDismissed,
    JobFailed,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    RsError,
    ServiceUnavailable,
    StationUnavailable,
    Timeout,
)
from rs_client.session import RsClient, User, connect

__all__ = [
    "Conflict",
    "Forbidden",
    "Invalid",
    "JobDismissed",
    "JobFailed",
    "NotAuthenticated",
    "NotConfigured",
    "NotFound",
    "RsClient",
    "RsError",
    "ServiceUnavailable",
    "StationUnavailable",
    "Timeout",
    "User",
    "connect",
]
