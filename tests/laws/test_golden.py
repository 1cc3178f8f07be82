"""The worst cases that sweeps ever found, on every library, against mpmath.

tests/golden.json is written by benchmarks/accuracy_page.py from the reports in docs/accuracy/data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp

import portable_bce
from portable_bce import _contract as contract
from portable_bce._commands.sweep import TARGETS
from portable_bce.testing import reference, ulp
from tests.backends import Backend
from tests.strategies import normal

lazy_xp_modules = [portable_bce]

CASES = json.loads((Path(__file__).parent / "golden.json").read_text())
EXACT = {
    "loss": reference.logit_loss,
    "grad": reference.logit_grad,
    "hess": reference.logit_hess,
}


def groups() -> dict[str, list[dict[str, Any]]]:
    """Cases that one call can take: of one dtype and one set of keywords."""
    found: dict[str, list[dict[str, Any]]] = {}
    for case in CASES:
        computed = f" in {case['compute_dtype']}" if case["compute_dtype"] else ""
        factors = [name for name in ("w", "p") if case[name] is not None]
        if float.fromhex(case["u"]):
            factors.append("u")
        name = " ".join([case["dtype"] + computed, *factors])
        found.setdefault(name, []).append(case)
    return found


GROUPS = groups()


@pytest.mark.parametrize("name", GROUPS)
def test_golden_cases_keep_the_contract(backend: Backend, name: str) -> None:
    cases = GROUPS[name]
    dtype, compute = cases[0]["dtype"], cases[0]["compute_dtype"]
    for needed in (dtype, compute):
        if needed is not None and needed not in backend.dtypes:
            pytest.skip(f"{backend.name} has no {needed}")

    def column(key: str) -> Any:
        if cases[0][key] is None:
            return None
        carrier = "float32" if dtype == "bfloat16" else dtype
        values = np.asarray([float.fromhex(case[key]) for case in cases]).astype(carrier)
        return normal(values, dtype) if backend.flushes_subnormals else values

    x, y, w, p = (column(key) for key in "xywp")
    u = float.fromhex(cases[0]["u"])
    got = values_of(backend, dtype, compute, (x, y, w, p), u)
    for i, case in enumerate(cases):
        weights = [1.0 if one is None else float(one[i]) for one in (w, p)]
        arguments = (x[i], y[i], *weights, u)
        a, b = reference.masses(y[i], weights[1], u)
        scale = weights[0] * (a + b) * reference.sigmoid(-abs(mp.mpf(float(x[i]))))
        lift = weights[0] * (1 + weights[1]) * max(1.0, abs(float(x[i])))
        off = ulp.error(
            got[case["value"]][i],
            EXACT[case["value"]](*arguments),
            dtype,
            scale=scale if case["value"] == "grad" else 0,
            underflow=lift if w is not None or p is not None else 1.0,
            flushes=backend.flushes_subnormals,
        )
        assert off <= bound(backend, case), case


def values_of(
    backend: Backend, dtype: str, compute: str | None, arrays: tuple[Any, ...], u: float
) -> dict[str, Any]:
    x, y, w, p = (None if one is None else backend.array(one, dtype) for one in arrays)
    keywords: dict[str, Any] = {
        "weight": w,
        "pos_weight": p,
        "label_smoothing": u,
        "reduction": "none",
        "compute_dtype": None if compute is None else backend.dtype(compute),
    }
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    return {
        name: backend.numpy(one) for name, one in (("loss", loss), ("grad", grad), ("hess", hess))
    }


def bound(backend: Backend, case: dict[str, Any]) -> float:
    of = TARGETS.get(case["targets"], TARGETS["uniform"])
    bounds = contract.bounds_for(
        case["dtype"],
        case["compute_dtype"],
        hard=of.hard,
        weighted=of.weighted,
        factors=of.factors,
        library=backend.name.partition("-")[0],
    )
    return float(getattr(bounds, case["value"]))


def test_golden_cases_reach_what_was_measured_on_the_same_cpu() -> None:
    """They are the worst cases, so on some CPU they come near to the bound."""
    assert max(case["ulps"] for case in CASES if case["dtype"] == "float32") > 3
    assert {case["dtype"] for case in CASES} == {"float16", "bfloat16", "float32", "float64"}
