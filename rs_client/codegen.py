"""Python that brings what is shown back: `code(hits)` is a snippet for another notebook, or for a colleague."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.errors import Invalid

if TYPE_CHECKING:
    from rs_client.stac import Collection, Item, Search, StacClient

_OPEN = "import rs_client\n\ns = rs_client.connect()\n"
_LINE = 100  # characters that a call may have in one line
_NAMES: Mapping[str, str] = {"filter-lang": "filter_lang"}
_SORTED = {"asc": "+", "desc": "-"}


class Code(str):
    """Python as text, shown as it is typed."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's signature
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return display.lines(self.splitlines())


def code(shown: Any) -> Code:
    """A snippet that reproduces a session, a service, a search, a collection, an item, items or a job.

    Run where ``connect()`` finds the same platform, it gives an equal object under the name that it ends with.
    Raises ``Invalid`` for what cannot be reproduced.
    """
    from rs_client.jobs import Job
    from rs_client.session import RsClient
    from rs_client.stac import Collection, Item, ItemList, Search, StacClient

    tellers: list[tuple[type, Callable[[Any], str]]] = [
        (RsClient, lambda _: ""),
        (Search, _search),
        (StacClient, lambda client: f"{_service(client)} = s.{_service(client)}\n"),
        (Collection, _collection),
        (Item, lambda item: f"item = {_item(item)}\n"),
        (ItemList, _items),
        (Job, lambda job: f"job = s.job({job.id!r})\n"),
    ]
    for kind, tell in tellers:
        if isinstance(shown, kind):
            return Code(_OPEN + tell(shown))
    raise Invalid(f"a {type(shown).__name__} cannot be told as code", hint="give a search, an item, a job, a session")


def _collection(collection: Collection) -> str:
    return f"collection = s.{_service(_root(collection))}.get_collection({collection.id!r})\n"


def _search(search: Search) -> str:
    stated = search._parameters  # noqa: SLF001 - get_parameters() joins lists into texts, which cannot be undone
    given = {_NAMES.get(name, name): _argument(name, value) for name, value in stated.items()}
    if search._max_items is not None:  # noqa: SLF001 - the library tells it no other way
        given["max_items"] = search._max_items  # noqa: SLF001
    if search.method != "POST":
        given["method"] = search.method
    return f"hits = {_call(f's.{_service(_root(search))}.search', given)}\n"


def _argument(name: str, value: Any) -> Any:
    """A parameter as one gives it: the library keeps some in another form, which it does not take back."""
    match name, value:
        case "sortby", [*keys]:
            return [f"{_SORTED[key['direction']]}{key['field']}" for key in keys]
        case _, tuple():
            return list(value)
    return value


def _items(items: Sequence[Item]) -> str:
    if not items:
        raise Invalid("no items cannot be told as code", hint="give the search that found none")
    lines = "".join(f"    {_item(item)},\n" for item in items)
    return f"items = [\n{lines}]\n"


def _item(item: Item) -> str:
    return f"s.{_service(_root(item))}.item({item.collection_id!r}, {item.id!r})"


def _root(shown: Search | Item | Collection) -> StacClient:
    from rs_client.stac import StacClient

    root = shown.client if hasattr(shown, "client") else shown.get_root()
    if not isinstance(root, StacClient):
        raise Invalid(f"{shown!r} belongs to no session", hint="take it from a search")
    return root


def _service(client: StacClient) -> str:
    """What a session calls a service."""
    return client.PATH.strip("/")


def _call(function: str, arguments: Mapping[str, Any]) -> str:
    given = [f"{name}={value!r}" for name, value in arguments.items()]
    line = f"{function}({', '.join(given)})"
    if len(line) <= _LINE:
        return line
    return f"{function}(\n" + "".join(f"    {each},\n" for each in given) + ")"
