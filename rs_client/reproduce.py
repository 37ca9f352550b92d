"""Makes a product again from its provenance, and compares the two array by array: ``rs reproduce ITEM``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from rs_client.errors import Invalid, NotFound
from rs_client.verbs import AsJson, Verb, app, session, tell

if TYPE_CHECKING:
    import pystac

    from rs_client.processing.compare import Comparison
    from rs_client.session import RsClient
    from rs_client.stac import Item

DIFFERENT = 1
_COLLECTION = "reproduced"
_PROVENANCE = "provenance"

commands = app()


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A product made again: the new item, what it was compared to, and what was different in its making."""

    item: Item
    comparison: Comparison
    environment: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the products are the same, array by array."""
        return self.comparison.same

    def __repr__(self) -> str:
        made = [f"made otherwise: {each}" for each in self.environment] or ["made with the same software"]
        return "\n".join((str(self.comparison), *made))

    def _repr_html_(self) -> str:
        from rs_client import display

        made = [(each,) for each in self.environment] or [("the same software",)]
        return self.comparison.html(parts=2) + display.table(("made with",), made, parts=2)


def reproduce(session: RsClient, item: pystac.Item, to: str = _COLLECTION) -> Reproduction:
    """Make a product again, with the inputs, auxiliary files and parameters it was made with, and compare the two.

    ``to`` is the collection that the new one goes to; it must be another than the first one's. Raises ``Invalid`` when
    the item has no provenance or ``to`` is its own collection, ``NotFound`` when the job makes no product of its name,
    and what waiting for the job raises.
    """
    told = provenance(session, item)
    if str(item.collection_id) in (to, f"{session.whoami().login}_{to}"):
        raise Invalid(f"the product would take the place of {item.id}", hint="give another collection")
    job = session.dpr.run(told["processor"], [], to, **inputs(told))
    again = next((each for each in job.wait().items if each.id == item.id), None)
    if again is None:
        raise NotFound(f"job {job.id} made no product called {item.id}")
    from rs_client.processing.compare import compare

    compared = compare(session.storage.open(item), session.storage.open(again))
    return Reproduction(again, compared, changes(told, provenance(session, again)))


def provenance(session: RsClient, item: pystac.Item) -> dict[str, Any]:
    """How a product was made. Raises ``Invalid`` when it does not say, ``NotFound`` when you may not read it."""
    import obstore

    from rs_client.objects import opening
    from rs_client.storage import Keys, s3_store

    asset = item.assets.get(_PROVENANCE)
    if asset is None:
        raise Invalid(f"{item.id} does not say how it was made", hint="only products of the platform's processors do")
    collection = str(item.collection_id)
    keys = Keys(collection, item.id, lambda: session.storage.key(collection, item.id))
    folder, _, name = urlsplit(asset.href).path.strip("/").rpartition("/")
    with opening(f"the provenance of {item.id}"):
        document: dict[str, Any] = json.loads(bytes(obstore.get(s3_store(keys, folder), name).bytes()))
    return document


def inputs(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the processor must be given to make the same again."""
    by_name: dict[str, list[dict[str, str]]] = {}
    for each in told["inputs"]:
        by_name.setdefault(each["name"], []).append({"href": each["href"]})
    return {
        **by_name,
        "adfs": {each["name"]: {"href": each["href"]} for each in told["adfs"]},
        "parameters": told["parameters"],
        "mode": told["mode"],
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not the same in the making of two products: versions, lock, input files."""
    pairs = [(name, before.get(name), after.get(name)) for name in ("processor", "version")]
    found = [
        f"{name} was {one or 'absent'}, is {other or 'absent'}"
        for name, one, other in (*pairs, *_software(before, after))
        if one != other
    ]
    return (*found, *(["the input files are not the same"] if _files(before) != _files(after) else ()))


def _files(told: Mapping[str, Any]) -> set[tuple[str, int, str | None]]:
    files = (file for each in (*told["inputs"], *told["adfs"]) for file in each["files"])
    return {(file["href"].rpartition("/")[2], file["size"], file["checksum"]) for file in files}


def _software(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    one, other = (each.get("environment") or {} for each in (before, after))
    names = sorted((one.get("packages") or {}).keys() | (other.get("packages") or {}).keys())
    packages = [
        (name, (one.get("packages") or {}).get(name), (other.get("packages") or {}).get(name)) for name in names
    ]
    return [*((name, one.get(name), other.get(name)) for name in ("python", "lock")), *packages]


@commands.command("reproduce", cls=Verb)
def _command(
    item: Annotated[str, typer.Argument(help="COLLECTION/ITEM of the catalog.")],
    *,
    to: Annotated[str, typer.Option("--to", help="Collection that the new product goes to.")] = _COLLECTION,
    as_json: AsJson = False,
) -> None:
    """Make a product again from its provenance, and compare the two array by array; exit code 1 when they differ."""
    collection, _, name = item.rpartition("/")
    if not collection:
        raise typer.BadParameter("name the item as COLLECTION/ITEM")
    with session() as opened:
        made = reproduce(opened, opened.catalog.item(collection, name), to)
    document = {"item": made.item.id, **made.comparison.document(), "made_otherwise": list(made.environment)}
    tell(document, repr(made), as_json=as_json)
    if not made.same:
        raise typer.Exit(DIFFERENT)
