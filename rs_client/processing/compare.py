"""Two products side by side, array by array: what is the same, and how far the rest differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from rs_client import display

_MOST_SHOWN = 200
# What an attribute of a product says of its making, not of its content: it is other each time.
_OF_THE_MAKING = frozenset({"processing_history", "history"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One array (or attribute) that is not the same; ``values`` counts those that differ, ``largest`` by how much."""

    path: str
    what: str
    values: int = 0
    of: int = 0
    largest: float | None = None

    def __str__(self) -> str:
        if not self.of:
            return f"{self.path}: {self.what}"
        by = "" if self.largest is None else f", by {self.largest:g} at most"
        return f"{self.path}: {self.what}: {self.values} of {self.of} values{by}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison came to: so many ``arrays`` of ``octets`` in all were compared."""

    arrays: int
    octets: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether every array and attribute is the same, bit by bit."""
        return not self.differences

    def document(self) -> dict[str, Any]:
        """The same for programs; ``bytes`` are those of the arrays in memory."""
        return {
            "same": self.same,
            "arrays": self.arrays,
            "bytes": self.octets,
            "differences": [
                {"path": each.path, "what": each.what, "values": each.values, "of": each.of, "largest": each.largest}
                for each in self.differences
            ],
        }

    def __str__(self) -> str:
        if self.same:
            return f"the same: {self.arrays} arrays, {self.octets} bytes"
        shown = [f"  {each}" for each in self.differences[:_MOST_SHOWN]]
        return "\n".join((f"not the same: {len(self.differences)} differences in {self.arrays} arrays", *shown))

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, parts: int = 1) -> str:
        """The same for a page, of which it is one of so many parts (``rs_client.display.table``)."""
        summary, _, _ = str(self).partition("\n")
        return display.table((summary,), [(each,) for each in self.differences], parts=parts)


def compare(one: xr.DataTree, other: xr.DataTree) -> Comparison:
    """Compare two products, chunk by chunk, so that neither need fit into memory.

    Values are the same when their bits are, except that NaN equals NaN; types, shapes and attributes count as well.
    """
    mine, theirs = dict(_arrays(one)), dict(_arrays(other))
    found = [Difference(path, "is only in the first") for path in sorted(mine.keys() - theirs.keys())]
    found += [Difference(path, "is only in the second") for path in sorted(theirs.keys() - mine.keys())]
    shared = sorted(mine.keys() & theirs.keys())
    for path in shared:
        found += _compared(path, mine[path], theirs[path])
    found += _attributes(one, other)
    return Comparison(len(shared), sum(mine[path].nbytes for path in shared), tuple(found))


def _arrays(tree: xr.DataTree) -> Iterator[tuple[str, xr.Variable]]:
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).variables.items():
            yield f"{node.path.rstrip('/')}/{name}", variable


def _compared(path: str, one: xr.Variable, other: xr.Variable) -> Iterator[Difference]:
    if (one.dtype, one.dims, one.shape) != (other.dtype, other.dims, other.shape):
        yield Difference(path, f"is {_form(one)} in the first, {_form(other)} in the second")
        return
    count, largest = 0, 0.0
    for piece in _pieces(one):
        differing, by = _piece(np.asarray(one[piece].values), np.asarray(other[piece].values))
        count, largest = count + differing, max(largest, by)
    if count:
        yield Difference(path, "differs", count, one.size, largest if one.dtype.kind in "iufc" else None)


def _form(variable: xr.Variable) -> str:
    shape = ", ".join(f"{name}: {size}" for name, size in variable.sizes.items())
    return f"{variable.dtype} ({shape})"


def _pieces(variable: xr.Variable) -> Iterator[dict[Any, slice]]:
    """Along the first dimension, chunk by chunk."""
    if not variable.dims:
        yield {}
        return
    first, size = variable.dims[0], variable.shape[0]
    step = variable.chunks[0][0] if variable.chunks else max(1, (1 << 20) // max(1, variable.size // max(1, size)))
    for start in range(0, size, max(1, step)):
        yield {first: slice(start, start + step)}


def _piece(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[int, float]:
    equal = one == other
    if one.dtype.kind in "fcmM":
        equal |= (one != one) & (other != other)
    differing = int(np.size(equal) - np.count_nonzero(equal))
    if not differing or one.dtype.kind not in "iufc":
        return differing, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(np.subtract(one, other, dtype=np.result_type(one, np.float64)))[~equal]
    return differing, float(np.nanmax(distances, initial=0.0))


def _attributes(one: xr.DataTree, other: xr.DataTree) -> Iterator[Difference]:
    theirs = {node.path: node for node in other.subtree}
    for node in one.subtree:
        if node.path in theirs:
            yield from _mappings(f"{node.path.rstrip('/')}@", node.attrs, theirs[node.path].attrs)


def _mappings(path: str, one: Mapping[Any, Any], other: Mapping[Any, Any]) -> Iterator[Difference]:
    for name in sorted((one.keys() | other.keys()) - _OF_THE_MAKING, key=str):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            yield from _mappings(f"{path}{name}.", mine, theirs)
        elif not _equal(mine, theirs):
            yield Difference(f"{path}{name}", f"is {mine!r:.80} in the first, {theirs!r:.80} in the second")


def _equal(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))
