"""A product's provenance is what it is made again from, and what differs in the making is told."""

from __future__ import annotations

import copy
from typing import Any

from rs_client.plans import Plan
from rs_client.reproduce import changes, inputs

TOLD: dict[str, Any] = {
    "processor": "s1-l0",
    "version": "1.0.0",
    "mode": "default",
    "parameters": {"basis": "dual"},
    "inputs": [
        {"name": "cadu", "href": "http://s/a", "files": [{"href": "s3://b/1/a.raw", "size": 1, "checksum": "d5"}]},
        {"name": "cadu", "href": "http://s/b", "files": []},
    ],
    "adfs": [{"name": "orbit", "href": "http://s/o", "files": []}],
    "environment": {"python": "3.13.0", "lock": "ab", "packages": {"eopf": "3.0.0", "zarr": "3.4.2"}},
}


def test_it_is_asked_for_as_it_was_made() -> None:
    assert inputs(TOLD) == {
        "cadu": [{"href": "http://s/a"}, {"href": "http://s/b"}],
        "adfs": {"orbit": {"href": "http://s/o"}},
        "parameters": {"basis": "dual"},
        "mode": "default",
    }


def test_what_was_different_in_the_making_is_told() -> None:
    other = copy.deepcopy(TOLD)
    other["environment"]["packages"] = {"eopf": "3.1.0"}
    other["version"] = "1.1.0"
    other["inputs"][0]["files"][0]["checksum"] = "d6"
    assert changes(TOLD, TOLD) == ()
    assert changes(TOLD, other) == (
        "version was 1.0.0, is 1.1.0",
        "eopf was 3.0.0, is 3.1.0",
        "zarr was 3.4.2, is absent",
        "the input files are not the same",
    )


def test_a_copy_elsewhere_is_the_same_file() -> None:
    moved = copy.deepcopy(TOLD)
    moved["inputs"][0]["files"][0]["href"] = "s3://b/2/a.raw"
    assert changes(TOLD, moved) == ()


PLAN = {
    "processor": "s1-l0",
    "version": "1.0.0",
    "steps": [
        {
            "inputs": [
                {"name": "cadu", "id": "S1A", "files": 38, "bytes": 11_500_000, "why": "given", "stage_to": "alice_x"}
            ],
            "adfs": [{"name": "orbit", "id": "<b>", "files": 1, "bytes": 7, "why": "latest-valid", "stage_to": None}],
            "outputs": [{"name": "l0", "id": "S1A_L0", "product:type": "S1_L0", "collection": "alice_s1-l0"}],
        }
    ],
    "cluster": {"workers": 2, "cores": 2, "memory_gib": 1.75},
    "bytes_to_read": 11_500_007,
    "bytes_to_stage": 11_500_000,
    "notes": ["a note"],
    "problems": ["a problem"],
}


def test_a_plan_is_readable() -> None:
    shown = repr(Plan(PLAN))
    assert shown.startswith("s1-l0 1.0.0 on 2 workers of 2 cores and 1.75 GiB; 11.5 MB to read, 11.5 MB of them staged")
    for part in ("38 files, 11.5 MB", "given; staged first into alice_x", "latest-valid", "→ l0", "in alice_s1-l0"):
        assert part in shown
    assert "note: a note" in shown
    assert "problem: a problem" in shown
    assert "<b>" not in Plan(PLAN)._repr_html_()
