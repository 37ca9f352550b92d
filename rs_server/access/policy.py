"""The access rules of the whole platform, as pure functions over roles.

A role is a text carried by the user's token, ``rs_<service>_<resource>_<right>``: for instance
``rs_catalog_alice:s1-l0_read``, ``rs_catalog_*:*_read``, ``rs_cadip_sgs_download`` or
``rs_processes_staging_execute``. ``*`` stands for any whole part of a resource. This module is the only
place that spells such texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Right(StrEnum):
    """What may be done to a resource."""

    READ = "read"
    WRITE = "write"
    DOWNLOAD = "download"
    EXECUTE = "execute"
    DISMISS = "dismiss"
    ISSUE = "issue"  # make an API key in somebody else's name: operators and the platform itself


class Service(StrEnum):
    """Whose resource it is."""

    CATALOG = "catalog"
    CADIP = "cadip"
    AUXIP = "auxip"
    PRIP = "prip"
    LTA = "lta"
    PROCESSES = "processes"
    AUTH = "auth"


API_KEYS = "keys"  # the resource of Service.AUTH that Right.ISSUE is about
OTHERS_JOBS = "*"  # the resource of Service.PROCESSES that other people's jobs are: only a grant on * covers it


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller, as every service sees them.

    ``subject`` is the issuer's lasting id, ``login`` the user name that owns collections.
    """

    login: str
    subject: str = ""
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    everything: bool = False  # no issuer configured: one local user
    via: Literal["bearer", "api_key", "local"] = "bearer"  # how the caller proved who they are


@dataclass(frozen=True, slots=True)
class Grant:
    """One role, read."""

    service: Service
    resource: str
    right: Right

    @classmethod
    def parse(cls, role: str) -> Grant | None:
        """Read a role, or None if it is not one of ours."""
        head, _, right = role.rpartition("_")
        prefix, _, rest = head.partition("_")
        service, _, resource = rest.partition("_")
        if prefix != "rs" or not resource or right not in Right or service not in Service:
            return None
        return cls(Service(service), resource, Right(right))

    def covers(self, service: Service, resource: str, right: Right) -> bool:
        """Whether this grant answers a question about one concrete resource."""
        mine, asked = self.resource.split(":"), resource.split(":")
        return (
            self.service is service
            and self.right is right
            and len(mine) == len(asked)
            and all(m in ("*", a) for m, a in zip(mine, asked, strict=True))
        )


def collection_resource(owner: str, collection: str) -> str:
    """The resource name of a catalog collection."""
    return f"{owner}:{collection}"


def allows(who: Principal, right: Right, service: Service, resource: str) -> bool:
    """The one question. Owners hold every right on their own catalog collections."""
    if who.everything or (service is Service.CATALOG and resource.partition(":")[0] == who.login):
        return True
    grants = (Grant.parse(role) for role in who.roles)
    return any(grant is not None and grant.covers(service, resource, right) for grant in grants)


def owns(who: Principal, owner: str) -> bool:
    """Whether the caller may do what only an owner may: create, replace or delete a collection."""
    return who.everything or owner == who.login


def permitted(who: Principal, right: Right, service: Service, resources: Iterable[str]) -> list[str]:
    """The resources of a listing or a search that the caller may see; possibly none of them."""
    return [resource for resource in resources if allows(who, right, service, resource)]


def missing(right: Right, service: Service, resource: str) -> str:
    """The role that would have allowed it, for the message of a refusal."""
    return f"rs_{service}_{resource}_{right}"
