"""Who gets a token, and until when it is good."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rs_server.simulators.settings import LoginSettings
from rs_server.simulators.tokens import Credentials, Refused, TokenIssuer

CLIENT = {"client_id": "client", "client_secret": "s3cret"}
USER = {"grant_type": "password", "username": "user", "password": "word"}
KNOWN = Credentials("client", "s3cret", "user", "word")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def accepts(issuer: TokenIssuer, token: str) -> bool:
    return issuer.client_of(f"Bearer {token}") is not None


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
    issuer = TokenIssuer([KNOWN], 60)
    answer = issuer.issue(form, basic)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 60)
    assert accepts(issuer, str(answer["access_token"]))


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
        TokenIssuer([KNOWN], 60).issue(form, basic)
    assert refused.value.code == code


def test_without_users_there_is_no_password_grant() -> None:
    with pytest.raises(Refused) as refused:
        TokenIssuer([Credentials("client", "s3cret")], 60).issue({**CLIENT, **USER})
    assert refused.value.code == "unauthorized_client"


@pytest.mark.parametrize(
    ("login", "form", "basic", "code"),
    [
        ({"client_in": "header"}, {**CLIENT, "grant_type": "client_credentials"}, None, "invalid_client"),
        ({"client_in": "header"}, {"grant_type": "client_credentials"}, ("client", "s3cret"), None),
        ({"client_in": "body"}, {"grant_type": "client_credentials"}, ("client", "s3cret"), "invalid_client"),
        ({"client_in": "body"}, {**CLIENT, "grant_type": "client_credentials"}, ("client", "wrong"), None),
        ({"grants": ["password"]}, {**CLIENT, "grant_type": "client_credentials"}, None, "unauthorized_client"),
        ({"grants": ["password"]}, {**CLIENT, **USER}, None, None),
        ({"grants": ["client_credentials"]}, {**CLIENT, **USER}, None, "unauthorized_client"),
        ({"scope": "openid"}, {**CLIENT, **USER}, None, "invalid_scope"),
        ({"scope": "openid"}, {**CLIENT, **USER, "scope": "profile openid"}, None, None),
        ({"flavour": "basic"}, {**CLIENT, **USER}, None, "unauthorized_client"),
    ],
)
def test_each_station_wants_its_own_login(
    login: dict[str, Any], form: dict[str, str], basic: tuple[str, str] | None, code: str | None
) -> None:
    issuer = TokenIssuer([KNOWN], 60, LoginSettings.model_validate(login))
    assert refusal(issuer, form, basic) == code


def refusal(issuer: TokenIssuer, form: dict[str, str], basic: tuple[str, str] | None) -> str | None:
    """Why there is no token; None: there is one, and it is good."""
    try:
        token = issuer.issue(form, basic)["access_token"]
    except Refused as refused:
        return refused.code
    assert issuer.client_of(f"Bearer {token}")
    return None


@pytest.mark.parametrize(
    ("known", "right", "wrong"),
    [(KNOWN, "user:word", "client:s3cret"), (Credentials("client", "s3cret"), "client:s3cret", "client:word")],
)
def test_stations_without_tokens(known: Credentials, right: str, wrong: str) -> None:
    issuer = TokenIssuer([known], 60, LoginSettings(flavour="basic"))
    assert issuer.challenge.startswith("Basic")
    assert issuer.client_of(f"Basic {base64.b64encode(right.encode()).decode()}")
    for header in (f"Basic {base64.b64encode(wrong.encode()).decode()}", "Basic !", "Bearer x", ""):
        assert not issuer.client_of(header)


def test_revoked_tokens_are_good_for_nothing_and_later_ones_are() -> None:
    issuer = TokenIssuer([KNOWN], 60)
    form = {**CLIENT, "grant_type": "client_credentials"}
    before = str(issuer.issue(form)["access_token"])
    issuer.revoke_all()
    assert not accepts(issuer, before)
    assert accepts(issuer, str(issuer.issue(form)["access_token"]))


def test_tokens_expire_survive_a_restart_and_are_no_ones_elses() -> None:
    clock = Clock()
    token = str(
        TokenIssuer([KNOWN], 60, clock=clock).issue({**CLIENT, "grant_type": "client_credentials"})["access_token"]
    )
    assert accepts(TokenIssuer([KNOWN], 60, clock=clock), token)
    assert not accepts(TokenIssuer([Credentials("client", "other")], 60, clock=clock), token)
    clock.now += 61
    assert not accepts(TokenIssuer([KNOWN], 60, clock=clock), token)


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "99999999999.x.", "é.é.é"])
def test_nonsense_is_no_token(token: str) -> None:
    assert not accepts(TokenIssuer([KNOWN], 60), token)


# --- several clients, and tokens that renew tokens --------------------------------------------------------------------

OTHER = Credentials("client", "s3cret", "second", "sesame")
THIRD = Credentials("third", "3")


def owner(issuer: TokenIssuer, **form: str) -> str | None:
    token = issuer.issue(form)["access_token"]
    return issuer.client_of(f"Bearer {token}")


def test_each_client_has_a_name() -> None:
    issuer = TokenIssuer([KNOWN, OTHER, THIRD], 60)
    assert owner(issuer, **CLIENT, **USER) == "user"
    assert owner(issuer, **CLIENT, grant_type="password", username="second", password="sesame") == "second"
    assert owner(issuer, client_id="third", client_secret="3", grant_type="client_credentials") == "third"
    with pytest.raises(Refused, match="unknown user"):
        issuer.issue({**CLIENT, "grant_type": "password", "username": "second", "password": "word"})
    basic = TokenIssuer([KNOWN, THIRD], 60, LoginSettings(flavour="basic"))
    assert basic.client_of(f"Basic {base64.b64encode(b'third:3').decode()}") == "third"


def test_a_refresh_token_renews_until_it_ends() -> None:
    clock = Clock()
    issuer = TokenIssuer([KNOWN, THIRD], 60, refresh_ttl_s=300, clock=clock)
    first = issuer.issue({**CLIENT, **USER})
    assert first["refresh_expires_in"] == 300
    form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": str(first["refresh_token"])}
    clock.now += 61
    assert not accepts(issuer, str(first["access_token"]))
    second = issuer.issue(form)
    assert issuer.client_of(f"Bearer {second['access_token']}") == "user"
    clock.now += 240
    with pytest.raises(Refused, match="expired"):
        issuer.issue(form)
    assert issuer.issue({**form, "refresh_token": str(second["refresh_token"])})


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"client_id": "third", "client_secret": "3"}, "invalid_grant"),  # the token is another client's
        ({"client_id": "third", "client_secret": "wrong"}, "invalid_client"),
        ({**CLIENT, "refresh_token": "nonsense"}, "invalid_grant"),
    ],
)
def test_refresh_tokens_that_renew_nothing(form: dict[str, str], code: str) -> None:
    issuer = TokenIssuer([KNOWN, THIRD], 60)
    token = str(issuer.issue({**CLIENT, **USER})["refresh_token"])
    with pytest.raises(Refused) as refused:
        issuer.issue({"grant_type": "refresh_token", "refresh_token": token, **form})
    assert refused.value.code == code


def test_an_access_token_renews_nothing_and_a_refresh_token_opens_nothing() -> None:
    issuer = TokenIssuer([KNOWN], 60)
    issued = issuer.issue({**CLIENT, **USER})
    assert not accepts(issuer, str(issued["refresh_token"]))
    with pytest.raises(Refused, match="refresh token"):
        issuer.issue({**CLIENT, "grant_type": "refresh_token", "refresh_token": str(issued["access_token"])})


def test_who_shows_a_secret_needs_no_refresh_token_and_some_stations_give_none() -> None:
    issued = TokenIssuer([KNOWN], 60).issue({**CLIENT, "grant_type": "client_credentials"})
    assert "refresh_token" not in issued
    issuer = TokenIssuer([KNOWN], 60, LoginSettings(grants=("password",)))
    assert "refresh_token" not in issuer.issue({**CLIENT, **USER})
    with pytest.raises(Refused) as refused:
        issuer.issue({**CLIENT, "grant_type": "refresh_token", "refresh_token": "x"})
    assert refused.value.code == "unauthorized_client"


def test_a_token_may_end_before_it_says() -> None:
    clock = Clock()
    issuer = TokenIssuer([KNOWN], 60, clock=clock)
    issued = issuer.issue({**CLIENT, "grant_type": "client_credentials"}, life_s=1)
    assert issued["expires_in"] == 60
    assert accepts(issuer, str(issued["access_token"]))
    clock.now += 2
    assert not accepts(issuer, str(issued["access_token"]))
