# /// script
# requires-python = ">=3.13,<3.14"
# dependencies = ["prefect>=3.9,<4", "pystac-client>=0.9,<0.10", "httpx-sse>=0.4,<1", "rs-python"]
# [tool.uv.sources]
# rs-python = { path = "../..", editable = true }
# ///
"""A flow of Prefect that works with the platform: ``prefect_flow.py SESSION COLLECTION`` prints what it did as JSON.

It has an environment of its own, by the lock file beside it: Prefect and the platform's packages want different
versions of websockets. ``uv lock --script`` makes that file anew.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from prefect import flow, task  # type: ignore[import-not-found]  # only there, see above

import rs_client


@task  # type: ignore[untyped-decorator]  # see above
def staged(session: str, collection: str) -> list[str]:
    """Stage a session, and wait for it."""
    with rs_client.connect() as platform:
        job = platform.cadip.search(ids=[session]).stage(to=collection)
        job.wait(timeout=120)
        return [item.id for item in job.items]


@flow  # type: ignore[untyped-decorator]
def systematic(session: str, collection: str) -> dict[str, Any]:
    """Who the flow is, and what it staged; then, without a way in, what it is told."""
    with rs_client.connect() as platform:
        login = platform.whoami().login
    items = staged(session, collection)
    del os.environ["RS_API_KEY"]
    try:
        rs_client.connect()
    except rs_client.NotConfigured as error:
        return {"login": login, "items": items, "refused": str(error)}
    return {"login": login, "items": items}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(systematic(*sys.argv[1:])))
