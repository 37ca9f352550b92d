"""What the README promises exists: names in its table, errors with their kinds and exit codes, and its variables."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path
from typing import Any

import pytest

import rs_client
from rs_client import settings, verbs
from rs_client.cadip import CadipClient
from rs_client.catalog import CatalogClient
from rs_client.dpr import DprClient
from rs_client.jobs import Job
from rs_client.session import RsClient, User
from rs_client.stac import Collection, Search
from rs_client.staging import StagingClient

README = Path(rs_client.__file__).with_name("README.md").read_text()
KNOWN = {
    name
    for kind in (RsClient, CadipClient, CatalogClient, DprClient, StagingClient, Job, Search, Collection, User)
    for name in dir(kind)
} | set(dir(rs_client))


def rows(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the README."""
    part = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", rows("From the client before this one"), ids=lambda row: row[0][:40])
def test_the_new_calls_exist(row: list[str]) -> None:
    for call in spans(row[1]):
        if call.startswith(("s.", "rs_client.")):
            for node in ast.walk(ast.parse(call)):
                if isinstance(node, ast.Attribute):
                    assert node.attr in KNOWN, call


def test_the_names_that_were_kept() -> None:
    for name in re.findall(r"get_\w+_client", README):
        assert hasattr(RsClient, name)
    for name in ("add_collection", "remove_collection"):
        assert hasattr(CatalogClient, name)


@pytest.mark.parametrize("row", rows("Errors"), ids=lambda row: row[0][:40])
def test_errors_are_what_is_said_of_them(row: list[str]) -> None:
    names = [name for name in spans(row[0]) if name[0].isupper() and name != "RsError"]
    assert names
    for name in names:
        kind = getattr(rs_client, name)
        for builtin in spans(row[1]):
            assert issubclass(kind, getattr(builtins, builtin))
        if issubclass(kind, rs_client.RsError):
            more: dict[str, Any] = {"versions": {}} if name == "EnvironmentMismatch" else {}
            assert verbs.exit_code(kind("x", **more)) == int(row[2])
            error = kind("x", **more)
            assert all(hasattr(error, member) for member in spans(row[0]) if member.islower() and len(names) == 1)
        else:
            assert int(row[2]) == verbs.INTERRUPTED


def test_every_error_is_in_the_table() -> None:
    told = {name for row in rows("Errors") for name in spans(row[0])}
    errors = {
        name for name, kind in vars(rs_client).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    assert errors - {"RsError"} <= told


def test_every_variable_is_described() -> None:
    for name in [name for names in settings._NAMES.values() for name in names]:
        assert name in README or name == "DASK_GATEWAY__ADDRESS", name
