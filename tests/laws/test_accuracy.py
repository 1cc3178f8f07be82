"""Every value is within a few ULP of the exact one (portable_bce/_contract.py has the table)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from portable_bce.testing.strategies import logits, targets
from tests.backends import Backend
from tests.law import law
from tests.laws import grid
from tests.strategies import Case, cases, flushed

lazy_xp_modules = [portable_bce]


@lru_cache(maxsize=2**18)
def once(exact: Callable[..., Any], *arguments: Any) -> Any:
    """Return an exact result, computed for the first library that asks."""
    return exact(*arguments)


def worst(
    backend: Backend,
    case: Case,
    got: Any,
    exact: Callable[..., Any],
    scale: Callable[..., Any] | None = None,
) -> float:
    """Return the largest error of an elementwise result in ULP."""
    values = backend.numpy(got)
    assert values.shape == case.x.shape
    assert str(got.dtype).endswith(case.dtype)
    return max(
        (
            ulp.error(
                values[index],
                once(exact, x, y, w, p, u),
                case.dtype,
                scale=0 if scale is None else once(scale, x, y, w, p, u),
                underflow=underflow(case, x, w, p),
                flushes=backend.flushes_subnormals,
            )
            for index, x, y, w, p, u in case.elements()
        ),
        default=0.0,
    )


def bounds(backend: Backend, case: Case, *, hard: bool = False) -> contract.Bounds:
    """Return what is promised of a case."""
    return contract.bounds_for(
        case.dtype,
        hard=hard,
        weighted="weight" in case.options,
        factors=case.factors(),
        library=backend.name.partition("-")[0],
        compiled=backend.compiled,
    )


def probability_bounds(backend: Backend, case: Case) -> contract.Bounds:
    """Return what is promised of a case of probabilities."""
    return contract.probability_bounds_for(
        case.dtype,
        factors=case.factors(),
        library=backend.name.partition("-")[0],
        compiled=backend.compiled,
    )


def underflow(case: Case, x: Any, w: Any, p: Any) -> float:
    """Return what may multiply a subnormal: a weight, and the logit if y was scaled before."""
    return float(w) * (1 + float(p)) * (max(1.0, abs(float(x))) if case.factors() else 1.0)


def cancelling(x: Any, y: Any, w: Any, p: Any, u: Any) -> Any:
    """Return what a soft-label gradient cancels from, w (A + B) min(sigmoid(x), sigmoid(-x))."""
    a, b = reference.masses(y, p, u)
    return float(w) * (a + b) * reference.sigmoid(-abs(mp.mpf(float(x))))


def quotients(q: Any, y: Any, w: Any, p: Any, u: Any) -> Any:
    """Return the larger of the two quotients that the gradient of probabilities cancels."""
    if not 0 < q < 1:
        return 0
    a, b = reference.masses(y, p, u)
    return float(w) * max(a / mp.mpf(float(q)), b / (1 - mp.mpf(float(q))))


@law(cases)
def test_loss_is_within_its_bound(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    loss = portable_bce.bce_with_logits(x, y, reduction="none", **options)
    assert worst(backend, case, loss, reference.logit_loss) <= bounds(backend, case).loss


@law(cases)
def test_gradient_is_within_its_bound(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none", **options)
    bound = bounds(backend, case).grad
    assert worst(backend, case, grad, reference.logit_grad, cancelling) <= bound


@law(lambda backend: cases(backend, hard=True, options=False))
def test_hard_label_gradient_keeps_its_relative_accuracy(backend: Backend, case: Case) -> None:
    x, y, _ = case.on(backend)
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    bound = bounds(backend, case, hard=True).grad
    assert worst(backend, case, grad, reference.logit_grad) <= bound


@law(cases)
def test_hessian_is_within_its_bound(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none", **options)
    assert worst(backend, case, hess, reference.logit_hess) <= bounds(backend, case).hess


@law(lambda backend: cases(backend, dtypes=("float16", "bfloat16"), options=False))
def _halves_are_rounded_once(backend: Backend, case: Case) -> None:
    x, y, _ = case.on(backend)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none")
    assert worst(backend, case, loss, reference.logit_loss) <= contract.ROUNDED_ONCE
    assert worst(backend, case, grad, reference.logit_grad, cancelling) <= contract.ROUNDED_ONCE
    assert worst(backend, case, hess, reference.logit_hess) <= contract.ROUNDED_ONCE


def test_halves_are_computed_in_float32_and_rounded_once(backend: Backend) -> None:
    if not {"float16", "bfloat16"} & set(backend.dtypes):
        pytest.skip(f"{backend.name} has no dtype of 16 bits")
    _halves_are_rounded_once(backend)


@law(lambda backend: cases(backend, dtypes=("float32",), options=False))
def _float64_rounds_correctly(backend: Backend, case: Case) -> None:
    x, y, _ = case.on(backend)
    keywords = {"reduction": "none", "compute_dtype": backend.dtype("float64")}
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    assert worst(backend, case, loss, reference.logit_loss) <= contract.ROUNDED_ONCE
    assert worst(backend, case, grad, reference.logit_grad, cancelling) <= contract.ROUNDED_ONCE
    assert worst(backend, case, hess, reference.logit_hess) <= contract.ROUNDED_ONCE


def test_computing_in_float64_rounds_float32_correctly(backend: Backend) -> None:
    if not backend.wide:
        pytest.skip(f"{backend.name} has no float64")
    _float64_rounds_correctly(backend)


@law(lambda backend: cases(backend, from_logits=False))
def test_loss_of_probabilities_is_within_its_bound(backend: Backend, case: Case) -> None:
    q, y, options = case.on(backend)
    loss = portable_bce.bce(q, y, reduction="none", **options)
    bound = probability_bounds(backend, case).loss
    assert worst(backend, case, loss, reference.probability_loss) <= bound


@law(lambda backend: cases(backend, from_logits=False))
def test_gradient_of_probabilities_is_within_its_bound(backend: Backend, case: Case) -> None:
    q, y, options = case.on(backend)
    _, grad = portable_bce.bce_value_and_grad(q, y, reduction="none", **options)

    # Without factors the difference of the quotients is exact where they cancel.
    terms = quotients if case.factors() else None
    bound = probability_bounds(backend, case).grad
    assert worst(backend, case, grad, reference.probability_grad, terms) <= bound


@law(lambda backend: cases(backend, from_logits=False))
def test_hessian_of_probabilities_is_within_its_bound(backend: Backend, case: Case) -> None:
    q, y, options = case.on(backend)
    _, hess = portable_bce.bce_grad_and_hess(q, y, reduction="none", **options)
    bound = probability_bounds(backend, case).hess
    assert worst(backend, case, hess, reference.probability_hess) <= bound


@pytest.mark.parametrize("as_arrays", [False, True], ids=["numbers", "arrays"])
@pytest.mark.parametrize("options", grid.OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grid_of_logits_is_within_its_bounds(
    backend: Backend, dtype: str, options: str, as_arrays: bool
) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    case = flushed(backend, grid.of_logits(dtype, grid.OPTIONS[options], as_arrays=as_arrays))
    x, y, keywords = case.on(backend)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none", **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none", **keywords)
    allowed = bounds(backend, case)
    assert worst(backend, case, loss, reference.logit_loss) <= allowed.loss
    assert worst(backend, case, grad, reference.logit_grad, cancelling) <= allowed.grad
    assert worst(backend, case, hess, reference.logit_hess) <= allowed.hess


@pytest.mark.parametrize("options", grid.OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grid_of_probabilities_is_within_its_bounds(
    backend: Backend, dtype: str, options: str
) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    case = flushed(backend, grid.of_probabilities(dtype, grid.OPTIONS[options], as_arrays=True))
    q, y, keywords = case.on(backend)
    loss, grad = portable_bce.bce_value_and_grad(q, y, reduction="none", **keywords)
    _, hess = portable_bce.bce_grad_and_hess(q, y, reduction="none", **keywords)
    allowed = probability_bounds(backend, case)
    assert worst(backend, case, loss, reference.probability_loss) <= allowed.loss
    terms = quotients if case.factors() else None
    assert worst(backend, case, grad, reference.probability_grad, terms) <= allowed.grad
    assert worst(backend, case, hess, reference.probability_hess) <= allowed.hess


@law(lambda backend: cases(backend, options=False))
def test_sigmoid_family_is_within_its_bound(backend: Backend, case: Case) -> None:
    x, _, _ = case.on(backend)
    allowed = bounds(backend, case, hard=True)
    functions: dict[str, tuple[Callable[..., Any], float]] = {
        "sigmoid": (lambda x, *_: reference.logit_grad(x, 0), allowed.grad),
        "log_sigmoid": (lambda x, *_: -reference.logit_loss(x, 1), allowed.loss),
        "softplus": (lambda x, *_: reference.logit_loss(x, 0), allowed.loss),
    }
    for name, (exact, bound) in functions.items():
        assert worst(backend, case, getattr(portable_bce, name)(x), exact) <= bound, name


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_every_float16_logit_is_rounded_once(label: float) -> None:
    """All of them, 63,488 finite and two infinite, against float64 with its own tails exact."""
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, label, reduction="none")
    wide = x.astype(np.float64)
    exact, slope = portable_bce.bce_with_logits_value_and_grad(wide, label, reduction="none")
    with np.errstate(over="ignore"):
        assert ulp.distance(loss, exact.astype(np.float16)).max() <= 1
        assert ulp.distance(grad, slope.astype(np.float16)).max() <= 1


@settings(deadline=None)
@given(logits("float64"), targets())
def test_reference_does_not_depend_on_its_precision(x: float, y: float) -> None:
    names = [name for name in dir(reference) if name.startswith("logit_")]
    low = [getattr(reference, name)(x, y) for name in names]
    bits, reference.BITS = reference.BITS, 3 * reference.BITS
    try:
        high = [getattr(reference, name)(x, y) for name in names]
    finally:
        reference.BITS = bits
    for name, one, other in zip(names, low, high, strict=True):
        if one != other:
            assert abs(one - other) <= abs(other) * mp.mpf(2) ** -120, name


@settings(deadline=None)
@given(st.floats(-30, 30), targets())
def test_reference_derivatives_are_those_of_the_reference_loss(x: float, y: float) -> None:
    with mp.workprec(400):
        step = mp.mpf(2) ** -100
        here = mp.mpf(x)

        def loss(z: Any) -> Any:
            a, b = reference.masses(y, 1, 0)
            return a * reference.softplus(-z) + b * reference.softplus(z)

        ahead, behind = loss(here + step), loss(here - step)
        slope = (ahead - behind) / (2 * step)
        curve = (ahead - 2 * loss(here) + behind) / step**2
        assert abs(slope - reference.logit_grad(x, y)) <= mp.mpf(2) ** -90
        assert abs(curve - reference.logit_hess(x, y)) <= mp.mpf(2) ** -90
