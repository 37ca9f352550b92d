"""The small memory forgets by number and by age."""

from __future__ import annotations

from rs_server.access.recent import Recent


def test_bounded_in_number() -> None:
    memory: Recent[int, str] = Recent(size=3, max_age_s=10)
    for key in range(1000):
        memory.put(key, str(key))
    assert len(memory) == 3
    assert [memory.get(key) for key in (996, 997, 998, 999)] == [None, "997", "998", "999"]


def test_bounded_in_age() -> None:
    now = 0.0
    memory: Recent[str, str] = Recent(size=3, max_age_s=10, clock=lambda: now)
    memory.put("a", "x")
    now = 9.9
    assert memory.get("a") == "x"
    now = 10.0
    assert memory.get("a") is None
    assert len(memory) == 0


def test_a_new_value_is_younger() -> None:
    now = 0.0
    memory: Recent[str, str] = Recent(size=2, max_age_s=10, clock=lambda: now)
    memory.put("a", "x")
    memory.put("b", "y")
    now = 5.0
    memory.put("a", "z")
    memory.put("c", "y")
    assert [memory.get(key) for key in "abc"] == ["z", None, "y"]


def test_forgets_what_it_is_told_to() -> None:
    memory: Recent[str, int] = Recent(size=5, max_age_s=10)
    for place, key in enumerate("abc"):
        memory.put(key, place)
    memory.forget(lambda value: value == 1)
    assert [memory.get(key) for key in "abc"] == [0, None, 2]
