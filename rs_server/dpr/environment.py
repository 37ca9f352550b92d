"""Whether everything that takes part in a run has the same software: asked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_client.processing.environment import COMPUTING, TRAVELLING, differences
from rs_server.errors import RsError


class EnvironmentMismatch(RsError):
    """The client, the scheduler and the workers do not have the same versions; the message names all differences."""


def check(client: Mapping[str, Any], scheduler: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ``EnvironmentMismatch`` unless all agree; the client only needs what it sends things with."""
    found = [_told("the service", "the scheduler", *each) for each in differences(client, scheduler, TRAVELLING)]
    for name, environment in workers.items():
        found += [_told("the scheduler", f"worker {name}", *each) for each in differences(scheduler, environment)]
    if found:
        raise EnvironmentMismatch(
            f"the environments differ: {'; '.join(dict.fromkeys(found))}",
            hint="run the service, the scheduler and the workers from images of one version",
            checked=list(COMPUTING),
        )


def _told(here: str, there: str, name: str, one: str | None, other: str | None) -> str:
    return f"{name} is {one or 'absent'} in {here}, and {other or 'absent'} in {there}"
