"""The order of the search over all, in more of the random searches of which the unit tests make a few."""

from __future__ import annotations

import pytest

from tests.unit.discovery.test_order import all_agree

SEARCHES = 40


@pytest.mark.parametrize("seed", range(3))
def test_all_sources_come_in_one_order_forth_and_back(seed: int) -> None:
    all_agree(seed, SEARCHES)
