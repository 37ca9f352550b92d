"""What a job will read, stage and make is decided, and told, before anything is done."""

from dataclasses import replace
from typing import Any

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.dpr.preparation import PreparationFailed
from rs_server.dpr.request import BySearch, Search
from rs_server.errors import BadInput, Forbidden, NotFound, RsError
from rs_server.processes.model import Job, Progress, Status
from rs_server.processes.references import ByReference, Reference
from tests.unit.dpr.session import (
    ALICE,
    AT_STATION,
    PLACE,
    S1_L0,
    SESSION,
    SOURCE,
    WITH_ORBIT,
    Catalog,
    adf,
    item,
    preparation,
    request,
)

ORBIT = adf("AUX_RESORB", "11-14T13:15:41", "11-14T16:33:11", "11-14T17:02:36")
PARAMETERS = adf("AUX_PP1", "01-28T09:25:00", "01-28T09:25:00", "03-23T15:30:41")


async def test_a_plan_tells_inputs_sizes_cluster_and_outputs() -> None:
    plan = (await preparation().plan(ALICE, request())).document(PLACE.public_url)
    assert plan["steps"] == [
        {
            "inputs": [
                {
                    "name": "cadu",
                    "id": SESSION,
                    "href": f"{PLACE.public_url}{SOURCE.path}",
                    "why": "given by its address",
                    "files": 4,
                    "bytes": 606,
                    "stage_to": None,
                }
            ],
            "adfs": [],
            "outputs": [{"name": "l0", "id": f"{SESSION}_L0", "product:type": "S1_L0", "collection": "alice_s1-l0"}],
        }
    ]
    assert plan["cluster"] == {"workers": 2, "cores": 2, "memory_gib": 2.75}
    assert (plan["bytes_to_read"], plan["files_to_read"], plan["bytes_to_stage"]) == (606, 4, 0)
    assert plan["problems"] == []


async def test_auxiliary_files_come_from_the_catalog_with_the_reason() -> None:
    prepared = preparation(Catalog(item(), ORBIT, PARAMETERS), WITH_ORBIT)
    plan = await prepared.plan(ALICE, request(processor=WITH_ORBIT))
    assert [(each.name, each.source.item) for each in plan.steps[0].adfs] == [
        ("orbit", ORBIT["id"]),
        ("parameters", PARAMETERS["id"]),
    ]
    assert plan.steps[0].adfs[0].why.startswith("latest-valid: ")
    assert (plan.problems, plan.notes) == ((), ())


async def test_a_missing_auxiliary_file_is_a_problem_unless_it_is_optional() -> None:
    plan = await preparation(Catalog(item()), WITH_ORBIT).plan(ALICE, request(processor=WITH_ORBIT))
    (problem,) = plan.problems
    (note,) = plan.notes
    assert problem.startswith("adfs.orbit: no AUX_RESORB fits, neither in the catalog nor at the stations")
    assert note.startswith("adfs.parameters: no AUX_PP1")


async def test_auxiliary_files_that_may_not_be_read_are_not_chosen() -> None:
    hidden = adf("AUX_RESORB", "11-14T13:15:41", "11-14T16:33:11", "11-14T17:02:36", collection="bob_aux")
    catalog = Catalog(item(), hidden)
    assert (await preparation(catalog, WITH_ORBIT).plan(ALICE, request(processor=WITH_ORBIT))).problems
    reader = replace(ALICE, roles=ALICE.roles | {"rs_catalog_bob:aux_read"})
    assert not (await preparation(catalog, WITH_ORBIT).plan(reader, request(processor=WITH_ORBIT))).problems


async def test_one_that_is_given_is_taken() -> None:
    older = adf("AUX_RESORB", "11-14T09:58:21", "11-14T13:15:51", "11-14T13:44:02")
    path = Reference("catalog", older["collection"], older["id"]).path
    prepared = preparation(Catalog(item(), ORBIT, older), WITH_ORBIT)
    plan = await prepared.plan(ALICE, request(processor=WITH_ORBIT, adfs={"orbit": path}))
    assert plan.steps[0].adfs[0].source.item == older["id"]


async def test_what_is_at_a_station_only_is_staged_first() -> None:
    catalog = Catalog(ORBIT)
    plan = await preparation(catalog).plan(ALICE, request(AT_STATION.path))
    (chosen,) = plan.chosen
    assert (chosen.source, chosen.stage_to) == (AT_STATION, CollectionName("alice", "cadip-s1-sgs"))
    assert chosen.staged == Reference("catalog", "alice_cadip-s1-sgs", SESSION)
    document = plan.document(PLACE.public_url)
    assert (document["files_to_stage"], document["bytes_to_stage"]) == (4, 606)


async def test_what_was_staged_before_is_read_where_it_is() -> None:
    (chosen,) = (await preparation(Catalog(item())).plan(ALICE, request(AT_STATION.path))).chosen
    assert (chosen.source, chosen.stage_to) == (SOURCE, None)
    assert "staged before from the station sgs" in chosen.why
    elsewhere = {
        **item(),
        "links": [{"rel": "via", "href": f"{PLACE.public_url}/cadip/collections/other/items/{SESSION}"}],
    }
    (chosen,) = (await preparation(Catalog(elsewhere)).plan(ALICE, request(AT_STATION.path))).chosen
    assert chosen.source == AT_STATION


@pytest.mark.parametrize(
    ("who", "path", "error", "why"),
    [
        (Principal("bob"), SOURCE.path, NotFound, "does not exist"),
        (Principal("bob"), AT_STATION.path, NotFound, "does not exist"),
        (Principal("bob", roles=frozenset({"rs_cadip_sgs_read"})), AT_STATION.path, Forbidden, "may not download"),
        (ALICE, "/catalog/collections/alice_s1-cadu/items/other", NotFound, "other"),
        (ALICE, "/cadip/collections/s1-sgs/items/other", NotFound, "other"),
    ],
)
async def test_what_may_not_be_read_is_refused(who: Principal, path: str, error: type[RsError], why: str) -> None:
    with pytest.raises(error, match=why):
        await preparation().plan(who, request(path))


async def test_several_sessions_make_several_products() -> None:
    other = {**item(), "id": f"{SESSION}9"}
    other["assets"] = {"a": {**item()["assets"]["ch1_1.raw"], "href": f"s3://rs-data/alice/s1-cadu/{SESSION}9/a.raw"}}
    both = request().model_copy(update={"inputs": {"cadu": (SOURCE.path, f"{SOURCE.path}9")}})
    plan = await preparation(Catalog(item(), other)).plan(ALICE, both)
    assert [step.label for step in plan.steps] == [f"{SESSION}_L0", f"{SESSION}9_L0"]


async def test_a_missing_input_is_a_problem() -> None:
    nothing = request().model_copy(update={"inputs": {}})
    plan = await preparation().plan(ALICE, nothing)
    assert plan.problems == ("inputs.cadu: 1 items are needed, and 0 are given",)


async def test_limits_are_kept_before_anything_starts() -> None:
    with pytest.raises(Forbidden, match="2 cores a worker"):
        await preparation(cores=1).plan(ALICE, request())


async def test_items_may_be_searched_for() -> None:
    sources = (BySearch(search=Search(collections=("s1-cadu",), filter="platform = 'sentinel-1a'")),)
    found = await preparation().references(ALICE, "inputs.cadu", (*sources, ByReference(href=SOURCE.path)))
    assert found == (SOURCE,)
    with pytest.raises(BadInput, match=r"inputs\.cadu\.0\.search: nothing is found"):
        await preparation().references(
            ALICE, "inputs.cadu", (BySearch(search=Search(filter="platform = 'sentinel-1z'")),)
        )
    with pytest.raises(BadInput, match="there is no service elsewhere"):
        await preparation().references(ALICE, "inputs.cadu", (BySearch(search=Search(service="elsewhere")),))


class Staging:
    """A run whose staging job puts the session into the catalog, or fails."""

    def __init__(self, catalog: Catalog, status: Status) -> None:
        self.catalog, self.status = catalog, status
        self.who = ALICE
        self.asked: list[tuple[str, Any]] = []
        self.said: list[str] = []

    async def ask(self, process: str, inputs: dict[str, Any]) -> Any:
        self.asked.append((process, inputs))
        return self._job(Status.RUNNING)

    async def finished(self, job: Job) -> Any:
        yield self._job(Status.RUNNING)
        if self.status is Status.SUCCESSFUL:
            await self.catalog.upsert_item(item())
        yield self._job(self.status)

    def _job(self, status: Status) -> Job:
        job: Any = type("J", (), {})()
        job.id, job.status, job.message, job.progress = "j1", status, "the station is down", Progress(50)
        job.problem = {"status": 503} if status is Status.FAILED else None
        job.outputs = {"items": [SOURCE.path]} if status is Status.SUCCESSFUL else None
        return job  # type: ignore[no-any-return]

    async def say(self, line: str) -> None:
        self.said.append(line)

    async def report(self, progress: Progress) -> None:
        assert progress.percent <= 10


async def test_staging_is_asked_for_and_waited_for() -> None:
    catalog = Catalog(ORBIT)
    run: Any = Staging(catalog, Status.SUCCESSFUL)
    plan = await preparation(catalog).bring_in(run, request(AT_STATION.path))
    (chosen,) = plan.chosen
    assert chosen.source == SOURCE
    assert run.asked == [
        ("staging", {"items": [{"href": f"{PLACE.public_url}{AT_STATION.path}"}], "collection": "alice_cadip-s1-sgs"})
    ]
    assert any(line.startswith(f"waiting for the staging of {SESSION}") for line in run.said)


async def test_a_failed_staging_fails_the_job_with_its_reason() -> None:
    catalog = Catalog(ORBIT)
    run: Any = Staging(catalog, Status.FAILED)
    with pytest.raises(PreparationFailed, match=f"staging {SESSION} failed: the station is down"):
        await preparation(catalog).bring_in(run, request(AT_STATION.path))


async def test_problems_end_the_preparation() -> None:
    catalog = Catalog(item())
    run: Any = Staging(catalog, Status.SUCCESSFUL)
    with pytest.raises(PreparationFailed, match="no AUX_RESORB fits"):
        await preparation(catalog, WITH_ORBIT).bring_in(run, request(processor=WITH_ORBIT))
    assert run.asked == []


def test_the_main_input_is_the_first() -> None:
    assert (S1_L0.main_input, WITH_ORBIT.main_input) == ("cadu", "cadu")
