"""What is wrong with a station right now; set through its admin API, forgotten when it stops."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """A fault of the whole station. The default is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    down: bool = Field(default=False, description="Everything, the token endpoint included, answers 503")
    status: int | None = Field(None, ge=400, le=599, description="OData requests answer this status")
    latency_s: float = Field(0.0, ge=0, le=600, description="Wait before each answer, in seconds")


class Faults:
    """Holds the present fault."""

    def __init__(self) -> None:
        self.now = Fault()

    async def strike(self, *, odata: bool) -> HTTPStatus | None:
        """Wait as long as the fault says; return the status to fail with, if any."""
        await asyncio.sleep(self.now.latency_s)
        if self.now.down:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus(self.now.status) if odata and self.now.status else None
