"""From a problem document to one error of ours: its class, its built-in base, and what it says."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import rs_client
from rs_client.errors import RsError, from_problem

KINDS = [kind for kind in vars(rs_client).values() if isinstance(kind, type) and issubclass(kind, RsError)]


def made(kind: type[RsError], **more: Any) -> RsError:
    """An error of a kind that says "what"."""
    versions: dict[str, Any] = {"versions": {}} if kind is rs_client.EnvironmentMismatch else {}
    return kind("what", **versions, **more)


@pytest.mark.parametrize(
    ("status", "document", "expected", "builtin"),
    [
        (400, {}, rs_client.Invalid, ValueError),
        (401, {}, rs_client.NotAuthenticated, PermissionError),
        (401, {"detail": "the token has expired"}, rs_client.AuthExpired, PermissionError),
        (413, {}, rs_client.QuotaExceeded, Exception),
        (403, {}, rs_client.Forbidden, PermissionError),
        (404, {}, rs_client.NotFound, LookupError),
        (409, {}, rs_client.Conflict, Exception),
        (412, {}, rs_client.Conflict, Exception),
        (418, {}, RsError, Exception),
        (422, {}, rs_client.Invalid, ValueError),
        (429, {}, rs_client.QuotaExceeded, Exception),
        (500, {}, rs_client.ServiceUnavailable, ConnectionError),
        (502, {}, rs_client.ServiceUnavailable, ConnectionError),
        (502, {"station": "sgs"}, rs_client.StationUnavailable, ConnectionError),
        (503, {}, rs_client.ServiceUnavailable, ConnectionError),
        (503, {"station": "sgs"}, rs_client.StationUnavailable, ConnectionError),
        (404, {"station": "sgs"}, rs_client.NotFound, LookupError),
        (504, {}, rs_client.ServiceUnavailable, ConnectionError),
        (504, {"station": "sgs"}, rs_client.StationUnavailable, ConnectionError),
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
    assert from_problem(500, document).detail == said


def test_each_says_what_to_do_even_where_the_server_does_not() -> None:
    assert from_problem(503, {"detail": "down"}, retry_after_s=30).hint == "try again in 30 s"
    assert from_problem(503, {"detail": "down", "hint": "wait"}, retry_after_s=30).hint == "wait"
    for kind in KINDS:
        error = made(kind)
        assert error.hint
        assert error.hint in str(error)
        assert made(kind, hint="do that").hint == "do that"


@pytest.mark.parametrize("errors", [None, "bad", {"limit": "too large"}, ["limit"], [{"field": "limit"}]])
def test_what_another_server_calls_errors_does_not_hide_its_detail(errors: Any) -> None:
    error = from_problem(400, {"detail": "limit is too large", "errors": errors})
    assert isinstance(error, rs_client.Invalid)
    assert (error.detail, error.fields) == ("limit is too large", {})
    assert str(error) == f"limit is too large\n  → {error.hint}"


def test_every_error_can_be_made_alone() -> None:
    assert len(KINDS) == 15
    for kind in KINDS:
        error = made(kind, hint="do")
        assert str(error) == "what\n  → do"
        there = pickle.loads(pickle.dumps(error))
        assert (type(there), str(there)) == (kind, str(error))


def test_what_an_error_knows() -> None:
    faults = [{"where": "query.limit", "what": "too many"}, {"where": "query.bbox", "what": "no box"}]
    invalid = from_problem(400, {"detail": "query.limit: too many", "errors": faults}, url="http://s/x")
    assert isinstance(invalid, rs_client.Invalid)
    assert invalid.fields == {"query.limit": "too many", "query.bbox": "no box"}
    assert str(invalid) == f"query.limit: too many\n  → query.bbox: no box\n  → {invalid.hint}"
    assert invalid.url == "http://s/x"
    down = from_problem(503, {"detail": "down", "station": "sgs"}, retry_after_s=5)
    assert isinstance(down, rs_client.StationUnavailable)
    assert (down.station, down.retry_after_s) == ("sgs", 5)
    failed = rs_client.JobFailed("s1-l0 failed", job="j1", step="s1-l0", log_tail=["a", "b"])
    assert str(failed) == f"s1-l0 failed\n  → its log ended with:\n  →   a\n  →   b\n  → {failed.hint}"


def test_a_notebook_shows_the_callers_line_and_nothing_of_our_inside() -> None:
    def asks() -> None:
        rs_client.code(object())

    with pytest.raises(rs_client.Invalid) as caught:
        asks()
    line, said = caught.value._render_traceback_()
    assert line.endswith(": rs_client.code(object())")
    assert said.startswith("Invalid: a object cannot be told as code\n  → ")


def test_who_stops_waiting_is_told_how_to_come_back() -> None:
    detached = rs_client.Detached("j1")
    assert isinstance(detached, KeyboardInterrupt)
    assert "s.job('j1').wait()" in str(detached)
    assert detached._render_traceback_() == [str(detached)]
