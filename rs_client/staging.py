"""Staging: from a station into object storage and the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rs_client.execution import Items, addresses, execute
from rs_client.jobs import Job

if TYPE_CHECKING:
    from rs_client.session import RsClient

PROCESS = "staging"


class StagingClient:
    """Starts staging jobs."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def stage(self, items: Items, to: str) -> Job:
        """Bring items of a station into a collection; returns at once.

        ``items`` is a search, an item or several; ``to`` a collection of yours (made if it is absent) or one that you
        may write. What is there already is not fetched again. Raises ``Invalid`` when there is nothing to stage,
        ``Forbidden`` for a collection or a station that you have no right to, ``NotFound`` for an item you cannot see.
        """
        http = self._session.http
        return Job(self._session, http.run(execute(http.server, PROCESS, addresses(items), to)))

    def __repr__(self) -> str:
        return f"<StagingClient {self._session.server_url}>"
