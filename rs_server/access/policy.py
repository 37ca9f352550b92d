"""The access rules of the whole platform, as pure functions over what a caller holds.

A role is a text, ``rs_<service>_<resource>_<right>``: for instance ``rs_catalog_alice:s1-l0_read``,
``rs_catalog_*:*_read``, ``rs_cadip_sgs_download`` or ``rs_processes_staging_execute``. ``*`` stands for any whole
part of a resource. Three things speak this language, and this module is the only place that spells it:

- roles, which the administrator gives in Keycloak;
- grants, which the owner of a collection gives to users and groups;
- scopes, to which an API key is narrowed: they give nothing, and take away what none of them covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, Self


class Right(StrEnum):
    """What may be done to a resource."""

    READ = "read"
    WRITE = "write"
    DOWNLOAD = "download"
    EXECUTE = "execute"
    DISMISS = "dismiss"
    ISSUE = "issue"  # make an API key in somebody else's name: operators and the platform itself
    OWN = "own"  # make, replace, delete and share a collection: no role gives it, only a scope can say it


class Service(StrEnum):
    """Whose resource it is. A kind of station that is added later is a service of its name without standing here."""

    CATALOG = "catalog"
    CADIP = "cadip"
    AUXIP = "auxip"
    PRIP = "prip"
    LTA = "lta"
    PROCESSES = "processes"
    AUTH = "auth"


Via = Literal["bearer", "api_key", "local"]  # how a caller proved who they are

API_KEYS = "keys"  # the resource of Service.AUTH that Right.ISSUE is about
AUDIT = "audit"  # the resource of Service.AUTH that the record of everybody's doings is
OTHERS_JOBS = "*"  # the resource of Service.PROCESSES that other people's jobs are: only a grant on * covers it
SHARED_RIGHTS = (Right.READ, Right.DOWNLOAD, Right.WRITE)  # what an owner may give to others


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
    via: Via = "bearer"
    granted: frozenset[str] | None = frozenset()  # roles that owners of collections gave; None: not known just now
    scopes: frozenset[str] | None = None  # of an API key; None: it is not narrowed

    def as_json(self) -> dict[str, Any]:
        """All of it, in the types of JSON."""
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what ``as_json`` wrote, also before a field was added."""
        fields: dict[str, Any] = {
            name: frozenset(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Grant:
    """One role, read."""

    service: str
    resource: str
    right: Right

    @classmethod
    def parse(cls, role: str) -> Grant | None:
        """Read a role, or None if it is not one of ours."""
        head, _, right = role.rpartition("_")
        prefix, _, rest = head.partition("_")
        service, _, resource = rest.partition("_")
        if prefix != "rs" or not resource or right not in Right:
            return None
        return cls(service, resource, Right(right))

    def covers(self, service: str, resource: str, right: Right) -> bool:
        """Whether this grant answers a question about one concrete resource."""
        return self.service == service and self.right is right and _matches(self.resource, resource)


@dataclass(frozen=True, slots=True)
class _Resources:
    """The resources that a set of roles names for one right of one service."""

    named: set[str] = field(default_factory=set)
    patterns: list[str] = field(default_factory=list)

    def __contains__(self, resource: str) -> bool:
        return resource in self.named or any(_matches(pattern, resource) for pattern in self.patterns)


_NONE = _Resources()


def collection_resource(owner: str, collection: str) -> str:
    """The resource name of a catalog collection."""
    return f"{owner}:{collection}"


def allows(who: Principal, right: Right, service: str, resource: str) -> bool:
    """The one question. Owners hold every right on their own catalog collections."""
    return _holds(who, right, service, resource) and _in_scope(who, right, service, resource)


def owns(who: Principal, owner: str, collection: str = "*") -> bool:
    """Whether the caller may do what only an owner may: create, replace, delete or share a collection."""
    resource = collection_resource(owner, collection)
    return who.everything or (owner == who.login and _in_scope(who, Right.OWN, Service.CATALOG, resource))


def permitted(who: Principal, right: Right, service: str, resources: Iterable[str]) -> list[str]:
    """The resources of a listing or a search that the caller may see; possibly none of them."""
    return [resource for resource in resources if allows(who, right, service, resource)]


def may_scope(who: Principal, scope: str) -> bool:
    """Whether a key of this caller may be narrowed to that scope: it is a role text, and within what they hold."""
    grant = Grant.parse(scope)
    if grant is None:
        return False
    if grant.right is Right.OWN:
        owner, _, collection = grant.resource.partition(":")
        return grant.service == Service.CATALOG and owns(who, owner, collection)
    return allows(who, grant.right, grant.service, grant.resource)


def held(who: Principal) -> frozenset[str]:
    """The role texts of ours that the caller holds, however they came by them, within their scopes."""
    texts = who.roles | (who.granted or frozenset())
    if who.scopes is not None:
        texts = frozenset(scope for scope in who.scopes if may_scope(who, scope))
    return frozenset(text for text in texts if Grant.parse(text) is not None)


def role(right: Right, service: str, resource: str) -> str:
    """The role that gives a right: for the message of a refusal, for an owner's grant, for a scope."""
    return f"rs_{service}_{resource}_{right}"


def _holds(who: Principal, right: Right, service: str, resource: str) -> bool:
    if who.everything or (service == Service.CATALOG and resource.partition(":")[0] == who.login):
        return True
    question = (service, right)
    given = who.granted or frozenset()
    return resource in _read(who.roles).get(question, _NONE) or resource in _read(given).get(question, _NONE)


def _in_scope(who: Principal, right: Right, service: str, resource: str) -> bool:
    return who.scopes is None or resource in _read(who.scopes).get((service, right), _NONE)


@lru_cache(maxsize=4096)  # a listing asks about hundreds of resources with the same roles
def _read(roles: frozenset[str]) -> Mapping[tuple[str, Right], _Resources]:
    """What a set of roles names, by service and right."""
    found: dict[tuple[str, Right], _Resources] = {}
    for grant in filter(None, map(Grant.parse, roles)):
        resources = found.setdefault((grant.service, grant.right), _Resources())
        if "*" in grant.resource.split(":"):
            resources.patterns.append(grant.resource)
        resources.named.add(grant.resource)
    return found


def _matches(pattern: str, resource: str) -> bool:
    mine, asked = pattern.split(":"), resource.split(":")
    return len(mine) == len(asked) and all(m in ("*", a) for m, a in zip(mine, asked, strict=True))
