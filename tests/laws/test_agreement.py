"""All ways to ask for the same number give the same number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _formula
from tests.backends import Backend
from tests.law import law
from tests.strategies import Case, cases

lazy_xp_modules = [portable_bce]

NAMES = ["bce_with_logits", "bce"]


def agree(backend: Backend, one: Any, other: Any) -> None:
    """Bitwise; inside another compiled program within what XLA may contract."""
    got, wanted = backend.numpy(one), backend.numpy(other)
    if backend.bitwise:
        np.testing.assert_array_equal(got, wanted)
    else:
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(got[~finite], wanted[~finite])
        scale = np.maximum(np.abs(wanted[finite]), np.finfo(wanted.dtype).tiny)
        apart = np.abs(got[finite].astype(np.float64) - wanted[finite])
        # The gradient cancels: an ULP of its terms, of which 1 / eps would be all.
        bound = (
            contract.CONTRACTED
            * np.finfo(wanted.dtype).eps
            * np.maximum(scale, scale.max(initial=0))
        )
        assert np.all(apart <= bound)


def entry_points(name: str, x: Any, y: Any, keywords: dict[str, Any]) -> dict[str, list[Any]]:
    """Return every value that has more than one way to it, by its name."""
    loss_class = {"bce_with_logits": portable_bce.BCEWithLogitsLoss, "bce": portable_bce.BCELoss}
    settings = {key: value for key, value in keywords.items() if key != "where"}
    kept = loss_class[name](**settings)
    call = {"where": keywords["where"]}
    loss, grad = getattr(portable_bce, f"{name}_value_and_grad")(x, y, **keywords)
    slope, hess = getattr(portable_bce, f"{name}_grad_and_hess")(x, y, **keywords)
    value, pullback = getattr(portable_bce, f"{name}_vjp")(x, y, **keywords)
    by_x, by_y = pullback(1.0)
    kept_value, kept_pullback = kept.vjp(x, y, **call)
    kept_by_x, kept_by_y = kept_pullback(1.0)
    kept_loss, kept_grad = kept.value_and_grad(x, y, **call)
    kept_slope, kept_hess = kept.grad_and_hess(x, y, **call)
    plain = getattr(portable_bce, name)(x, y, **keywords)
    return {
        "loss": [plain, loss, value, kept(x, y, **call), kept_value, kept_loss],
        "grad": [grad, slope, by_x, kept_by_x, kept_grad, kept_slope],
        "hess": [hess, kept_hess],
        "by_target": [by_y, kept_by_y],
    }


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("name", NAMES)
def test_functions_and_classes_agree(backend: Backend, name: str, reduction: str) -> None:
    rng = np.random.default_rng(11)
    x = backend.array(rng.uniform(0.01, 0.99, (4, 5)).astype(np.float32))
    y = backend.array(rng.uniform(0, 1, (4, 5)).astype(np.float32))
    keywords = {
        "weight": backend.array(rng.uniform(1, 2, (4, 5)).astype(np.float32)),
        "pos_weight": backend.array(rng.uniform(1, 2, 5).astype(np.float32)),
        "label_smoothing": 0.1,
        "where": backend.array(rng.random((4, 5)) < 0.8),
        "reduction": reduction,
        "axis": None if reduction == "none" else 0,
    }
    if name == "bce":
        keywords["eps"] = 0.05
    for values in entry_points(name, x, y, keywords).values():
        for other in values[1:]:
            agree(backend, values[0], other)


@law(cases)
def test_entry_points_agree_everywhere(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    for values in entry_points("bce_with_logits", x, y, {**options, "where": None}).values():
        for other in values[1:]:
            agree(backend, values[0], other)


@pytest.mark.parametrize("name", NAMES)
def test_weight_of_a_call_stands_in_for_the_setting(backend: Backend, name: str) -> None:
    loss_class = {"bce_with_logits": portable_bce.BCEWithLogitsLoss, "bce": portable_bce.BCELoss}
    x = backend.array(np.asarray([0.25, 0.5, 0.75], dtype=np.float32))
    other = backend.array(np.asarray([3.0, 0.0, 1.0], dtype=np.float32))
    kept = loss_class[name](weight=2.0, reduction="sum")
    function = getattr(portable_bce, name)
    agree(backend, kept(x, 1), function(x, 1, weight=2.0, reduction="sum"))
    agree(backend, kept(x, 1, weight=other), function(x, 1, weight=other, reduction="sum"))


def test_sigmoid_family_is_loss_and_gradient_of_a_fixed_label(backend: Backend) -> None:
    x = backend.array(np.linspace(-30, 30, 41, dtype=np.float32))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 0, reduction="none")
    agree(backend, portable_bce.softplus(x), loss)
    agree(backend, portable_bce.sigmoid(x), grad)
    agree(backend, -portable_bce.log_sigmoid(x), portable_bce.bce_with_logits(x, 1, reduction=None))


@pytest.mark.parametrize("formula", [_formula.with_logits, _formula.with_probabilities])
@pytest.mark.parametrize("name", ["loss", "grad", "hess", "grad_targets"])
def test_formula_gives_each_value_alone_as_beside_the_others(formula: Any, name: str) -> None:
    """A runner may ask for any selection, in any order."""
    x = np.linspace(0.1, 0.9, 5)
    names = ("hess", "grad_targets", "grad", "loss")
    every = dict(zip(names, formula(np, names, x, 0.25, 2.0, 3.0, 0.1), strict=True))
    (alone,) = formula(np, (name,), x, 0.25, 2.0, 3.0, 0.1)
    np.testing.assert_array_equal(alone, every[name])


def test_losses_are_frozen() -> None:
    loss = portable_bce.BCEWithLogitsLoss()
    with pytest.raises(AttributeError):
        loss.reduction = "sum"  # type: ignore[misc]
