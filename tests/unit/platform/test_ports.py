"""Ports: preferred ones are kept, those of other programs are replaced and told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rs_platform.installation import Installation
from rs_platform.ports import (
    PREFERRED,
    NoFreePort,
    Ports,
    Replaced,
    any_free,
    free_port,
    is_free,
    remember,
    remembered,
    settle,
    state_file,
)


def test_free_ports_stay() -> None:
    ports, changes = settle(Ports(PREFERRED), (), free=lambda _: True)
    assert (ports.numbers, changes) == (PREFERRED, ())


def test_a_taken_port_is_replaced_and_told() -> None:
    ports, (change,) = settle(Ports(PREFERRED), (), free=lambda port: port != PREFERRED["hub"])
    assert change == Replaced("hub", PREFERRED["hub"], ports["hub"])
    assert ports["hub"] not in PREFERRED.values()
    assert {name: port for name, port in ports.numbers.items() if name != "hub"} == {
        name: port for name, port in PREFERRED.items() if name != "hub"
    }


def test_our_own_port_is_not_someone_elses() -> None:
    ports, changes = settle(Ports(PREFERRED), ("hub",), free=lambda port: port != PREFERRED["hub"])
    assert (ports.numbers, changes) == (PREFERRED, ())


def test_no_two_services_get_the_same_port() -> None:
    assert len(set(PREFERRED.values())) == len(PREFERRED)
    ports, _ = settle(Ports(PREFERRED), (), free=lambda port: port not in PREFERRED.values())
    assert len(set(ports.numbers.values())) == len(PREFERRED)
    assert len(set(any_free(free=lambda _: True).numbers.values())) == len(PREFERRED)


def test_a_full_machine_is_told() -> None:
    with pytest.raises(NoFreePort):
        free_port(free=lambda _: False)


def test_a_listening_socket_takes_its_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_ports_are_remembered(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.prepare()
    assert remembered(here) is None
    remember(here, Ports({**PREFERRED, "hub": 12345}))
    found = remembered(here)
    assert found is not None
    assert found["hub"] == 12345


@pytest.mark.parametrize("text", ["", "{", "{}", '{"ports": '])
def test_a_broken_note_counts_as_none(tmp_path: Path, text: str) -> None:
    here = Installation(tmp_path)
    here.prepare()
    state_file(here).write_text(text)
    assert remembered(here) is None


def test_a_name_that_is_new_gets_its_preferred_port(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.prepare()
    remember(here, Ports({"hub": 12345}))
    found = remembered(here)
    assert found is not None
    assert found.numbers == {**PREFERRED, "hub": 12345}
