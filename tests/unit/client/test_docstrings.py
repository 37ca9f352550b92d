"""Whoever calls a public function is told by its docstring, or that of its class, which of our errors it raises."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import rs_client
from rs_client import errors
from rs_client.processing import errors as processing_errors
from rs_client.processing.tasktable import BadTaskTable

HERE = Path(rs_client.__file__).parent
OURS = {
    *(name for module in (errors, processing_errors) for name, kind in vars(module).items() if isinstance(kind, type)),
    BadTaskTable.__name__,
}
FAMILY = dict.fromkeys(vars(processing_errors), "ProcessingFailed")
"""Errors that a docstring may tell by the name of their base."""
MODULES = sorted(HERE.rglob("*.py"))

type Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """The functions of a module and of its classes."""
    for node in tree.body:
        within = node.body if isinstance(node, ast.ClassDef) else [node]
        for each in within:
            if isinstance(each, Function.__value__):
                yield (node if isinstance(node, ast.ClassDef) else None), each


def name_of(node: ast.expr | None) -> str:
    """The last name of ``Error(…)`` or ``errors.Error``; empty for anything else."""
    match node:
        case ast.Call(func=function):
            return name_of(function)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def called(function: Function) -> set[str]:
    """The functions that a function calls by their bare name, or as methods of its own object."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    bare = {each.id for each in calls if isinstance(each, ast.Name)}
    return bare | {each.attr for each in calls if isinstance(each, ast.Attribute) and name_of(each.value) == "self"}


def raised(function: Function, known: Mapping[str, Sequence[Function]], seen: set[str]) -> set[str]:
    """The errors that a function raises, itself or by functions of its module that it calls."""
    found = {name_of(node.exc) for node in ast.walk(function) if isinstance(node, ast.Raise)}
    for name in (called(function) & known.keys()) - seen:
        seen.add(name)
        for each in known[name]:
            found |= raised(each, known, seen)
    return found & OURS


def is_public(owner: ast.ClassDef | None, function: Function) -> bool:
    return not function.name.startswith("_") and not (owner and owner.name.startswith("_"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HERE)))
def test_public_functions_tell_the_errors_that_they_raise(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known: dict[str, list[Function]] = {}
    for _, function in functions(tree):
        known.setdefault(function.name, []).append(function)
    for owner, function in functions(tree):
        if is_public(owner, function):
            told = (ast.get_docstring(function) or "") + (ast.get_docstring(owner) or "" if owner else "")
            silent = {
                name
                for name in raised(function, known, {function.name})
                if name not in told and FAMILY.get(name, name) not in told
            }
            assert not silent, f"{function.name} raises {', '.join(sorted(silent))} and does not say so"
