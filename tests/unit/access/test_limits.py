"""How often somebody may try: counted by place, forgotten after a while, in memory that does not grow."""

from __future__ import annotations

import tracemalloc

import pytest

from rs_server.access.apikeys import digest, new_key
from rs_server.access.limits import REMEMBERED, Guesses, Rates, network
from rs_server.errors import TooManyRequests

KEY, OTHER = digest(new_key()), digest(new_key())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(guesses: Guesses, address: str, known_as: bytes = OTHER) -> int | None:
    """How long the address has to wait, in seconds; None if it may try."""
    try:
        guesses.admit(address, known_as)
    except TooManyRequests as error:
        return int(error.members["retry_after_s"])
    return None


def test_an_address_may_be_wrong_so_often_in_a_minute() -> None:
    clock = Clock()
    guesses = Guesses(3, clock)
    for _ in range(3):
        assert refused(guesses, "10.0.0.1") is None
        guesses.wrong("10.0.0.1")
        clock.now += 10
    assert refused(guesses, "10.0.0.1") == 30
    assert refused(guesses, "10.0.0.2") is None
    clock.now += 30
    assert refused(guesses, "10.0.0.1") is None


def test_keys_that_were_right_go_on_working_where_they_were_right() -> None:
    guesses = Guesses(1, Clock())
    guesses.right("10.0.0.1", KEY)
    for address in ("10.0.0.1", "10.0.0.2"):
        guesses.wrong(address)
    assert refused(guesses, "10.0.0.1", KEY) is None
    assert refused(guesses, "10.0.0.1", OTHER) is not None
    assert refused(guesses, "10.0.0.2", KEY) is not None


def test_a_million_addresses_take_no_more_memory_than_a_few() -> None:
    guesses = Guesses(3, Clock())
    for number in range(REMEMBERED):
        guesses.wrong(f"first-{number}")
    tracemalloc.start()
    for number in range(3 * REMEMBERED):
        guesses.wrong(f"other-{number}")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 8_000_000  # what the first ones took, which are gone


PLACES = [
    ("10.0.0.1", "10.0.0.1"),
    ("::ffff:10.0.0.1", "10.0.0.1"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ("2001:db8:1:2::1", "2001:db8:1:2::"),
    ("2001:db8:1:3::1", "2001:db8:1:3::"),
    ("", ""),
    ("testclient", "testclient"),
]


@pytest.mark.parametrize(("address", "place"), PLACES)
def test_what_counts_as_one_place(address: str, place: str) -> None:
    assert network(address) == place


def may(rates: Rates, subject: str) -> bool:
    """Whether the caller is answered now."""
    try:
        rates.take(subject, f"key of {subject}")
    except TooManyRequests as error:
        return bool(error.members["retry_after_s"] != 1)
    return True


def test_rates() -> None:
    clock = Clock()
    rates = Rates(10, 20, clock)
    assert [may(rates, "alice") for _ in range(21)] == [True] * 20 + [False]
    assert may(rates, "bob")
    clock.now += 0.53  # what the refusal cost, beside five requests
    assert [may(rates, "alice") for _ in range(6)] == [True] * 5 + [False]
    clock.now += 3600
    assert [may(rates, "alice") for _ in range(21)] == [True] * 20 + [False]


def test_who_was_refused_is_known_by_the_credential() -> None:
    clock = Clock()
    rates = Rates(1, 2, clock)
    assert rates.refusal("key of alice") is None
    assert [may(rates, "alice") for _ in range(3)] == [True, True, False]
    refusal = rates.refusal("key of alice")
    assert refusal is not None
    assert refusal.members["retry_after_s"] == 1
    assert rates.refusal("another key") is None
    clock.now += 1
    assert rates.refusal("key of alice") is None
    assert may(rates, "alice")
    assert rates.refusal("key of alice") is not None


@pytest.mark.parametrize(("asked_per_s", "answered"), [(10, 100), (12, 93), (40, 0), (1000, 0)])
def test_who_does_not_heed_a_refusal_gets_less_and_at_last_nothing(asked_per_s: int, answered: int) -> None:
    clock = Clock()
    rates = Rates(10, 20, clock)
    while may(rates, "alice"):
        pass
    clock.now += 0.1
    got = 0
    for _ in range(10 * asked_per_s):
        got += may(rates, "alice")
        clock.now += 1 / asked_per_s
    assert got == pytest.approx(answered, abs=2)


def test_a_second_after_whatever_went_before_the_next_is_answered() -> None:
    clock = Clock()
    rates = Rates(10, 20, clock)
    assert [may(rates, "alice") for _ in range(5000)].count(True) == 20
    assert not may(rates, "alice")
    clock.now += 1
    assert may(rates, "alice")
