"""The random values of one installation: passwords, keys and tokens between its services."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rs_platform.installation import Installation, write_private

DEMO_USERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("alice", ("rs-users", "rs-producers")),
    ("bob", ("rs-users",)),
    ("operator", ("rs-users", "rs-operators")),
    ("visitor", ()),
)

_READABLE = "abcdefghijkmnpqrstuvwxyz23456789"  # no two that look alike: these are typed by people


@dataclass(frozen=True)
class Secrets:
    """Every value is 32 random bytes in hexadecimal."""

    postgres_password: str
    rs_database_password: str
    keycloak_database_password: str
    keycloak_admin_password: str
    hub_client_secret: str
    directory_client_secret: str
    platform_client_secret: str
    chains_client_secret: str
    s3_access_key: str
    s3_secret_key: str
    server_secret: str
    hub_crypt_key: str
    gateway_hub_token: str
    gateway_encryption_key: str
    dpr_hub_token: str
    token_service_hub_token: str
    station_client_secret: str
    station_admin_token: str

    @property
    def gateway_fernet_key(self) -> str:
        """The gateway's encryption key, as 32 bytes in base64."""
        return base64.b64encode(bytes.fromhex(self.gateway_encryption_key)).decode()


def load(installation: Installation) -> Secrets:
    """Read the secrets; make and keep those that are not there yet."""
    path = installation.secrets / "platform.json"
    stored = _read(path)
    names = [field.name for field in fields(Secrets)]
    known = Secrets(**{name: stored.get(name) or secrets.token_hex(32) for name in names})
    if asdict(known) != stored:
        write_private(path, json.dumps(asdict(known), indent=1))
    return known


def users_file(installation: Installation) -> Path:
    """The demo users: ``{name: {password, groups}}``."""
    return installation.secrets / "users.json"


def ensure_users(installation: Installation) -> None:
    """Make the demo users' passwords at the first start."""
    path = users_file(installation)
    if path.exists():
        return
    users = {name: {"password": _password(), "groups": list(groups)} for name, groups in DEMO_USERS}
    write_private(path, json.dumps(users, indent=1))


def password(installation: Installation, user: str) -> str | None:
    """The password that a demo user was given at the first start; ``None`` for any other."""
    try:
        users = json.loads(users_file(installation).read_text())
    except FileNotFoundError:
        return None
    return str(users[user]["password"]) if user in users else None


def _password() -> str:
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(5)) for _ in range(4))


def _read(path: Path) -> dict[str, str]:
    try:
        values: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return values
