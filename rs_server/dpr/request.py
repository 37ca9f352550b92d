"""What a processor may be asked: a form made of its task table, and the request that is kept once it is admitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from jsonschema import Draft202012Validator
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from rs_client.processing.tasktable import DEFAULT_MODE, Mode
from rs_server.dpr.processors import Processor
from rs_server.errors import BadInput
from rs_server.processes.model import Inputs
from rs_server.processes.references import ByReference, Inline

MOST_ITEMS = 1000


class Search(BaseModel):
    """A STAC search of the catalog or of a kind of station; its items are those found when the job is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str = Field("catalog", description="catalog, or the kind of a station: cadip, auxip, …")
    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    datetime: str | None = None
    filter: str | dict[str, Any] | None = Field(None, description="CQL2, as text or as JSON")
    sortby: tuple[str, ...] = Field((), description="Properties with their direction: -published")
    limit: int = Field(10, ge=1, le=MOST_ITEMS)


class BySearch(BaseModel):
    """Items by a search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: Search


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Sources = Annotated[tuple[ByReference | BySearch | Inline, ...], BeforeValidator(_listed), Field(max_length=MOST_ITEMS)]


class ProcessorInputs(Inputs):
    """What every processor takes beside its own inputs; the forms of processors are made from it."""

    items: Sources = Field(
        default=(), title="Items", description="Items of the catalog or of a station, for the main input"
    )
    adfs: dict[str, ByReference] = Field(
        default_factory=dict, title="Auxiliary files", description="By name, in place of those that would be chosen"
    )
    collection: str | dict[str, str] | None = Field(
        default=None,
        title="Collection",
        description=(
            "Collection of the catalog to publish in, one for all products or by output; a new one of the caller's own "
            "is made. Left out: one of the caller's own, named after the product's type"
        ),
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, title="Parameters", description="Of the processor, by name"
    )
    mode: str = Field(default=DEFAULT_MODE, title="Mode", description="One of the processor's modes")
    workers: int | None = Field(default=None, ge=1, title="Workers", description="Of the cluster; within the limits")

    def sources(self, processor: Processor) -> dict[str, Sources]:
        """The items by input; ``BadInput`` when the main one is given twice."""
        given = {name: getattr(self, _field(name)) for name in processor.task.inputs}
        if self.items:
            if given[processor.main_input]:
                raise BadInput(f"inputs.items and inputs.{processor.main_input} are the same input; give one of them")
            given[processor.main_input] = self.items
        return given


def form(processor: Processor) -> type[ProcessorInputs]:
    """The form of a processor: its inputs by name, and what every processor takes."""
    fields: dict[str, Any] = {
        _field(name): (
            Sources,
            Field(default=(), alias=name, title=spec.title, description=f"Items whose {spec.role} files are read"),
        )
        for name, spec in processor.task.inputs.items()
    }
    made = create_model(f"{processor.id}-inputs", __base__=ProcessorInputs, **fields)
    return cast("type[ProcessorInputs]", made)


def _field(name: str) -> str:
    return f"input_{name.replace('-', '_')}"


class ProcessorRequest(BaseModel):
    """What was admitted: items by path, and the full ids of the collections."""

    inputs: dict[str, tuple[str, ...]]
    adfs: dict[str, str] = Field(default_factory=dict)
    collections: dict[str, str]
    parameters: dict[str, Any] = Field(default_factory=dict)
    mode: str = DEFAULT_MODE
    workers: int | None = None


def mode_of(processor: Processor, name: str) -> Mode:
    """A mode of a processor; ``BadInput``."""
    try:
        return processor.task.mode(name)
    except KeyError:
        known = ", ".join(processor.task.modes) or DEFAULT_MODE
        raise BadInput(f"inputs.mode: {processor.id} has no mode {name}", hint=f"its modes: {known}") from None


def parameters(processor: Processor, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, checked and completed; ``BadInput`` names the first that is wrong."""
    known = processor.task.parameters
    for name in given:
        if name not in known:
            raise BadInput(
                f"inputs.parameters.{name}: {processor.id} has no such parameter",
                hint=f"its parameters: {', '.join(known) or 'none'}",
            )
    for name, value in given.items():
        fault = next(Draft202012Validator(known[name].json_schema).iter_errors(value), None)
        if fault is not None:
            raise BadInput(f"inputs.parameters.{name}: {fault.message}")
    defaults = {name: spec.default for name, spec in known.items() if spec.default is not None}
    return {**defaults, **given}
