"""With asyncio one can do what one can without, under the same names and with the same arguments."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import pytest

import rs_client
from rs_client.aio import AsyncRsClient
from rs_client.asynchttp import AsyncHttp
from rs_client.asyncstac import AsyncSearch, AsyncStac, AsyncStation
from rs_client.auxip import AsyncAuxipClient, AuxipClient
from rs_client.cadip import AsyncCadipClient, CadipClient
from rs_client.catalog import AsyncCatalogClient, CatalogClient
from rs_client.dpr import AsyncDprClient, DprClient
from rs_client.http import Http
from rs_client.jobs import AsyncJob, AsyncJobList, Job, JobList
from rs_client.keys import AsyncKeyClient, KeyClient
from rs_client.lta import AsyncLtaClient, LtaClient
from rs_client.prip import AsyncPripClient, PripClient
from rs_client.session import RsClient
from rs_client.stac import Search, StacClient, StationClient
from rs_client.staging import AsyncStagingClient, StagingClient

TWINS: Mapping[type, type] = {
    AsyncRsClient: RsClient,
    AsyncCadipClient: CadipClient,
    AsyncAuxipClient: AuxipClient,
    AsyncPripClient: PripClient,
    AsyncLtaClient: LtaClient,
    AsyncCatalogClient: CatalogClient,
    AsyncStagingClient: StagingClient,
    AsyncDprClient: DprClient,
    AsyncKeyClient: KeyClient,
    AsyncJob: Job,
    AsyncJobList: JobList,
    AsyncSearch: Search,
    AsyncHttp: Http,
    AsyncStac: StacClient,
    AsyncStation: StationClient,
}
OLD = "a name for scripts that were written for the client before this one, which knew no asyncio"
FLOW = "with asyncio the parts give their whole conversation to `run`"
WITHOUT: Mapping[type, Mapping[str, str]] = {
    RsClient: {
        **{f"get_{name}_client": OLD for name in ("cadip", "auxip", "prip", "catalog", "staging", "dpr")},
        "storage": "what opens products blocks; `open` has it work in a thread",
        "cluster": "Dask's clusters have an asyncio mode of their own, and a client that waits by itself",
    },
    StacClient: {
        "PATH": "said by `KIND`",
        "WORDS": "said by `KIND`",
        "connect": "a service is opened by the first question, as a constructor cannot wait",
        "get_collections": "the iterator of pystac_client; `collections` gives them all",
    },
    Http: {
        **dict.fromkeys(("post", "post_once", "put", "delete"), FLOW),
    },
}
"""What only the other has, and why; what is said of a class holds for those below it."""
MORE: Mapping[type, Mapping[str, str]] = {
    RsClient: {"open": "an item that was found with asyncio knows no session that it could be opened by"},
    StacClient: {"KIND": "the twin that says where the service lies and what it is searched by"},
}
"""What there is with asyncio alone, and why."""


def public(kind: type) -> set[str]:
    """The public names that are ours, not a library's."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("rs_client")]
    return {name for each in ours for name in {**vars(each), **inspect.get_annotations(each)} if name[0] != "_"}


def excused(kind: type, reasons: Mapping[type, Mapping[str, str]]) -> set[str]:
    return {name for each in kind.__mro__ for name in reasons.get(each, ())}


def arguments(member: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each, none for a property."""
    if not inspect.isfunction(member):
        return []
    given = list(inspect.signature(member).parameters.values())[1:]
    return [(each.name, each.kind, each.default) for each in given]


@pytest.mark.parametrize(("there", "here"), TWINS.items(), ids=lambda kind: kind.__name__)
def test_twins_have_the_same_names(there: type, here: type) -> None:
    session = {"session"} & public(here)  # an annotation, of what the items of a search find their way back by
    assert public(here) - session - public(there) == excused(here, WITHOUT)
    assert public(there) - public(here) == excused(here, MORE)


@pytest.mark.parametrize(("there", "here"), TWINS.items(), ids=lambda kind: kind.__name__)
def test_and_the_same_arguments(there: type, here: type) -> None:
    for name in public(here) & public(there):
        assert arguments(inspect.getattr_static(there, name)) == arguments(inspect.getattr_static(here, name)), name


def test_no_twin_is_forgotten() -> None:
    modules = [importlib.import_module(f"rs_client.{found.name}") for found in pkgutil.iter_modules(rs_client.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    assert {kind for kind in kinds if kind.__name__.startswith("Async") and "rs_client" in kind.__module__} == set(
        TWINS
    )
