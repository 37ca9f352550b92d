"""Who a user is by now, for work that goes on after they asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rs_server.access.policy import Principal, Via
from rs_server.access.standing import Standing
from rs_server.errors import Forbidden
from tests.unit.access.test_directory import Keycloak

THEN = Principal("alice", "id-a", frozenset({"rs_processes_staging_execute"}), via="api_key", scopes=frozenset({"s"}))


class Grants:
    """Gives alice what it is told."""

    async def added(self, who: Principal) -> Principal:
        return replace(who, granted=frozenset({"rs_catalog_carol:x_write"}))


def standing(keycloak: Keycloak | None) -> Standing:
    grants: Any = Grants()
    return Standing(keycloak.directory if keycloak else None, grants)


async def test_rights_are_those_of_now_within_the_scopes_of_then() -> None:
    via: Via = "api_key"
    now = await standing(Keycloak()).now(THEN)
    roles, groups = frozenset({"rs_cadip_sgs_read"}), frozenset({"rs-users"})
    granted = frozenset({"rs_catalog_carol:x_write"})
    assert now == Principal("alice", "id-a", roles, groups, via=via, granted=granted, scopes=frozenset({"s"}))


async def test_who_may_not_log_in_has_no_rights() -> None:
    keycloak = Keycloak()
    keycloak.user["enabled"] = False
    with pytest.raises(Forbidden, match="alice may not log in"):
        await standing(keycloak).now(THEN)
    with pytest.raises(Forbidden, match="bob may not log in"):
        await standing(Keycloak()).now(replace(THEN, login="bob", subject="id-b"))


async def test_without_a_directory_they_keep_what_they_held() -> None:
    assert await standing(None).now(THEN) == THEN
