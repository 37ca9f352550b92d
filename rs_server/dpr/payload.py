"""What a processor is told: its inputs, its output and the keys to both, as plain values that travel to a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.dpr.processors import Processor
from rs_server.errors import BadInput, Forbidden
from rs_server.processes.references import Reference
from rs_server.storage import layout
from rs_server.storage.credentials import Credentials, Scope


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input, in the storage."""

    name: str
    href: str
    size: int
    channel: int
    block: int


@dataclass(frozen=True, slots=True)
class Work:
    """One product to make: from which item, of which files, and where to."""

    processor: Processor
    source: Reference
    session: Mapping[str, Any]
    files: tuple[InputFile, ...]
    product: str
    target: CollectionName
    bucket: str
    read_prefix: str
    run: str = ""

    @property
    def item_prefix(self) -> str:
        """Every edition of the product lies below."""
        return layout.item_prefix(self.target, self.product)

    @property
    def write_prefix(self) -> str:
        """This edition lies below: each run writes a place of its own, so that none can spoil another's."""
        return layout.run_prefix(self.target, self.product, self.run) if self.run else self.item_prefix

    @property
    def asset(self) -> str:
        """Name of the product's store."""
        return f"{self.product}.zarr"

    @property
    def output(self) -> str:
        """Address of the product."""
        return layout.href(self.bucket, f"{self.write_prefix}{self.asset}")

    @property
    def scope(self) -> Scope:
        """What the worker may touch: the input item's files, and the product."""
        return Scope(read=(self.read_prefix,), write=(self.write_prefix,))


def work(processor: Processor, source: Reference, item: Mapping[str, Any], target: CollectionName, bucket: str) -> Work:
    """Plan one product.

    ``BadInput`` when the item has no files of the kind that the processor takes. ``Forbidden`` when one of them lies
    outside the item's own place: the catalog's hrefs are written by users, and must not lead the processor elsewhere.
    """
    prefix = layout.item_prefix(CollectionName.parse(source.collection), source.item)
    role = processor.task.input_role
    assets: Mapping[str, Mapping[str, Any]] = item.get("assets") or {}
    chosen = {name: asset for name, asset in assets.items() if role in (asset.get("roles") or ())}
    if not chosen:
        raise BadInput(f"{source.item} has no files of the role {role}, which {processor.id} takes")
    files = tuple(_file(name, asset, bucket, prefix) for name, asset in chosen.items())
    return Work(
        processor=processor,
        source=source,
        session=_session(source.item, item.get("properties") or {}),
        files=tuple(sorted(files, key=lambda file: (file.channel, file.block))),
        product=f"{source.item}_{processor.task.level}",
        target=target,
        bucket=bucket,
        read_prefix=prefix,
    )


def payload(work: Work, keys: Credentials) -> dict[str, Any]:
    """The payload; it holds keys, and is neither logged nor kept."""
    return {
        "processor": work.processor.id,
        "inputs": [
            {"channel": file.channel, "block": file.block, "href": file.href, "size": file.size} for file in work.files
        ],
        "output": work.output,
        "session": dict(work.session),
        "storage": {
            "endpoint": keys.endpoint,
            "region": keys.region,
            "bucket": keys.bucket,
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
        },
    }


def _file(name: str, asset: Mapping[str, Any], bucket: str, prefix: str) -> InputFile:
    href = str(asset.get("href", ""))
    place = layout.parse(href)
    if place.bucket != bucket or not place.key.startswith(prefix) or ".." in place.key:
        raise Forbidden(f"the file {name} lies outside of its item's place in the storage")
    try:
        return InputFile(
            name, href, int(asset["file:size"]), int(asset["cadip:channel"]), int(asset["cadip:block_number"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the file {name} lacks its size, channel or block number") from error


def _session(item_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "platform": properties.get("platform"),
        "constellation": properties.get("constellation"),
        "orbit": properties.get("sat:absolute_orbit"),
        "start": properties.get("start_datetime") or properties.get("datetime"),
        "end": properties.get("end_datetime") or properties.get("datetime"),
        "station": properties.get("cadip:station_id") or properties.get("cadip:station_unit_id"),
        "origin": properties.get("eopf:origin_datetime"),
    }
