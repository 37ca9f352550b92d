"""From a problem document to one error of ours: its class, its built-in base, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

import rs_client
from rs_client.errors import RsError, from_problem


@pytest.mark.parametrize(
    ("status", "document", "expected", "builtin"),
    [
        (400, {}, rs_client.Invalid, ValueError),
        (401, {}, rs_client.NotAuthenticated, PermissionError),
        (403, {}, rs_client.Forbidden, PermissionError),
        (404, {}, rs_client.NotFound, LookupError),
        (409, {}, rs_client.Conflict, Exception),
        (418, {}, RsError, Exception),
        (422, {}, rs_client.Invalid, ValueError),
        (429, {}, rs_client.ServiceUnavailable, ConnectionError),
        (500, {}, rs_client.ServiceUnavailable, ConnectionError),
        (502, {}, rs_client.StationUnavailable, ConnectionError),
        (503, {}, rs_client.ServiceUnavailable, ConnectionError),
        (503, {"station": "sgs"}, rs_client.StationUnavailable, ConnectionError),
        (404, {"station": "sgs"}, rs_client.NotFound, LookupError),
        (504, {}, rs_client.StationUnavailable, ConnectionError),
    ],
)
def test_class(status: int, document: dict[str, Any], expected: type[RsError], builtin: type[Exception]) -> None:
    error = from_problem(status, document)
    assert type(error) is expected
    assert isinstance(error, builtin)
    assert isinstance(error, RsError)
    assert error.status == status


def test_it_says_what_happened_what_to_do_and_what_to_tell_the_operators() -> None:
    error = from_problem(404, {"detail": "no such item", "hint": "search for it", "request_id": "a1b2"})
    assert str(error) == "no such item\n  → search for it\n  → request a1b2"
    assert error.problem["detail"] == "no such item"
    assert (error.detail, error.hint, error.request_id) == ("no such item", "search for it", "a1b2")


@pytest.mark.parametrize(
    ("document", "said"),
    [({}, "the server answered 500"), ({"title": "Broken"}, "Broken"), ({"title": "Broken", "detail": "why"}, "why")],
)
def test_it_says_the_best_that_is_known(document: dict[str, Any], said: str) -> None:
    assert str(from_problem(500, document)) == said


def test_every_error_can_be_made_alone() -> None:
    kinds = [kind for kind in vars(rs_client).values() if isinstance(kind, type) and issubclass(kind, RsError)]
    assert len(kinds) == 12
    for kind in kinds:
        assert str(kind("what", hint="do")) == "what\n  → do"
