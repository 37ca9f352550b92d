"""Dask clusters that run what you run: opened where the place offers them, and compared before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_client.errors import EnvironmentMismatch
from rs_client.settings import Settings

COMPARED = ("python", "dask", "distributed", "msgpack", "cloudpickle", "numpy", "pandas", "xarray", "zarr", "eopf")
"""What must be the same on both sides: what carries tasks and data between them, and what opens products."""

_OWN_KERNEL = "use a kernel of the platform's image: its clusters run the same packages"


def open_cluster(settings: Settings, workers: int) -> Any:
    """A cluster of the platform's gateway where one is known, else one of this machine."""
    if not settings.gateway:
        from distributed import LocalCluster

        return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")  # type: ignore[no-untyped-call]
    from dask_gateway import Gateway  # type: ignore[import-untyped]  # no types there

    cluster = Gateway().new_cluster(shutdown_on_close=True)
    try:
        cluster.scale(workers)
        check({"scheduler": cluster.gateway.sync(cluster.scheduler_comm.versions, packages=_added())})
    except BaseException:
        cluster.close()
        raise
    return cluster


def check(places: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the versions of other places (as ``distributed`` tells them) with ours.

    Raises ``EnvironmentMismatch`` that names each package and its versions.
    """
    from distributed.versions import get_versions

    here = _packages(get_versions(packages=_added()))
    there = {name: _packages(versions) for name, versions in places.items()}
    different = {
        package: {"here": here.get(package, "none")}
        | {name: found.get(package, "none") for name, found in there.items()}
        for package in COMPARED
        if any(found.get(package) != here.get(package) for found in there.values())
    }
    if different:
        lines = (f"{package} {', '.join(f'{v} {k}' for k, v in where.items())}" for package, where in different.items())
        raise EnvironmentMismatch(
            f"the cluster runs other versions than you: {'; '.join(lines)}", versions=different, hint=_OWN_KERNEL
        )


def _packages(versions: Mapping[str, Any]) -> dict[str, str]:
    """Package → version; of Python itself, the part that matters to what is sent."""
    found = {name: str(version) for name, version in versions["packages"].items() if version is not None}
    found["python"] = ".".join(found.get("python", "").split(".")[:2])
    return found


def _added() -> list[str]:
    """What is compared beyond what ``distributed`` tells by itself."""
    return ["xarray", "zarr", "eopf"]
