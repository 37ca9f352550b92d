"""A cluster is as large as the processor can use, within what its user may have."""

import pytest

from rs_client.processing.tasktable import Resources
from rs_server.dpr.processors import processors
from rs_server.dpr.sizing import Size, limits_of, size
from rs_server.errors import Forbidden
from rs_server.settings import ClusterLimits

RESOURCES = Resources(workers=(2, 8), cores=2, memory_gib=1.5, memory_per_input_gib=0.5)
LARGE = ClusterLimits(workers=6, cores=4, memory_gib=16)


@pytest.mark.parametrize(
    ("octets", "limits", "wanted", "expected"),
    [
        (0, LARGE, None, Size(6, 2, 1.5)),
        (0, LARGE, 3, Size(3, 2, 1.5)),
        (0, LARGE, 1, Size(2, 2, 1.5)),  # it can do with no fewer
        (0, LARGE, 100, Size(6, 2, 1.5)),
        (0, ClusterLimits(workers=20, cores=4, memory_gib=4), None, Size(8, 2, 1.5)),  # it can use no more
        (3 << 30, LARGE, None, Size(6, 2, 3.0)),
    ],
)
def test_sizes(octets: int, limits: ClusterLimits, wanted: int | None, expected: Size) -> None:
    assert size(RESOURCES, octets, limits, wanted) == expected


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (ClusterLimits(workers=1, cores=4, memory_gib=16), "2 workers, of which you may use 1"),
        (ClusterLimits(workers=4, cores=1, memory_gib=16), "2 cores a worker, of which you may use 1"),
        (ClusterLimits(workers=4, cores=4, memory_gib=1), "1.5 GiB of memory a worker, of which you may use 1"),
    ],
)
def test_what_is_too_little_is_named(limits: ClusterLimits, named: str) -> None:
    with pytest.raises(Forbidden, match=named):
        size(RESOURCES, 0, limits)


@pytest.mark.parametrize(("limit", "expected"), [(1.5, 1.5), (1.75, 1.75), (16, 2.5)])
def test_spare_memory_is_asked_for_as_far_as_one_may_have_it(limit: float, expected: float) -> None:
    resources = RESOURCES.model_copy(update={"spare_memory_gib": 1})
    assert size(resources, 0, ClusterLimits(workers=2, cores=4, memory_gib=limit)).memory_gib == expected


def test_every_processor_of_this_project_fits_the_usual_limits() -> None:
    for processor in processors():
        resources = processor.task.resources
        assert size(resources, 2 << 30, ClusterLimits()).memory_gib <= ClusterLimits().memory_gib


def test_the_largest_of_a_users_limits_counts() -> None:
    limits = {
        "*": ClusterLimits(workers=2, cores=2, memory_gib=4),
        "pilots": ClusterLimits(workers=8, cores=1, memory_gib=2),
    }
    assert limits_of(["pilots", "others"], limits) == ClusterLimits(workers=8, cores=2, memory_gib=4)
    assert limits_of([], limits) == limits["*"]
    assert limits_of(["others"], {}) == ClusterLimits()
