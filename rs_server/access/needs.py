"""What a route asks of its caller: a value that the documentation shows and the tests hold against the route."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rs_server.access import policy
from rs_server.access.policy import Right, Service


class Level(StrEnum):
    """From open to closed."""

    NOTHING = "nothing"
    LOGIN = "login"  # whoever the caller is; what they are told is theirs
    RIGHT = "right"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes. A resource in braces is taken from the request, e.g. ``{owner}:{collection}``."""

    level: Level
    right: Right = Right.READ
    service: str = Service.CATALOG
    resource: str = ""

    def __str__(self) -> str:
        match self.level:
            case Level.RIGHT:
                return policy.role(self.right, self.service, self.resource)
            case Level.OWNER:
                return "to own the collection"
            case Level.LOGIN:
                return "a login"
            case Level.NOTHING:
                return "nothing"


NOTHING = Need(Level.NOTHING)
LOGIN = Need(Level.LOGIN)
OWNER = Need(Level.OWNER)


def right(right: Right, service: str, resource: str) -> Need:
    """A right on a resource."""
    return Need(Level.RIGHT, right, service, resource)
