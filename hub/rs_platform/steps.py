"""What is done once at each start of the platform: realm, users, bucket, database form."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from rs_platform.environment import service_environment
from rs_platform.secrets import ensure_users, users_file
from rs_platform.site import REALM, Site

KEYCLOAK_ADMIN = "admin"
BUCKET = "rs-data"
REGION = "us-east-1"

_PATIENCE_S = 180


class StepFailed(Exception):
    """A step did not succeed; the message ends with what its program said."""


def migrate(site: Site) -> None:
    """Bring the database to the form this version needs."""
    settings = site.config("server.yaml")
    _run(site, "migrations", [site.python, "-m", "rs_server.migrate"], {"RSPY_SETTINGS": str(settings)})


def apply_realm(site: Site) -> None:
    """Bring the realm to the state of its file, and make the demo users at the first start."""
    ensure_users(site.installation)
    realm = [site.python, "-m", "rs_hub.realm"]
    url = ["--url", site.ports.url("keycloak")]
    file = str(site.checkout / "hub" / "keycloak" / "realm.json")
    _run(site, "realm", [*realm, "apply", *url, "--file", file], realm_environment(site))
    made = site.data("keycloak") / "users-made"
    if made.exists():
        return
    users = ["--file", str(users_file(site.installation)), "--realm", REALM]
    _run(site, "realm", [*realm, "users", *url, *users], realm_administrator(site))
    made.touch()


def realm_environment(site: Site) -> dict[str, str]:
    """What whoever applies the realm's file needs: an administrator, and the values of its placeholders."""
    return {**realm_administrator(site), **realm_values(site)}


def realm_administrator(site: Site) -> dict[str, str]:
    """Who may change realms."""
    return {"KC_ADMIN_USER": KEYCLOAK_ADMIN, "KC_ADMIN_PASSWORD": site.secrets.keycloak_admin_password}


def realm_values(site: Site) -> dict[str, str]:
    """The values of the realm file's placeholders."""
    return {
        "RS_HUB_CLIENT_SECRET": site.secrets.hub_client_secret,
        "RS_DIRECTORY_CLIENT_SECRET": site.secrets.directory_client_secret,
        "RS_PLATFORM_CLIENT_SECRET": site.secrets.platform_client_secret,
        "RS_CHAINS_CLIENT_SECRET": site.secrets.chains_client_secret,
        "RS_HUB_URL": site.ports.url("hub"),
        "RS_SERVER_URL": site.ports.url("rs-server"),
    }


def ensure_bucket(site: Site) -> None:
    """Make the bucket of the platform if it is not there."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=site.ports.url("s3"),
        region_name=REGION,
        aws_access_key_id=site.secrets.s3_access_key,
        aws_secret_access_key=site.secrets.s3_secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, proxies={}),
    )
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise StepFailed(f"the bucket {BUCKET} cannot be made: {error}") from error
    finally:
        client.close()


def _run(site: Site, name: str, command: list[str], variables: Mapping[str, str]) -> None:
    """Run a program to its end, its output kept in the log of the step."""
    environment = {**service_environment(site), **variables}
    done = subprocess.run(
        command,
        env=environment,
        cwd=site.installation.run,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    descriptor = os.open(site.installation.log(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as log:
        log.write(done.stdout)
    if done.returncode:
        raise StepFailed(f"{name}: {_last_lines(done.stdout)}")


def _last_lines(text: str, count: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-count:]) or "no output"
