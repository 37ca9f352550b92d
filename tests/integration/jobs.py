"""What the tests of jobs share: callers, the demo session, and waiting for an end."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import boto3
import httpx
import yaml

from rs_server.settings import Settings

SESSION = "S1A_20241114143038056552"
ENDED = ("successful", "failed", "dismissed")


def caller(platform: Any, user: str) -> httpx.Client:
    """The server as a user's script reaches it."""
    key = platform.env(user)["RS_API_KEY"]
    return httpx.Client(base_url=platform.url("rs-server"), headers={"x-api-key": key}, timeout=60, trust_env=False)


def settings(platform: Any) -> Settings:
    """The settings that the installation's server runs with."""
    return Settings(**yaml.safe_load((platform.home / "config" / "server.yaml").read_text()))


def s3(platform: Any) -> Any:
    """The object storage as its administrator."""
    place = settings(platform).storage
    return boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key.get_secret_value(),
    )


def some_collection() -> str:
    """A name that no other test uses."""
    return f"t{uuid4().hex[:12]}"


def stage(client: httpx.Client, collection: str, session: str = SESSION, **headers: str) -> httpx.Response:
    """Ask for the session to be staged."""
    href = f"{client.base_url}/cadip/collections/s1-sgs/items/{session}".replace("//cadip", "/cadip")
    body = {"inputs": {"items": [{"href": href}], "collection": collection}}
    return client.post("/processes/staging/execution", json=body, headers=headers)


def staged(client: httpx.Client, collection: str) -> dict[str, Any]:
    """Stage the session; the catalog's item of it."""
    job = ended(client, accepted(stage(client, collection)))
    assert job["status"] == "successful", job["message"]
    (link,) = client.get(f"/jobs/{job['jobID']}/results").json()["items"]
    item: dict[str, Any] = client.get(link["href"]).json()
    return item


def heal(platform: Any, client: httpx.Client, station: str = "sgs", service: str = "cadip") -> None:
    """End a station's faults, and wait until the server, which left it alone for a while, asks it again."""
    platform.rs("station", "heal", station)
    end = time.monotonic() + 45
    while (answer := client.get(f"/{service}/search", params={"limit": 1})).status_code != 200:
        assert time.monotonic() < end, answer.text
        time.sleep(0.5)


def accepted(answer: httpx.Response) -> str:
    """The id of the job that an execution made."""
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"].endswith(f"/jobs/{job['jobID']}")
    return str(job["jobID"])


def ended(client: httpx.Client, job_id: str, within_s: float = 120) -> dict[str, Any]:
    """Wait for a job's end."""
    end = time.monotonic() + within_s
    while True:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        if job["status"] in ENDED:
            return job
        assert time.monotonic() < end, f"the job is still {job['status']}: {job['message']}"
        time.sleep(0.1)
