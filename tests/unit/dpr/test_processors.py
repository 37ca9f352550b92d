"""Processors are offered by entry points, and known by their task tables."""

from importlib.metadata import EntryPoint

from rs_server.dpr.processors import GROUP, TASKS, processors


def test_those_offered_and_known_may_run() -> None:
    offered = [EntryPoint("s1-l0", "pkg.mod:run", GROUP), EntryPoint("mystery", "pkg.mod:other", GROUP)]
    (found,) = processors(offered)
    assert (found.id, found.target, found.task) == ("s1-l0", "pkg.mod:run", TASKS["s1-l0"])


def test_this_project_offers_its_own() -> None:
    assert {each.id: each.target for each in processors()} == {"s1-l0": "rs_client.processing.payload:run_payload"}
