"""A cluster that runs other versions is refused before any work, and the difference is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from distributed.versions import get_versions

from rs_client.cluster import check, open_cluster
from rs_client.errors import EnvironmentMismatch
from rs_client.settings import Settings


@pytest.fixture
def same() -> Any:
    return copy.deepcopy(get_versions(packages=["xarray", "zarr", "eopf"]))


def test_the_same_versions_are_let_through(same: Any) -> None:
    check({"scheduler": same})


@pytest.mark.parametrize(("package", "version"), [("dask", "1.0"), ("zarr", "2.18"), ("python", "3.12.1.final.0")])
def test_a_difference_is_named(same: Any, package: str, version: str) -> None:
    same["packages"][package] = version
    with pytest.raises(EnvironmentMismatch, match=package) as caught:
        check({"scheduler": same})
    assert set(caught.value.versions) == {package}
    assert version.startswith(caught.value.versions[package]["scheduler"])
    assert caught.value.versions[package]["here"] != caught.value.versions[package]["scheduler"]


def test_what_is_missing_there_is_a_difference(same: Any) -> None:
    del same["packages"]["eopf"]
    with pytest.raises(EnvironmentMismatch, match=r"eopf .* here, none scheduler"):
        check({"scheduler": same})


def test_a_patch_release_of_python_is_none(same: Any) -> None:
    same["packages"]["python"] = same["packages"]["python"].rpartition(".final")[0][:-1] + "99.final.0"
    check({"scheduler": same})


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_where_there_is_no_gateway_it_is_this_machine() -> None:
    with open_cluster(Settings(), workers=1) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        assert "127.0.0.1" in cluster.dashboard_link
