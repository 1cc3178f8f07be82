"""Every public name is in the reference, and its docstring says what a caller has to know."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import portable_bce
from tests import pages
from tests.house.docstrings import Entry, entries, sections

MODULES = (
    "portable_bce",
    "portable_bce.torch",
    "portable_bce.boosting",
    "portable_bce.testing",
    "portable_bce.testing.reference",
    "portable_bce.testing.strategies",
    "portable_bce.testing.ulp",
)
# Their names are those of portable_bce itself.
REEXPORTED = {"portable_bce.losses"}
# Numbers in, a number out; what takes nothing; a table with a default; and records.
NEVER_RAISE = {
    "portable_bce.testing.reference",
    *("targets", "probabilities", "weights"),
    "bounds_for",
    *("Bounds", "Broken", "Law", "Report"),
}
ARRAYS = ("array", "Tensor", "ndarray")


def module_of(name: str) -> ModuleType:
    if name.endswith(".torch"):
        pytest.importorskip("torch")
    return importlib.import_module(name)


def public(module: str, kind: Any = object) -> Iterator[tuple[str, Any]]:
    """Yield the public names of a module that are of a kind, and what they are."""
    found = module_of(module)
    for name in found.__all__:
        one = getattr(found, name)
        if kind(one):
            yield name, one


def callables(module: str) -> Iterator[tuple[str, Any]]:
    return public(module, lambda one: inspect.isfunction(one) or inspect.isclass(one))


def functions(module: str) -> Iterator[tuple[str, Any]]:
    return public(module, inspect.isfunction)


def parameters(one: Any) -> list[str]:
    return [name for name in inspect.signature(one).parameters if not name.startswith("_")]


def documented() -> dict[str, set[str]]:
    """Return the names that the pages of the reference ask Sphinx for, by their module."""
    found: dict[str, set[str]] = {}
    for page in pages.names():
        module = ""
        for directive, name, option in re.findall(
            r"^\.\. (currentmodule|auto\w+):: (\S+)(?:\n   :(\S+):)?", pages.text(page), re.M
        ):
            if directive in ("currentmodule", "automodule"):
                module = name
                if option == "members":
                    found[module] = set(importlib.import_module(module).__all__)
            else:
                found.setdefault(module, set()).add(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_reference_has_the_public_names_and_no_others(module: str) -> None:
    submodules = {"reference", "strategies", "ulp"} if module == "portable_bce.testing" else set()
    assert documented()[module] == set(module_of(module).__all__) - submodules


def test_reference_has_the_public_modules_and_no_others() -> None:
    found = {"portable_bce"}
    for package in (portable_bce, importlib.import_module("portable_bce.testing")):
        names = {one.name for one in pkgutil.iter_modules(package.__path__)}
        found |= {f"{package.__name__}.{name}" for name in names if not name.startswith("_")}
    assert set(MODULES) == set(documented()) == found - REEXPORTED


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented_and_have_an_example(module: str) -> None:
    for name, one in callables(module):
        assert ">>> " in sections(one).get("Examples", ""), f"{name} has no example"


@pytest.mark.parametrize("module", MODULES)
def test_methods_are_documented(module: str) -> None:
    for name, one in public(module, inspect.isclass):
        for method, value in inspect.getmembers(one, inspect.isfunction):
            ours = value.__module__.startswith("portable_bce")
            if ours and not method.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_is_documented_and_no_other(module: str) -> None:
    for name, one in callables(module):
        said = entries(sections(one).get("Parameters", ""))
        assert sorted(arg for entry in said for arg in entry.names) == sorted(parameters(one)), name


@pytest.mark.parametrize("module", MODULES)
def test_functions_say_what_they_return(module: str) -> None:
    for name, one in functions(module):
        if inspect.signature(one).return_annotation not in (None, "None"):
            assert entries(sections(one).get("Returns", "")), name


@pytest.mark.parametrize("module", MODULES)
def test_public_names_say_what_they_raise(module: str) -> None:
    for name, one in callables(module):
        if not {module, name} & NEVER_RAISE:
            errors = [arg for entry in entries(sections(one).get("Raises", "")) for arg in entry[0]]
            assert errors, name
            assert all(error.endswith("Error") for error in errors), name


def vague(entry: Entry) -> bool:
    """Tell whether nothing says what an argument is, or what shape an array has."""
    if re.match("As (for )?`", entry.text):
        return False
    if not entry.kind:
        return True
    array = any(word in entry.kind for word in ARRAYS)
    return array and not re.search("shape|broadcast|0-d", entry.kind + entry.text)


@pytest.mark.parametrize("module", MODULES)
def test_arguments_and_results_have_a_kind_and_arrays_a_shape(module: str) -> None:
    for name, one in callables(module):
        said = sections(one)
        for entry in entries(said.get("Parameters", "")):
            assert not vague(entry), f"{name}: {entry.names}"
        for entry in entries(said.get("Returns", "")):
            named = entry if entry.kind else entry._replace(kind=", ".join(entry.names))
            assert not vague(named), f"{name}: {entry.names}"
