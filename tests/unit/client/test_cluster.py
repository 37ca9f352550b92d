"""A cluster that runs other versions is refused before any work, and the difference is named."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from rs_client.cluster import check, describing, open_cluster
from rs_client.errors import EnvironmentMismatch
from rs_client.settings import Settings

SCHEDULER = """
import json, pickle, sys
found = pickle.load(sys.stdin.buffer)()
assert not {"rs_client", "eopf", "xarray"} & set(sys.modules), "it needs no package of ours, and takes no time"
print(json.dumps(found))
"""


@pytest.fixture
def same() -> Any:
    """What a scheduler of this environment tells."""
    command = [sys.executable, "-c", SCHEDULER]
    return json.loads(
        subprocess.run(command, input=cloudpickle.dumps(describing()), capture_output=True, check=True).stdout
    )


def test_the_same_versions_are_let_through(same: Any) -> None:
    check({"scheduler": same})


@pytest.mark.parametrize(("package", "version"), [("dask", "1.0"), ("zarr", "2.18"), ("python", "3.12")])
def test_a_difference_is_named(same: Any, package: str, version: str) -> None:
    same[package] = version
    with pytest.raises(EnvironmentMismatch, match=package) as caught:
        check({"scheduler": same})
    assert set(caught.value.versions) == {package}
    assert caught.value.versions[package]["scheduler"] == version
    assert caught.value.versions[package]["here"] != caught.value.versions[package]["scheduler"]


def test_what_is_missing_there_is_a_difference(same: Any) -> None:
    del same["eopf"]
    with pytest.raises(EnvironmentMismatch, match=r"eopf .* here, none scheduler"):
        check({"scheduler": same})


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_where_there_is_no_gateway_it_is_this_machine() -> None:
    with open_cluster(Settings(), workers=1) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        assert "127.0.0.1" in cluster.dashboard_link
