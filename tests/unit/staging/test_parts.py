"""How a large file is cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_server.staging.parts import MOST_PARTS, cut

MIB = 1024 * 1024


@given(size=st.integers(1, 10**7), part=st.integers(1000, 10**6), data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_missing_parts_are_all_that_is_missing(size: int, part: int, data: st.DataObject) -> None:
    whole = cut(size, part)
    done = data.draw(st.sets(st.integers(1, whole.count)))
    for single in (False, True):
        runs = list(whole.runs(done, single=single))
        numbers = [each.number for run in runs for each in run]
        assert numbers == [number for number in range(1, whole.count + 1) if number not in done]
        assert all(a.end == b.start for run in runs for a, b in pairwise(run))
        assert not single or all(len(run) == 1 for run in runs)
    assert sum(whole.part(number).size for number in range(1, whole.count + 1)) == size


def test_a_storage_may_take_fewer_parts() -> None:
    whole = cut(20_000_000_000, 8 * MIB, 400)
    assert (whole.part_size, whole.count) == (48 * MIB, 398)


@pytest.mark.parametrize(("size", "part"), [(8 * MIB, 8 * MIB), (5 * 1024**4, 525 * MIB), (10_000 * 8 * MIB, 8 * MIB)])
def test_a_huge_file_has_larger_parts(size: int, part: int) -> None:
    whole = cut(size, 8 * MIB)
    assert (whole.part_size, whole.count <= MOST_PARTS) == (part, True)
