"""The bounds that docs/derivation.md proves for the compiled kernels, and what was measured."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

mpmath = pytest.importorskip("mpmath")

from portable_bce import _contract as contract  # noqa: E402

ROOT = Path(__file__).parents[3]
if not (ROOT / "portable_bce" / "_kernels" / "primitives.h").exists():
    pytest.skip("the sources of the kernels are not beside the tests", allow_module_level=True)
proof: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "kernels" / "proof.py"))
VALUES = ("loss", "grad", "hess")
REPORTS = sorted(ROOT.glob("docs/accuracy/data/kernels-*.json"))
POINTS = 2000
DIGITS = 50

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "EXP_SINGLE": lambda r: (mpmath.exp(r) - 1 - r) / r**2,
    "EXP_DOUBLE": lambda r: 2 * (mpmath.exp(r) - 1 - r - r**2 / 2) / r**3,
    # t = 2 f / (2 + f) is 2 tanh(log1p(f) / 2), so log1p(f) is 2 artanh(t / 2).
    "LOG1P_SINGLE": lambda z: (2 * mpmath.atanh(mpmath.sqrt(z) / 2) - mpmath.sqrt(z)) / z**1.5,
    "LOG1P_DOUBLE": lambda z: (2 * mpmath.atanh(mpmath.sqrt(z) / 2) - mpmath.sqrt(z)) / z**1.5,
}


def domain(name: str) -> Iterator[Any]:
    low, high = (-proof["LN2_HALF"], proof["LN2_HALF"]) if "EXP" in name else (0.0, 4 / 9)
    yield from (low + mpmath.mpf(high - low) * (i + 0.5) / POINTS for i in range(POINTS))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_polynomial_is_off_by_its_bound_and_hardly_less(name: str) -> None:
    with mpmath.workdps(DIGITS):
        terms = [mpmath.mpf(one) for one in proof["COEFFICIENTS"][name]]
        largest = max(abs(proof["evaluated"](terms, x) - FUNCTIONS[name](x)) for x in domain(name))
    bound = proof["polynomial_errors"]()[name]
    assert 0.9 * bound <= largest <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_coefficient_that_is_off_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the 2^-30 of it for the shorter polynomials, 2^-50 for the longer ones."""
    before = proof["polynomial_errors"]()[name]
    first, *others = proof["COEFFICIENTS"][name]
    moved = first * (1 + 2.0 ** (-30 if "SINGLE" in name else -50))
    monkeypatch.setitem(proof["COEFFICIENTS"], name, [moved, *others])
    assert proof["polynomial_errors"]()[name] > 2 * before


def test_what_is_proved_is_no_more_than_what_is_promised() -> None:
    bounds = proof["bounds"]()
    for dtype in contract.DTYPES:
        promised = contract.FAITHFUL if dtype == "float64" else contract.ROUNDED_ONCE
        assert all(0.5 < bounds[f"{dtype} {value}"] <= promised for value in VALUES)


def test_no_sweep_has_found_more_than_what_is_proved() -> None:
    bounds = proof["bounds"]()
    tried = set()
    for report in REPORTS:
        for result in json.loads(report.read_text())["results"]:
            for cell in result["cells"]:
                x = abs(float.fromhex(cell["x"]))
                if result["dtype"] == "float64" and x > contract.NORMAL:
                    continue
                tried.add(result["dtype"])
                assert cell["ulps"] <= bounds[f"{result['dtype']} {cell['value']}"], cell
    assert "float32" in tried


def test_the_page_has_the_numbers_of_the_script() -> None:
    page = proof["PAGE"].read_text(encoding="utf-8")
    _, _, after = page.partition(proof["BEGIN"])
    assert after.partition(proof["END"])[0] == proof["text"]()
