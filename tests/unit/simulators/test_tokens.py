"""Who gets a token, and until when it is good."""

from __future__ import annotations

import pytest

from rs_server.simulators.tokens import Credentials, Refused, TokenIssuer

CLIENT = {"client_id": "client", "client_secret": "s3cret"}
USER = {"grant_type": "password", "username": "user", "password": "word"}
KNOWN = Credentials("client", "s3cret", "user", "word")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("form", "basic"),
    [
        ({**CLIENT, "grant_type": "client_credentials"}, None),
        ({"grant_type": "client_credentials"}, ("client", "s3cret")),
        ({**CLIENT, **USER}, None),
        (USER, ("client", "s3cret")),
    ],
)
def test_granted(form: dict[str, str], basic: tuple[str, str] | None) -> None:
    issuer = TokenIssuer(KNOWN, 60)
    answer = issuer.issue(form, basic)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 60)
    assert issuer.accepts(str(answer["access_token"]))


@pytest.mark.parametrize(
    ("form", "basic", "code"),
    [
        ({}, None, "invalid_client"),
        ({**CLIENT, "client_secret": "wrong", "grant_type": "client_credentials"}, None, "invalid_client"),
        ({**CLIENT, "grant_type": "client_credentials"}, ("client", "wrong"), "invalid_client"),
        ({**CLIENT}, None, "unsupported_grant_type"),
        ({**CLIENT, "grant_type": "authorization_code"}, None, "unsupported_grant_type"),
        ({**CLIENT, **USER, "password": "wrong"}, None, "invalid_grant"),
        ({**CLIENT, **USER, "username": "user\0word", "password": ""}, None, "invalid_grant"),
    ],
)
def test_refused(form: dict[str, str], basic: tuple[str, str] | None, code: str) -> None:
    with pytest.raises(Refused) as refused:
        TokenIssuer(KNOWN, 60).issue(form, basic)
    assert refused.value.code == code


def test_without_users_there_is_no_password_grant() -> None:
    with pytest.raises(Refused) as refused:
        TokenIssuer(Credentials("client", "s3cret"), 60).issue({**CLIENT, **USER})
    assert refused.value.code == "unauthorized_client"


def test_tokens_expire_survive_a_restart_and_are_no_ones_elses() -> None:
    clock = Clock()
    token = str(
        TokenIssuer(KNOWN, 60, clock=clock).issue({**CLIENT, "grant_type": "client_credentials"})["access_token"]
    )
    assert TokenIssuer(KNOWN, 60, clock=clock).accepts(token)
    assert not TokenIssuer(Credentials("client", "other"), 60, clock=clock).accepts(token)
    clock.now += 61
    assert not TokenIssuer(KNOWN, 60, clock=clock).accepts(token)


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "99999999999.x.", "é.é.é"])
def test_nonsense_is_no_token(token: str) -> None:
    assert not TokenIssuer(KNOWN, 60).accepts(token)
