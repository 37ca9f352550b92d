"""What a run of a processor is told: the eopf triggering payload, as ``eopf trigger local`` takes it.

It holds no keys: the storage is named by the alias of a secret, which the worker is given apart from the payload. So
it is kept with the job and with the product, and can be run again by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rs_client.processing.tasktable import Kind
from rs_server.dpr.files import Content, content_of
from rs_server.dpr.plan import Chosen, Plan, Product, Step
from rs_server.dpr.processors import Processor
from rs_server.errors import BadInput
from rs_server.storage import layout
from rs_server.storage.credentials import Scope
from rs_server.storage.layout import Buckets, Location

SECRET = "rs"  # noqa: S105 - the name that the storage's keys have among eopf's secrets
ENGINES = "rs_client.processing.engines"  # registers the readers and writers named below
FILES, ZARR, SAFE = "rs_files", "rs_zarr", "safe"


@dataclass(frozen=True, slots=True)
class Source:
    """An item that a run reads, as provenance tells it."""

    name: str
    path: str
    why: str
    files: tuple[Mapping[str, Any], ...]
    auxiliary: bool
    origin: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A product that a run makes."""

    output: str
    id: str
    product_type: str
    level: str
    collection: str
    href: str
    prefix: str
    item_prefix: str

    @property
    def bucket(self) -> str:
        """The bucket that it was given when it was ordered, whatever the rules say since."""
        return layout.parse(self.href).bucket

    @property
    def asset(self) -> str:
        """Name of the product's store."""
        return self.href.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Order:
    """One run of the unit: its payload, what it may touch, and what becomes of it. Plain values, kept as JSON."""

    label: str
    payload: Mapping[str, Any]
    sources: tuple[Source, ...]
    targets: tuple[Target, ...]
    read: tuple[str, ...]
    session: Mapping[str, Any]
    files: int
    octets: int

    @property
    def scope(self) -> Scope:
        """What the worker may touch: the files of the items that it reads, and the places of its products."""
        return Scope(read=self.read, write=tuple(target.prefix for target in self.targets))

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Order:
        """Read what ``document`` wrote."""
        values = dict(document)
        values["sources"] = tuple(Source(**{**each, "files": tuple(each["files"])}) for each in values["sources"])
        values["targets"] = tuple(Target(**each) for each in values["targets"])
        values["read"] = tuple(values["read"])
        return cls(**values)


def order(
    processor: Processor,
    plan: Plan,
    step: Step,
    buckets: Buckets,
    run: str,
    counted: Sequence[Mapping[str, Any]] = (),
) -> Order:
    """The order of one step; ``run`` names the place that its products get, which is nobody else's.

    ``counted`` is what the station that the main input comes from says of each of its channels.

    ``BadInput`` or ``Forbidden`` for items whose files cannot be read: see ``files.content_of``.
    """
    inputs = processor.task.inputs
    contents = {each: content_of(each.source, each.item, buckets.all, inputs.get(each.name)) for each in step.read}
    targets = tuple(_target(processor, product, buckets, run) for product in step.products)
    main = next(each for each in step.inputs if each.name == processor.main_input)
    session = {**_session(main), "quality": [dict(each) for each in counted]}
    return Order(
        label=f"{step.label}-{run}",
        payload=_payload(processor, plan, step, contents, targets, session),
        sources=tuple(_source(each, contents[each], step) for each in step.read),
        targets=targets,
        read=tuple(dict.fromkeys(content.prefix for content in contents.values())),
        session=session,
        files=sum(content.files for content in contents.values()),
        octets=sum(content.octets for content in contents.values()),
    )


def _target(processor: Processor, product: Product, buckets: Buckets, run: str) -> Target:
    prefix = layout.run_prefix(product.collection, product.id, run)
    bucket = buckets.of(product.collection, product.product_type)
    return Target(
        output=product.output,
        id=product.id,
        product_type=product.product_type,
        level=processor.task.outputs[product.output].level,
        collection=product.collection.full,
        href=layout.href(bucket, f"{prefix}{product.id}.zarr"),
        prefix=prefix,
        item_prefix=layout.item_prefix(product.collection, product.id),
    )


def _payload(
    processor: Processor,
    plan: Plan,
    step: Step,
    contents: Mapping[Chosen, Content],
    targets: Iterable[Target],
    session: Mapping[str, Any],
) -> dict[str, Any]:
    parameters = {**plan.parameters, "name": step.label}
    if processor.task.inputs[processor.main_input].kind is Kind.FILES:
        told = {name: session[name] for name in ("id", "platform", "constellation", "orbit")}
        parameters["session"] = told | ({"quality": session["quality"]} if session["quality"] else {})
    inputs = {name: [each for each in step.inputs if each.name == name] for name in (each.name for each in step.inputs)}
    return {
        "general_configuration": {"triggering__id": step.label, "triggering__create_temporary": False},
        "external_modules": [{"name": ENGINES}],
        "workflow": [
            {
                "name": processor.id,
                "module": processor.module,
                "processing_unit": processor.unit,
                "inputs": {name: name for name in inputs},
                "adfs": {each.name: each.name for each in step.adfs},
                "outputs": {target.output: target.output for target in targets},
                "parameters": parameters,
                **({"mode": plan.mode} if processor.task.modes else {}),
            }
        ],
        "io": {
            "input_products": [
                _input(name, processor.task.inputs[name].kind, [contents[each] for each in chosen])
                for name, chosen in inputs.items()
            ],
            "adfs": [
                {
                    "id": each.name,
                    "path": file.href,
                    "adf_params": {"secret_alias": SECRET, "product_type": processor.task.adfs[each.name].product_type},
                }
                for each in step.adfs
                for file in contents[each].assets[:1]
            ],
            "output_products": [
                {"id": target.output, "path": target.href, "engine": ZARR, "writer_params": {"secret_alias": SECRET}}
                for target in targets
            ],
        },
    }


def _input(name: str, kind: Kind, contents: list[Content]) -> dict[str, Any]:
    if kind is Kind.FILES:
        files: list[dict[str, Any]] = [
            {"href": file.href, "size": file.size, **_place_of(file.properties)}
            for content in contents
            for file in content.assets
        ]
        path = layout.href(layout.parse(files[0]["href"]).bucket, contents[0].prefix)
        return {"id": name, "path": path, "engine": FILES, "reader_params": {"files": files, "secret_alias": SECRET}}
    if len(contents) > 1:
        raise BadInput(f"inputs.{name}: one product is read at a time, and {len(contents)} are given")
    href = contents[0].assets[0].href
    engine = ZARR if href.rstrip("/").endswith(".zarr") else SAFE
    return {"id": name, "path": href, "engine": engine, "reader_params": {"secret_alias": SECRET}}


def _place_of(properties: Mapping[str, Any]) -> dict[str, int]:
    """Where a downlink file belongs; other files have no such place."""
    names = {"channel": "cadip:channel", "block": "cadip:block_number"}
    return {name: int(properties[key]) for name, key in names.items() if key in properties}


def _source(chosen: Chosen, content: Content, step: Step) -> Source:
    return Source(
        name=chosen.name,
        path=chosen.source.path,
        why=chosen.why,
        files=tuple({"href": file.href, "size": file.size, "checksum": file.checksum} for file in content.assets),
        auxiliary=chosen in step.adfs,
        origin=(chosen.item.get("properties") or {}).get("eopf:origin_datetime"),
    )


def _session(main: Chosen) -> dict[str, Any]:
    properties = main.item.get("properties") or {}
    return {
        "id": main.source.item,
        "platform": properties.get("platform"),
        "constellation": properties.get("constellation"),
        "orbit": properties.get("sat:absolute_orbit"),
        "start": properties.get("start_datetime") or properties.get("datetime"),
        "end": properties.get("end_datetime") or properties.get("datetime"),
    }


def tagged(order: Order, tags: Mapping[Location, str]) -> Order:
    """The order with the storage's entity tag of each file, which tells a changed file where no checksum is known."""

    def named(file: Mapping[str, Any]) -> dict[str, Any]:
        return {**file, "etag": tags.get(layout.parse(file["href"]))}

    sources = tuple(replace(source, files=tuple(map(named, source.files))) for source in order.sources)
    return replace(order, sources=sources)
