"""Imports run downwards, the formula imports nothing, and importing us imports no framework."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.source import MODULES, TEXTS, imports

# Each module may import from the rows above its own, or beside it where that makes no circle.
ROWS = [
    ["_formula", "_typing", "_dtypes", "_contract", "_backends", "_kernels"],
    ["_probability", "_checks"],
    ["_inputs", "_reduce"],
    ["_plain"],
    ["_cuts", "_fused_sums"],
    ["_sums"],
    ["_one_block"],
    ["_blocks", "_fused", "_torch", "_tasks"],
    ["_chunks"],
    ["_runners"],
    ["functional"],
    ["losses", "_torch_functions"],
    ["torch"],
    ["__init__"],
    ["testing", "boosting"],
    ["_machine"],
    ["_demo", "_verify", "_bench"],
    ["__main__"],
]
# What only the command line imports, with packages of its own.
COMMANDS = ("_demo", "_verify", "_bench")
ALLOWED_OUTSIDE = {"array_api_compat", "numpy", *sys.stdlib_module_names}


def row(name: str) -> int:
    top = name.partition(".")[0]
    return next(index for index, names in enumerate(ROWS) if top in names)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downwards(name: str) -> None:
    for found in imports(name):
        top, _, inner = found.partition(".")
        if top == "portable_bce" and inner and not inner.startswith("__version__"):
            packages = ("functional", "_kernels", "_demo", "_verify", "_bench", "testing")
            inside = any(name.startswith(a) and inner.startswith(a) for a in packages)
            assert inside or row(inner) < row(name), f"{name} imports {inner}"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith(COMMANDS)))
def test_runtime_needs_array_api_compat_and_numpy_alone(name: str) -> None:
    outside = {found.split(".")[0] for found in imports(name)} - {"portable_bce"}
    if name in ("_torch", "_torch_functions", "torch"):
        outside -= {"torch"}  # imported where only tensors lead, or by whoever asks for it
    if name == "_chunks":
        outside -= {"dask"}  # inside functions that only Dask arrays reach
    if name.startswith("testing"):
        outside -= {"mpmath", "hypothesis"}  # the extra "verify", by a clear error
    if name == "_kernels.coefficients":
        outside -= {"mpmath"}  # a maintainer's script, which nothing imports but its test
    assert outside <= ALLOWED_OUTSIDE


def test_formula_imports_nothing_and_fits_one_screen() -> None:
    assert not imports("_formula")
    assert len(TEXTS["_formula"].splitlines()) <= 75


def test_importing_the_package_imports_no_framework() -> None:
    names = [
        "torch",
        "jax",
        "cupy",
        "dask",
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
    long = {name: count for name, text in TEXTS.items() if (count := len(text.splitlines())) > 260}
    assert not long


@pytest.mark.parametrize(
    "name", sorted(name for name in MODULES if not name.startswith(("__", *COMMANDS)))
)
def test_docstring_examples_run(name: str) -> None:
    import doctest

    if name in ("_torch", "_torch_functions", "torch"):
        pytest.importorskip("torch")
    module = importlib.import_module(f"portable_bce.{name}".removesuffix(".__init__"))
    result = doctest.testmod(module)
    assert not result.failed
