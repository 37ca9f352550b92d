# /// script
# requires-python = ">=3.13,<3.14"
# dependencies = ["prefect>=3.9,<4", "pystac-client>=0.9,<0.10", "httpx-sse>=0.4,<1", "rs-python"]
# [tool.uv.sources]
# rs-python = { path = "../..", editable = true }
# ///
"""A flow of Prefect that works with the platform; it knows of no login.

``prefect_flow.py call SESSION COLLECTION`` calls it here, as a function. ``prefect_flow.py serve`` deploys it at the
Prefect server of ``PREFECT_API_URL`` and runs what is asked of it there; ``prefect_flow.py ask SESSION COLLECTION``
asks, from wherever, and waits. Those that wait print what the flow did as JSON.

It has an environment of its own, by the lock file beside it: Prefect and the platform's packages want different
versions of websockets. ``uv lock --script`` makes that file anew.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any
from uuid import UUID

from prefect import flow, get_client, task  # type: ignore[import-not-found]  # only there, see above
from prefect.client.schemas.filters import LogFilter  # type: ignore[import-not-found]
from prefect.deployments import run_deployment  # type: ignore[import-not-found]

import rs_client

PATIENCE_S = 240
LOG_PATIENCE_S = 30


@task  # type: ignore[untyped-decorator]  # see above
def staged(session: str, collection: str) -> list[str]:
    """Stage a session, and wait for it."""
    with rs_client.connect() as platform:
        job = platform.cadip.search(ids=[session]).stage(to=collection)
        job.wait(timeout=120)
        return [item.id for item in job.items]


@flow(persist_result=True)  # type: ignore[untyped-decorator]
def systematic(session: str, collection: str) -> dict[str, Any]:
    """Who the flow is, and what it staged; then, without a way in, what it is told."""
    with rs_client.connect() as platform:
        login = platform.whoami().login
    items = staged(session, collection)
    for name in ("RS_API_KEY", "RS_CLIENT_ID", "RS_CLIENT_SECRET"):
        os.environ.pop(name, None)
    try:
        rs_client.connect()
    except rs_client.NotConfigured as error:
        return {"login": login, "items": items, "refused": str(error)}
    return {"login": login, "items": items}


def log_of(run: UUID) -> list[str]:
    """The log of a run at the Prefect server, which has the end of it soon after the run's own end."""
    wanted = LogFilter(flow_run_id={"any_": [run]})
    deadline = time.monotonic() + LOG_PATIENCE_S
    with get_client(sync_client=True) as client:
        while True:
            log: list[str] = [entry.message for entry in client.read_logs(wanted)]
            if any("Finished in state" in line for line in log) or time.monotonic() > deadline:
                return log
            time.sleep(0.5)


def asked(session: str, collection: str) -> dict[str, Any]:
    """Have the deployment run; what it did, and what stands in its log at the Prefect server."""
    parameters = {"session": session, "collection": collection}
    run = run_deployment("systematic/unattended", parameters=parameters, timeout=PATIENCE_S, poll_interval=1)
    log = log_of(run.id)
    done: dict[str, Any] = {} if run.state is None else run.state.result(raise_on_failure=False)
    return {"state": run.state_name, "log": log, **(done if isinstance(done, dict) else {"failed": repr(done)})}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["call", session, collection]:
            sys.stdout.write(json.dumps(systematic(session, collection)))
        case ["ask", session, collection]:
            sys.stdout.write(json.dumps(asked(session, collection)))
        case ["serve"]:
            systematic.serve(name="unattended", pause_on_shutdown=False, print_starting_message=False)
