"""Copies stretches of octets within compiled functions as the C library does, which numba's own slices do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic


def _form_of_copy(typing: Any, target: Any, source: Any, many: Any) -> Any:  # noqa: ARG001 - numba's form
    """Copy ``many`` octets between two addresses that do not overlap. The caller has checked the bounds."""

    def generate(context: Any, build: Any, _: Any, arguments: Sequence[Any]) -> Any:
        pointer = ir.IntType(8).as_pointer()
        target, source, many = arguments
        to, of = build.inttoptr(target, pointer), build.inttoptr(source, pointer)
        cgutils.raw_memcpy(build, to, of, many, 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp), generate


copy = cast("Callable[[int, int, int], None]", intrinsic(_form_of_copy))
