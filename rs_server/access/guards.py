"""What a route declares: the caller it takes, and the right it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol

from fastapi import Depends, Request

from rs_server.access import policy
from rs_server.access.policy import Principal, Right, Service
from rs_server.errors import Forbidden, NotFound, Unavailable


class Authenticator(Protocol):
    """Turns the headers of a request into a caller."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        """The caller, or ``NotAuthenticated``; header names come in lower case, ``address`` is the peer's."""
        ...


async def current_principal(request: Request) -> Principal:
    """The authenticated caller of this request (401 without one).

    The application's lifespan puts its ``Authenticator`` into the request state as ``authenticator``.
    """
    authenticator: Authenticator = request.state.authenticator
    principal = await authenticator.authenticate(request.headers, request.client.host if request.client else "")
    request.state.principal = principal
    return principal


Caller = Annotated[Principal, Depends(current_principal)]


def require(who: Principal, right: Right, service: str, resource: str) -> None:
    """Refuse with 403, naming the role that is missing."""
    if not policy.allows(who, right, service, resource):
        _require_known(who, service)
        role = policy.role(right, service, resource)
        raise Forbidden(
            f"{who.login} may not {right} {service} {resource}",
            hint=f"ask the owner or an operator for the role {role}",
            denied="role",
            missing_role=role,
        )


def require_visible(who: Principal, service: str, resource: str, what: str) -> None:
    """Answer 404 for what the caller may not read: it does not exist, as far as they can tell."""
    if not policy.allows(who, Right.READ, service, resource):
        _require_known(who, service)
        raise NotFound(f"{what} does not exist", denied="hidden")


def require_owner(who: Principal, owner: str, collection: str) -> None:
    """Refuse with 403 what only the owner of a collection may."""
    if not policy.owns(who, owner, collection):
        raise Forbidden(
            f"{who.login} may not make, replace, delete or share collection {owner}_{collection}",
            hint="only the owner of a collection may",
            denied="owner",
            missing_right="owner",
        )


def require_unscoped(who: Principal, what: str) -> None:
    """Refuse with 403 what concerns the caller as a whole to a key that stands for a part of their rights."""
    if who.scopes is not None:
        raise Forbidden(
            f"an API key with scopes may not {what}",
            hint="log in, or use a key without scopes",
            denied="login",
            missing_right="login",
        )


def _require_known(who: Principal, service: str) -> None:
    """Do not refuse for want of a grant that could not be read: the caller may hold it."""
    if who.granted is None and service == Service.CATALOG:
        raise Unavailable("who shares which collection with you cannot be read", hint="try again in a few seconds")
