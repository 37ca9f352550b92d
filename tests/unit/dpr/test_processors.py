"""Processors are offered by entry points, and known by their task tables."""

from importlib.metadata import EntryPoint

from rs_server.dpr.processors import GROUP, processors


def test_those_with_a_task_table_may_run() -> None:
    offered = [
        EntryPoint("s1-l0", "rs_client.processing.payload:run_payload", GROUP),
        EntryPoint("mystery", "rs_client.processing.payload:run_payload", GROUP),
        EntryPoint("absent", "no_such_package.unit:Unit", GROUP),
    ]
    (found,) = processors(offered)
    assert (found.id, found.module, found.unit) == ("s1-l0", "rs_client.processing.s1_l0", "SentinelOneLevelZero")
    assert found.task.outputs["l0"].product_type == "S1_L0"


def test_this_project_offers_its_own() -> None:
    assert "s1-l0" in {each.id for each in processors()}
