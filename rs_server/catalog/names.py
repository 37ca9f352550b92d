"""What a collection is called: the one place that splits ids and resolves the short forms callers may use.

The full id is ``{owner}_{collection}``. An owner has no underscore, so the first one separates and no two
collections share an id. Requests may also say ``{owner}:{collection}``, or the bare ``{collection}`` of the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rs_server.access import policy
from rs_server.access.policy import Principal
from rs_server.errors import BadInput

_OWNER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_RULES = "an owner is made of a-z, 0-9 and -; a collection of letters, digits, '.', '_' and -"


@dataclass(frozen=True, slots=True, order=True)
class CollectionName:
    """A collection by owner and name; ``BadInput`` for texts that cannot be either."""

    owner: str
    name: str

    def __post_init__(self) -> None:
        if not _OWNER.fullmatch(self.owner):
            raise BadInput(f"{self.owner!r} cannot own collections", hint=_RULES)
        if not _NAME.fullmatch(self.name):
            raise BadInput(f"{self.name!r} is not the name of a collection", hint=_RULES)

    @classmethod
    def parse(cls, full: str) -> CollectionName:
        """Split a full id; ``BadInput`` if it is not one."""
        owner, separator, name = full.partition("_")
        if not separator:
            raise BadInput(f"{full!r} is not the id of a collection", hint="ids are {owner}_{collection}")
        return cls(owner, name)

    @property
    def full(self) -> str:
        """The id in the catalog and in every answer."""
        return f"{self.owner}_{self.name}"

    @property
    def resource(self) -> str:
        """The name that the access policy is asked about."""
        return policy.collection_resource(self.owner, self.name)


def resolve(text: str, who: Principal) -> CollectionName:
    """Read what a caller wrote: a full id, ``owner:collection``, or the bare name of a collection of their own."""
    if ":" in text:
        owner, _, name = text.partition(":")
        return CollectionName(owner, name)
    return CollectionName.parse(text) if "_" in text else CollectionName(who.login, text)
