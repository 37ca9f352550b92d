"""An identity provider for tests: its own keys, the tokens it signs, and its key set as a document."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "http://issuer.test/realms/rs-python"
AUDIENCE = "rs-server"


class Issuer:
    """Signs what it is asked to sign, right or wrong."""

    def __init__(self, url: str = ISSUER) -> None:
        self.url = url
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.published = ["rsa", "ec"]

    def key_set(self) -> dict[str, Any]:
        """The published public keys (RFC 7517)."""
        known = {
            "rsa": json.loads(RSAAlgorithm.to_jwk(self.rsa.public_key())) | {"alg": "RS256"},
            "ec": json.loads(ECAlgorithm.to_jwk(self.ec.public_key())) | {"alg": "ES256"},
        }
        return {"keys": [known[name] | {"kid": name, "use": "sig"} for name in self.published]}

    def claims(self, login: str = "alice", roles: Iterable[str] = (), **changes: Any) -> dict[str, Any]:
        """The claims of a good access token, as Keycloak writes them, with changes; None takes a claim away."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": [AUDIENCE],
            "exp": now + 300,
            "iat": now,
            "typ": "Bearer",
            "sub": f"id-of-{login}",
            "preferred_username": login,
            "realm_access": {"roles": list(roles)},
            "groups": ["/rs-users"],
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, login: str = "alice", roles: Iterable[str] = (), **changes: Any) -> str:
        """A good access token with changed claims."""
        return self.signed(self.claims(login, roles, **changes))

    def signed(self, claims: dict[str, Any], *, algorithm: str = "RS256", kid: str | None = "rsa") -> str:
        """Any claims, signed with the key of the algorithm's kind."""
        key: Any = self.ec if algorithm.startswith("ES") else self.rsa
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)
