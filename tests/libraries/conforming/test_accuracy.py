"""Losses, gradients and Hessians are within the contract on every library of the list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests.libraries.conforming.exact import OUTPUTS, expected
from tests.libraries.conforming.libraries import Library, named, names_here

# No keyword, each alone, and all together.
OPTIONS = ("plain", "weight", "pos_weight", "smoothing", "all")
TAIL = [17.0, 20.0, 37.0, 88.0, 103.0]


def value_grad_hess(name: str, **keywords: Any) -> Any:
    def all_of(**given: Any) -> tuple[Any, ...]:
        given = {"reduction": "none", **given, **keywords}
        loss, grad = getattr(portable_bce, f"{name}_value_and_grad")(**given)
        _, hess = getattr(portable_bce, f"{name}_grad_and_hess")(**given)
        return loss, grad, hess

    return all_of


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_from_logits_are_within_their_bounds(
    library: Library, dtype: str, options: str
) -> None:
    case, exact = expected("bce_with_logits", dtype, options)
    got = library.run(
        value_grad_hess("bce_with_logits"), logits=case.x, targets=case.y, **case.options
    )
    bounds = contract.bounds_for(
        dtype,
        weighted="weight" in case.options,
        factors=case.factors(),
        compiled=library.is_compiled,
    )
    for output, value in zip(OUTPUTS, got, strict=True):
        assert exact[output].error(value) <= getattr(bounds, output), output


@pytest.mark.parametrize("options", ["plain", "all"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_from_probabilities_are_within_their_bounds(
    library: Library, dtype: str, options: str
) -> None:
    case, exact = expected("bce", dtype, options)
    got = library.run(value_grad_hess("bce"), probabilities=case.x, targets=case.y, **case.options)
    bounds = contract.probability_bounds_for(
        dtype, factors=case.factors(), compiled=library.is_compiled
    )
    for output, value in zip(OUTPUTS, got, strict=True):
        assert exact[output].error(value) <= getattr(bounds, output), output


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for dtype in ("float16", "bfloat16") for name in names_here(dtype)],
)
def test_halves_are_rounded_once(name: str, dtype: str) -> None:
    half = np.float16 if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    x = np.asarray([0.0, 0.5, -1.0, 3.0, -6.5, 9.0, -9.0, np.inf, -np.inf], half)
    loss, grad, hess = named(name).run(value_grad_hess("bce_with_logits"), logits=x, targets=1.0)
    for got, law in (
        (loss, reference.logit_loss),
        (grad, reference.logit_grad),
        (hess, reference.logit_hess),
    ):
        for index, logit in enumerate(x):
            exact = law(float(logit), 1.0)
            assert ulp.error(float(got[index]), exact, dtype) <= contract.ROUNDED_ONCE


def test_computing_in_float64_rounds_float32_correctly(library: Library) -> None:
    x = np.asarray([sign * size for size in [0.0, 0.3, 2.0, *TAIL] for sign in (1, -1)], np.float32)
    wide = "float64"

    def all_of(logits: Any) -> Any:
        dtype = getattr(logits.__array_namespace__(), wide)
        return value_grad_hess("bce_with_logits", compute_dtype=dtype)(logits=logits, targets=1.0)

    got = library.run(all_of, logits=x)
    laws = (reference.logit_loss, reference.logit_grad, reference.logit_hess)
    for values, law in zip(got, laws, strict=True):
        errors = [
            ulp.error(value, law(logit, 1.0), "float32")
            for value, logit in zip(values, x, strict=True)
        ]
        assert max(errors) <= contract.ROUNDED_ONCE


def test_sigmoid_keeps_its_lower_tail_and_log_sigmoid_its_upper_one(library: Library) -> None:
    x = np.asarray(TAIL, np.float32)

    def both(x: Any) -> Any:
        return portable_bce.sigmoid(-x), portable_bce.log_sigmoid(x)

    low, high = library.run(both, x=x)
    bound = contract.bounds_for("float32", compiled=library.is_compiled)
    for index, logit in enumerate(x):
        assert ulp.error(low[index], reference.sigmoid(-float(logit)), "float32") <= bound.grad
        exact = -reference.softplus(-float(logit))
        assert ulp.error(high[index], exact, "float32") <= bound.loss
