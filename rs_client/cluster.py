"""Dask clusters that run what you run: opened where the place offers them, and compared before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rs_client.errors import EnvironmentMismatch
from rs_client.settings import Settings

COMPARED = ("python", "dask", "distributed", "msgpack", "cloudpickle", "numpy", "pandas", "xarray", "zarr", "eopf")
"""What must be the same on both sides: what carries tasks and data between them, and what opens products."""

_OWN_KERNEL = "use a kernel of the platform's image: its clusters run the same packages"


def open_cluster(settings: Settings, workers: int) -> Any:
    """A cluster of the platform's gateway where one is known, else one of this machine, of so many workers.

    Raises ``EnvironmentMismatch`` when the gateway's cluster runs other versions than this process; it is closed then.
    """
    if not settings.gateway:
        from distributed import LocalCluster

        return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")  # type: ignore[no-untyped-call]
    from dask_gateway import Gateway  # type: ignore[import-untyped]  # no types there

    cluster = Gateway().new_cluster(shutdown_on_close=True)
    try:
        cluster.scale(workers)
        with cluster.get_client(set_as_default=False) as client:
            check({"scheduler": client.run_on_scheduler(describing())})
    except BaseException:
        cluster.close()
        raise
    return cluster


def check(places: Mapping[str, Mapping[str, str]]) -> None:
    """Compare the versions of other places, by package, with ours.

    Raises ``EnvironmentMismatch`` that names each package and its versions.
    """
    here = describing()()
    different = {
        package: {"here": here.get(package, "none")}
        | {name: found.get(package, "none") for name, found in places.items()}
        for package in COMPARED
        if any(found.get(package) != here.get(package) for found in places.values())
    }
    if different:
        lines = (f"{package} {', '.join(f'{v} {k}' for k, v in where.items())}" for package, where in different.items())
        raise EnvironmentMismatch(
            f"the cluster runs other versions than you: {'; '.join(lines)}", versions=different, hint=_OWN_KERNEL
        )


def describing() -> Callable[[], dict[str, str]]:
    """A function that tells the versions where it runs, by what is installed: to import it all would take seconds.

    It travels by value, so that the other place need not have this package.
    """
    names = [name for name in COMPARED if name != "python"]

    def describe() -> dict[str, str]:
        import sys
        from importlib.metadata import distribution

        # Of Python itself, the part that matters to what is sent.
        found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
        for name in names:
            try:
                found[name] = distribution(name).version
            except ImportError:  # of which PackageNotFoundError is one
                continue
        return found

    return describe
