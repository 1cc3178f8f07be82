"""Imports run downwards, the formula imports nothing, and importing us imports no framework."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys

import pytest

from tests import pages
from tests.house.source import MODULES, TEXTS, imports

# The page's table of modules: each may import from the rows below its own.
TABLE = re.findall(
    r"^\| (`[_a-z][^|]*`) \|", pages.text("docs/architecture.md").split("| modules |")[1], re.M
)
LAYERS = [re.findall("`(.*?)`", modules) for modules in TABLE]
PACKAGES = ("_kernels", "testing", "_commands")
# These call PyTorch: only tensors, or whoever asks for them, lead there.
OF_TORCH = ("_runners.torch", "torch")
# What only the command line imports, with packages of its own.
COMMANDS = ("_commands",)
# What decides how the formula is evaluated.
COMPUTING = ("_runners", "_evaluate", "_job", "_reduction", "_pullback", "_sigmoid", "_from")
ALLOWED_OUTSIDE = {"array_api_compat", "numpy", *sys.stdlib_module_names}


def layer(name: str) -> int:
    """Return the row of a module, counted from the top; the public names stand above all."""
    package = name.partition(".")[0]
    rows = {known: index for index, names in enumerate(LAYERS) for known in names}
    return rows[name] if name in rows else rows[package]


def test_the_page_has_every_module_and_no_other() -> None:
    named = {name for names in LAYERS for name in names}
    existing = {name.removesuffix(".__init__") for name in MODULES} - {"__init__", "_runners"}
    inside = {name for name in existing if name.partition(".")[0] in named}
    assert existing <= named | inside
    assert named <= existing


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__", "_runners.__init__"}))
def test_imports_run_downwards(name: str) -> None:
    ours = {found for found in imports(name) if found.startswith("portable_bce")}
    for found in ours - {"portable_bce"}:  # the public names, which commands take from the top
        inner = found.removeprefix("portable_bce.")
        inside = any(name.startswith(a) and inner.startswith(a) for a in PACKAGES)
        assert inside or layer(inner) > layer(name.removesuffix(".__init__")), f"imports {inner}"


def test_only_commands_import_the_public_names() -> None:
    """Whatever the public names are made of cannot be imported from the top."""
    importing = {name for name in MODULES if "portable_bce" in imports(name)}
    assert {name.partition(".")[0] for name in importing} <= {"__main__", *COMMANDS}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith(COMMANDS)))
def test_runtime_needs_array_api_compat_and_numpy_alone(name: str) -> None:
    outside = {found.split(".")[0] for found in imports(name)} - {"portable_bce"}
    if name in OF_TORCH:
        outside -= {"torch"}
    if name == "_runners.dask":
        outside -= {"dask"}  # inside functions that only Dask arrays reach
    if name.startswith("testing"):
        outside -= {"mpmath", "hypothesis"}  # the extra "verify", by a clear error
    if name == "_kernels.coefficients":
        outside -= {"mpmath"}  # a maintainer's script, which nothing imports but its test
    assert outside <= ALLOWED_OUTSIDE


@pytest.mark.parametrize("name", ["_formula", "_runners.trace"])
def test_a_build_can_load_formula_and_trace_alone(name: str) -> None:
    """They are loaded by their paths, before the package can be imported."""
    assert not {found for found in imports(name) if found.startswith("portable_bce")}


def test_formula_imports_nothing_and_each_function_fits_one_screen() -> None:
    assert not imports("_formula")
    for node in MODULES["_formula"].body:
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_only_the_formula_takes_an_exponential_or_a_logarithm() -> None:
    """Whatever is evaluated is the formula; runners hand it over, and compute none of it.

    MLX's runner lends the formula an exponential.
    """
    for name in set(MODULES) - {"_runners.mlx"}:
        if name.startswith(COMPUTING):
            for node in ast.walk(MODULES[name]):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    assert node.func.attr not in ("exp", "expm1", "log", "log1p"), name


def test_importing_the_package_imports_no_framework() -> None:
    names = [
        "torch",
        "jax",
        "cupy",
        "dask",
        "mlx",
        "blosc2",
        "mpmath",
        "hypothesis",
        "sklearn",
        "lightgbm",
        "xgboost",
        "rich",
        "matplotlib",
    ]
    code = (
        "import sys, portable_bce, portable_bce.boosting; "
        "portable_bce.bce_with_logits(__import__('numpy').zeros(2), 1); "
        f"print([name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_files_stay_short() -> None:
    long = {name: count for name, text in TEXTS.items() if (count := len(text.splitlines())) > 450}
    assert not long


@pytest.mark.parametrize(
    "name", sorted(name for name in MODULES if not name.startswith(("__", *COMMANDS)))
)
def test_docstring_examples_run(name: str) -> None:
    import doctest

    if name in OF_TORCH:
        pytest.importorskip("torch")
    if name == "_kernels.coefficients":
        pytest.importorskip("mpmath")
    module = importlib.import_module(f"portable_bce.{name}".removesuffix(".__init__"))
    result = doctest.testmod(module)
    assert not result.failed
