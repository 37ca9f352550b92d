"""The lab that the fault tests share, and how long they go on.

``RS_FAULTS=long`` runs the long form, ``RS_FAULTS_SEED`` chooses another course of events, ``RS_FAULTS_HOME`` names an
installation with a database and an object storage that runs already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import new_platform
from tests.faults.lab import Lab, laboratory

LONG = os.environ.get("RS_FAULTS") == "long"
SEED = int(os.environ.get("RS_FAULTS_SEED", "20241114"))


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An installation with a database and an object storage."""
    if shared := os.environ.get("RS_FAULTS_HOME"):
        yield Path(shared)
        return
    for platform in new_platform(request, "postgres", "s3"):
        yield platform.home


@pytest.fixture(scope="session")
def lab(home: Path) -> Iterator[Lab]:
    """A running lab."""
    with laboratory(home, lease_s=5 if LONG else 3) as running:
        yield running


@pytest.fixture(autouse=True)
def _healed(lab: Lab) -> Iterator[None]:
    """Whatever a test did to the stations and programs is undone."""
    yield
    for station in lab.stations.values():
        station.fault()
    lab.restart_dead()


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> Random:
    """The luck of a test."""
    return Random(f"{SEED} {request.node.name}")
