"""Differences of versions are found before any work, and all of them are named."""

import copy
from typing import Any

import pytest

from rs_client.processing.environment import describe
from rs_server.dpr.environment import EnvironmentMismatch, check

HERE: dict[str, Any] = {
    "python": "3.13.0",
    "packages": {"dask": "2026.8.0", "distributed": "2026.8.0", "cloudpickle": "3.1", "eopf": "3.0.0", "zarr": "3.4.2"},
}


def changed(**versions: str | None) -> dict[str, Any]:
    environment = copy.deepcopy(HERE)
    environment["python"] = versions.pop("python", None) or environment["python"]
    environment["packages"] |= versions
    return environment


def test_the_same_everywhere() -> None:
    check(HERE, HERE, {"w1": HERE, "w2": HERE})


def test_the_service_needs_no_processing_package() -> None:
    check(
        {**HERE, "packages": {name: HERE["packages"][name] for name in ("dask", "distributed", "cloudpickle")}},
        HERE,
        {},
    )


@pytest.mark.parametrize(
    ("scheduler", "worker", "named"),
    [
        (changed(distributed="2026.7.1"), changed(distributed="2026.7.1"), "distributed is 2026.8.0 in the service"),
        (
            changed(python="3.12.1"),
            changed(python="3.12.1"),
            "python is 3.13.0 in the service, and 3.12.1 in the sched",
        ),
        (HERE, changed(eopf="2.8.1"), "eopf is 3.0.0 in the scheduler, and 2.8.1 in worker w1"),
        (HERE, changed(zarr=None), "zarr is 3.4.2 in the scheduler, and absent in worker w1"),
    ],
)
def test_differences_are_named(scheduler: dict[str, Any], worker: dict[str, Any], named: str) -> None:
    with pytest.raises(EnvironmentMismatch, match=named) as caught:
        check(HERE, scheduler, {"w0": scheduler, "w1": worker})
    assert "w0" not in caught.value.detail
    assert caught.value.hint


def test_this_environment_describes_itself() -> None:
    here = describe()
    check(here, here, {"w": here})
    assert {"rs-python", "eopf", "dask", "distributed"} <= set(here["packages"])
    assert len(here["installed"]) == len(here["lock"]) == 64
