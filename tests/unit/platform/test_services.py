"""The service graph: its order, what a selection takes along, and the ports it names."""

from __future__ import annotations

import graphlib
from pathlib import Path

import pytest

from rs_platform.installation import Installation
from rs_platform.ports import PREFERRED, Ports
from rs_platform.probes import Http
from rs_platform.services import Service, graph, in_order, required, selection, services
from rs_platform.site import Site, site
from rs_platform.stopping import layers


@pytest.fixture
def here(tmp_path: Path) -> Site:
    installation = Installation(tmp_path / "home")
    installation.prepare()
    return site(installation, Ports(PREFERRED))


def test_each_part_comes_after_all_that_it_needs(here: Site) -> None:
    seen: set[str] = set()
    for node in graph(here):
        assert set(required(node)) <= seen, node.name
        seen.add(node.name)


def test_the_graph_is_complete(here: Site) -> None:
    names = {service.name for service in services(graph(here))}
    assert names == {
        *("postgres", "keycloak", "s3-iam", "s3"),
        *("cadip-station", "auxip-station", "prip-station", "lta-station"),
        *("rs-server", "rs-worker", "dask-gateway", "hub"),
    }


def test_a_circle_is_refused() -> None:
    probe = Http("http://127.0.0.1:1", "")
    circle = [Service("a", (), probe, needs=("b",)), Service("b", (), probe, needs=("a",))]
    with pytest.raises(graphlib.CycleError):
        in_order(circle)


def test_every_port_belongs_to_one_service(here: Site) -> None:
    used = [port for service in services(graph(here)) for port in service.ports]
    assert sorted(used) == sorted(PREFERRED)


def test_every_service_listens_on_loopback_only(here: Site) -> None:
    for service in services(graph(here)):
        words = (*service.command, *service.environment.values())
        assert not [word for word in words if "0.0.0.0" in word or word.startswith(":")], service.name


def test_no_command_line_shows_a_secret(here: Site) -> None:
    values = set(vars(here.secrets).values())
    for service in services(graph(here)):
        assert not [word for word in service.command if any(value in word for value in values)], service.name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("postgres",), {"database-cluster", "postgres", "databases"}),
        (("s3",), {"s3-iam", "s3", "bucket"}),
        (("cadip-station",), {"cadip-station"}),
    ],
)
def test_a_selection_takes_along_what_it_needs_and_what_completes_it(
    here: Site, names: tuple[str, ...], expected: set[str]
) -> None:
    assert {node.name for node in selection(graph(here), names)} == expected


def test_the_hub_takes_the_login_along(here: Site) -> None:
    names = {node.name for node in selection(graph(here), ("hub",))}
    assert {"keycloak", "realm", "dask-gateway", "postgres"} <= names
    assert "rs-server" not in names


def test_an_unknown_name_is_told(here: Site) -> None:
    with pytest.raises(KeyError, match="nothing"):
        selection(graph(here), ("nothing",))


def test_stopping_ends_what_is_needed_last(here: Site) -> None:
    order = layers(graph(here))
    position = {name: index for index, layer in enumerate(order) for name in layer}
    for node in graph(here):
        assert all(position[node.name] < position[name] for name in required(node))
