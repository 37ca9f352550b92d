"""Which tokens are believed: tokens signed in the test, keys served by a stand-in for the identity provider."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rs_server.access.metrics import AccessMetrics
from rs_server.access.policy import Principal
from rs_server.access.tokens import KeySet, TokenVerifier, key_set_url
from rs_server.errors import NotAuthenticated, Unavailable
from rs_server.settings import AccessSettings
from tests.identity import ISSUER, Issuer

SETTINGS = AccessSettings(issuer=ISSUER)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """The far side: serves the issuer's keys, and counts how often it is asked."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked = 0
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json=issuer.key_set())
        self.clock = Clock()
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._serve))
        self.metrics = AccessMetrics()
        self.keys = KeySet(key_set_url(SETTINGS, ISSUER), self.http, self.clock, self.metrics)
        self.verifier = TokenVerifier(SETTINGS, ISSUER, self.keys)

    def counted(self) -> list[tuple[str, float]]:
        """What was counted, by name: first what went well."""
        return [(each.name, each.value) for family in self.metrics.collect() for each in family.samples]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        assert request.url == f"{ISSUER}/protocol/openid-connect/certs"
        self.asked += 1
        return self.answer()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def provider(issuer: Issuer) -> Provider:
    issuer.published = ["rsa", "ec"]
    return Provider(issuer)


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "rsa"})


def hs256_with_the_public_key(issuer: Issuer) -> str:
    """The old trick: the public key used as a shared secret (PyJWT itself refuses to sign this way)."""
    pem = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{part(issuer.claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), sha256)).rstrip(b"=").decode()
    return f"{signed}.{signature}"


def of_another_key(issuer: Issuer) -> str:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(issuer.claims(), stranger, algorithm="RS256", headers={"kid": "rsa"})


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token("bob").split(".")
    return ".".join([head, issuer.token("alice").split(".")[1], signature])


REFUSED: dict[str, Callable[[Issuer], str]] = {
    "no token": lambda _: "",
    "garbage": lambda _: "garbage",
    "three parts of garbage": lambda _: "a.b.c",
    "too long": lambda _: "a" * 20_000,
    "alg none": lambda i: unsigned(i.claims()),
    "HS256 with the public key": hs256_with_the_public_key,
    "RS512": lambda i: i.signed(i.claims(), algorithm="RS512"),
    "another key under a known id": of_another_key,
    "tampered": tampered,
    "key of another kind": lambda i: i.signed(i.claims(), algorithm="ES256", kid="rsa"),
    "no key id": lambda i: i.signed(i.claims(), kid=None),
    "unknown key id": lambda i: i.signed(i.claims(), kid="nobody"),
    "expired": lambda i: i.token(exp=1_600_000_000),
    "not yet": lambda i: i.token(nbf=4_000_000_000),
    "no expiry": lambda i: i.token(exp=None),
    "other issuer": lambda i: i.token(iss="http://issuer.test/realms/other"),
    "no issuer": lambda i: i.token(iss=None),
    "other audience": lambda i: i.token(aud="account"),
    "no audience": lambda i: i.token(aud=None),
    "no subject": lambda i: i.token(sub=None),
    "ID token": lambda i: i.token(typ="ID"),
    "refresh token": lambda i: i.token(typ="Refresh"),
    "no type": lambda i: i.token(typ=None),
    "no user": lambda i: i.token(preferred_username=None),
    "a user that is no text": lambda i: i.token(preferred_username={"a": 1}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused(case: str, issuer: Issuer, provider: Provider) -> None:
    with pytest.raises(NotAuthenticated):
        await provider.verifier.verify(REFUSED[case](issuer))


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "rsa"), ("ES256", "ec")])
async def test_accepted(algorithm: str, kid: str, issuer: Issuer, provider: Provider) -> None:
    claims = issuer.claims("alice", ["rs_cadip_sgs_read"], groups=["/rs-users", "/rs-users/s1", 7])
    who = await provider.verifier.verify(issuer.signed(claims, algorithm=algorithm, kid=kid))
    assert who == Principal(
        login="alice",
        subject="id-of-alice",
        roles=frozenset({"rs_cadip_sgs_read"}),
        groups=frozenset({"rs-users", "rs-users/s1"}),
    )


async def test_a_small_difference_of_clocks_is_accepted(issuer: Issuer, provider: Provider) -> None:
    now = issuer.claims()["iat"]
    await provider.verifier.verify(issuer.token(nbf=now + 3, exp=now + 100))
    with pytest.raises(NotAuthenticated):
        await provider.verifier.verify(issuer.token(nbf=now + 60, exp=now + 100))


async def test_roles_of_odd_form_are_no_roles(issuer: Issuer, provider: Provider) -> None:
    who = await provider.verifier.verify(issuer.token(realm_access="rs_catalog_*:*_read", groups="rs-users"))
    assert who.roles == frozenset()
    assert who.groups == frozenset()


async def test_keys_are_fetched_once(issuer: Issuer, provider: Provider) -> None:
    for _ in range(5):
        await provider.verifier.verify(issuer.token())
    assert provider.asked == 1


async def test_an_unknown_key_is_asked_for_at_most_every_30_s(issuer: Issuer, provider: Provider) -> None:
    await provider.verifier.verify(issuer.token())
    for _ in range(10):
        with pytest.raises(NotAuthenticated):
            await provider.verifier.verify(issuer.signed(issuer.claims(), kid="nobody"))
    assert provider.asked == 2
    provider.clock.now += 31
    for _ in range(10):
        with pytest.raises(NotAuthenticated):
            await provider.verifier.verify(issuer.signed(issuer.claims(), kid="nobody"))
    assert provider.asked == 3


async def test_new_keys_are_found(issuer: Issuer, provider: Provider) -> None:
    issuer.published = ["rsa"]
    await provider.verifier.verify(issuer.token())
    issuer.published = ["rsa", "ec"]  # a moment later: new keys are asked for at once
    await provider.verifier.verify(issuer.signed(issuer.claims(), algorithm="ES256", kid="ec"))


async def test_withdrawn_keys_go(issuer: Issuer, provider: Provider) -> None:
    await provider.verifier.verify(issuer.token())
    issuer.published = ["ec"]
    provider.clock.now += 3600
    with pytest.raises(NotAuthenticated):
        await provider.verifier.verify(issuer.token())


async def test_a_token_that_was_seen_ends_all_the_same(issuer: Issuer, provider: Provider) -> None:
    now, wall = issuer.claims()["iat"], Clock()
    verifier = TokenVerifier(SETTINGS, ISSUER, provider.keys, wall)
    token = issuer.token(exp=now - 3)  # which the leeway lets pass for another moment
    await verifier.verify(token)
    await asyncio.sleep(max(0.0, now + 2.1 - time.time()))
    wall.now = time.time()
    with pytest.raises(NotAuthenticated):
        await verifier.verify(token)


async def test_a_token_that_was_seen_ends_with_its_key(issuer: Issuer, provider: Provider) -> None:
    token = issuer.token()
    await provider.verifier.verify(token)
    issuer.published = ["ec"]
    provider.clock.now += 3600
    with pytest.raises(NotAuthenticated):
        await provider.verifier.verify(token)


async def test_what_was_seen_does_not_vouch_for_what_looks_like_it(issuer: Issuer, provider: Provider) -> None:
    token = issuer.token()
    await provider.verifier.verify(token)
    for other in (token[:-2], token + "A", tampered(issuer), token.replace(".", "..", 1)):
        with pytest.raises(NotAuthenticated):
            await provider.verifier.verify(other)


def _down() -> httpx.Response:
    raise httpx.ConnectError("refused")


BROKEN: dict[str, Callable[[], httpx.Response]] = {
    "down": _down,
    "error": lambda: httpx.Response(500),
    "no JSON": lambda: httpx.Response(200, text="<html>"),
    "no keys": lambda: httpx.Response(200, json={"keys": []}),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_cached_keys_go_on_when_the_provider_does_not(case: str, issuer: Issuer, provider: Provider) -> None:
    await provider.verifier.verify(issuer.token())
    provider.answer = BROKEN[case]
    provider.clock.now += 3 * 3600
    assert (await provider.verifier.verify(issuer.token())).login == "alice"


@pytest.mark.parametrize("case", BROKEN)
async def test_without_any_key_nobody_can_be_verified(case: str, issuer: Issuer, provider: Provider) -> None:
    good, provider.answer = provider.answer, BROKEN[case]
    for _ in range(3):
        with pytest.raises(Unavailable):
            await provider.verifier.verify(issuer.token())
    with pytest.raises(Unavailable):
        await provider.verifier.ready()
    assert provider.asked == 1
    provider.answer = good
    provider.clock.now += 2
    await provider.verifier.ready()
    await provider.verifier.verify(issuer.token())
    assert [value for name, value in provider.counted() if name == "jwks_refresh_total"] == [1, 1]
