"""What a processor takes, makes and needs: its task table, read without importing the processor.

A task table is a YAML file named after the processor, in the folder ``tasktables`` beside the module that the entry
point (group ``rs.processors``) names. For ``s1-l0 = "rs_client.processing.payload:run_payload"`` that is
``rs_client/processing/tasktables/s1-l0.yaml``::

    title: Sentinel-1 Level 0
    description: Takes the space packets out of a downlink session.
    version: 1.0.0
    level: L0
    unit: rs_client.processing.s1_l0:SentinelOneLevelZero
    inputs:
      cadu:                      # the name that inputs and payloads use
        title: Files of a downlink session
        kind: files              # files: every asset of a role; product: one Zarr or SAFE product
        role: cadu
        product_types: []        # of the items that fit; empty: any
        items: [1, 1]            # how few and how many items; null: any number
    adfs:
      orbit:
        title: Restituted orbit
        product_type: AUX_RESORB
        select: latest-valid     # latest-valid, latest-created, closest
        margin_s: [0, 0]         # the validity must cover the sensing time, widened by these seconds
        optional: true
    outputs:
      l0: {title: Level-0 product, product_type: S1_L0, level: L0, suffix: _L0}
    parameters:
      basis: {title: …, schema: {type: string, enum: [dual, conventional]}, default: dual}
    modes:
      default: {title: …, inputs: [cadu], adfs: [], outputs: [l0]}
    resources: {workers: [1, 4], cores: 2, memory_gib: 2, memory_per_input_gib: 0.02, spare_memory_gib: 1}

Only pydantic and PyYAML are needed to read it, so that a service without any processing package can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

GROUP = "rs.processors"
FOLDER = "tasktables"
DEFAULT_MODE = "default"

type Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]


class BadTaskTable(ValueError):
    """A task table is missing, or says something that cannot be; the message names the file and the field."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """What an input is made of."""

    FILES = "files"
    """Every asset of an item that has the input's role, each a file."""
    PRODUCT = "product"
    """One asset of an item: a Zarr store, or a SAFE folder or archive."""


class Select(StrEnum):
    """Which of several auxiliary files is taken."""

    LATEST_VALID = "latest-valid"
    """Of those whose validity covers the sensing time with its margins, the one created last."""
    LATEST_CREATED = "latest-created"
    """The one created last, whatever its validity."""
    CLOSEST = "closest"
    """The one whose validity begins closest to the sensing time."""


class Input(_Model):
    """Items of the catalog that are processed."""

    title: str
    kind: Kind
    role: str
    """Role of the assets that are taken."""
    product_types: tuple[str, ...] = ()
    """``product:type`` of the items that fit; empty: any."""
    items: tuple[int, int | None] = (1, 1)
    """How few and how many items; ``None``: any number."""


class Adf(_Model):
    """An auxiliary data file, found by type and time."""

    title: str
    product_type: str
    select: Select = Select.LATEST_VALID
    margin_s: tuple[float, float] = (0, 0)
    """Seconds before and after the sensing time that the validity must cover too."""
    optional: bool = False


class Output(_Model):
    """A product that is made."""

    title: str
    product_type: str
    level: str
    suffix: str
    """What the product's name adds to that of its first input."""


class Parameter(_Model):
    """What a caller may choose; ``schema`` is a JSON schema of the value."""

    title: str
    json_schema: Mapping[str, Any] = Field(alias="schema")
    default: Any = None


class Mode(_Model):
    """One way to run: which inputs, auxiliary files and outputs take part."""

    title: str
    inputs: tuple[Name, ...]
    adfs: tuple[Name, ...] = ()
    outputs: tuple[Name, ...]


class Resources(_Model):
    """What a run needs of a cluster."""

    workers: tuple[int, int] = (1, 1)
    """How few workers it can do with, and how many it can use."""
    cores: int = Field(default=1, ge=1)
    """Of each worker."""
    memory_gib: float = Field(default=1, gt=0)
    """Of each worker, whatever the size of the inputs."""
    memory_per_input_gib: float = Field(default=0, ge=0)
    """Of each worker, more for each GiB of input."""
    spare_memory_gib: float = Field(default=0, ge=0)
    """Of each worker, still more, which it makes use of where the caller may have it."""

    def memory_gib_for(self, input_octets: int) -> float:
        """Memory of a worker in GiB for inputs of that size."""
        return self.memory_gib + self.memory_per_input_gib * input_octets / (1 << 30)


class TaskTable(_Model):
    """A processor, before it runs."""

    title: str
    description: str
    version: str
    level: str
    unit: str = Field(default="", pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")
    """``module:Class`` of its EOPF processing unit; empty: the callable that the entry point names is all there is."""
    inputs: Mapping[Name, Input] = Field(min_length=1)
    adfs: Mapping[Name, Adf] = {}
    outputs: Mapping[Name, Output] = Field(min_length=1)
    parameters: Mapping[Name, Parameter] = {}
    modes: Mapping[Name, Mode] = {}
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _named_things_exist(self) -> Self:
        for name, mode in self.modes.items():
            for kind, known in (("inputs", self.inputs), ("adfs", self.adfs), ("outputs", self.outputs)):
                unknown = set(getattr(mode, kind)) - set(known)
                if unknown:
                    raise ValueError(f"mode {name} names {kind} that are not there: {', '.join(sorted(unknown))}")
        return self

    def mode(self, name: str = DEFAULT_MODE) -> Mode:
        """A mode by name; without any modes, the default takes everything. Raises ``KeyError``."""
        if not self.modes and name == DEFAULT_MODE:
            return Mode(title=self.title, inputs=(*self.inputs,), adfs=(*self.adfs,), outputs=(*self.outputs,))
        return self.modes[name]


def read(path: Path) -> TaskTable:
    """Read one file. Raises ``BadTaskTable``."""
    try:
        return TaskTable.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BadTaskTable(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise BadTaskTable(f"{path} is no task table: {'; '.join(faults)}") from error


def of(entry: EntryPoint) -> TaskTable:
    """The task table of an installed processor. Raises ``BadTaskTable``."""
    try:
        spec = find_spec(entry.module)
    except ImportError as error:
        raise BadTaskTable(f"{entry.name}: the package of {entry.module} is not installed") from error
    if spec is None or spec.origin is None:
        raise BadTaskTable(f"{entry.name}: there is no module {entry.module}")
    return read(Path(spec.origin).parent / FOLDER / f"{entry.name}.yaml")


def installed(offered: Iterable[EntryPoint] | None = None) -> dict[str, TaskTable]:
    """The task tables of all installed processors by name. Raises ``BadTaskTable``."""
    entries = entry_points(group=GROUP) if offered is None else offered
    return {entry.name: of(entry) for entry in sorted(entries)}
