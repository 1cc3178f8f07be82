"""Every law is seen to be broken, by an implementation that is wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce.testing import LAWS, Report, check

Function = Callable[[Any, Any], Any]
GOOD: dict[str, Function] = {
    "loss": lambda x, y: portable_bce.bce_with_logits(x, y, reduction="none"),
    "grad": lambda x, y: portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")[1],
    "hess": lambda x, y: portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none")[1],
}


def weighted(name: str) -> Function:
    """One class counts half as much again."""
    function = getattr(
        portable_bce,
        {"loss": "bce_with_logits", "grad": "bce_with_logits_value_and_grad"}.get(
            name, "bce_with_logits_grad_and_hess"
        ),
    )

    def value(x: Any, y: Any) -> Any:
        result = function(x, y, pos_weight=1.5, reduction="none")
        return result if name == "loss" else result[1]

    return value


def clamped(name: str) -> Function:
    return lambda x, y: GOOD[name](np.clip(x, -9, 9), y)


def swallowing(name: str) -> Function:
    return lambda x, y: np.nan_to_num(GOOD[name](x, y), posinf=np.inf, neginf=-np.inf)


def leaking(name: str) -> Function:
    """One NaN spoils the array."""
    return lambda x, y: (
        GOOD[name](x, y) + 0 * (np.nansum(x * 0) if np.isfinite(x).all() else x.sum())
    )


def shifted(name: str) -> Function:
    """Written as for softmax: by the largest logit."""
    return lambda x, y: GOOD[name]((x - x.max(initial=0)) + x.max(initial=0), y)


def in_memory_order(name: str) -> Function:
    def value(x: Any, y: Any) -> Any:
        return GOOD[name](x.ravel(order="K"), y.ravel(order="K")).reshape(x.shape)

    return value


def kept_and_added(name: str) -> Function:
    """As x.grad.backward() does."""
    kept: dict[Any, Any] = {}

    def value(x: Any, y: Any) -> Any:
        key = (np.shape(x), np.asarray(x).tobytes(), np.asarray(y).tobytes())
        kept[key] = kept.get(key, 0) + GOOD[name](x, y)
        return kept[key]

    return value


def negated(name: str) -> Function:
    return lambda x, y: -GOOD[name](x, y)


def flushed(name: str) -> Function:
    def value(x: Any, y: Any) -> Any:
        good = np.asarray(GOOD[name](x, y))
        return np.where(np.abs(good) < 1e-9, np.zeros_like(good), good)

    return value


def spoiling_logits(x: Any, y: Any) -> Any:
    loss = GOOD["loss"](x, y)
    np.clip(x, -9, 9, out=x if x.ndim else None)
    return loss


def spoiling_targets(x: Any, y: Any) -> Any:
    loss = GOOD["loss"](x, y)
    y *= 0.5
    return loss


def of_exp(x: Any, y: Any) -> Any:
    return np.log(1 + np.exp(x)) - x * y


def refusing_no_elements(x: Any, y: Any) -> Any:
    if x.size == 0:
        raise IndexError("no element")
    return GOOD["loss"](x, y)


def sigmoid_of_exp(x: Any) -> Any:
    return np.exp(x) / (1 + np.exp(x))


# what is wrong -> (functions in place of the good ones, laws that it must break)
MUTANTS: dict[str, tuple[dict[str, Function], set[str]]] = {
    "a sign": (
        {name: negated(name) for name in GOOD},
        {
            "loss_is_never_negative",
            "gradient_lies_between_minus_target_and_the_rest",
            "hessian_lies_between_zero_and_a_quarter",
            "gradient_of_hard_labels_is_within_its_bound",
            "gradient_of_soft_labels_is_within_its_bound",
        },
    ),
    "the derivative of abs at 0": (
        {"grad": lambda x, y: np.where(x == 0, -y, GOOD["grad"](x, y))},
        {"gradient_at_logit_zero_is_one_half_minus_target"},
    ),
    "logits changed in place": ({"loss": spoiling_logits}, {"inputs_are_left_as_they_were"}),
    "targets changed in place": ({"loss": spoiling_targets}, {"inputs_are_left_as_they_were"}),
    "another dtype": (
        {"grad": lambda x, y: np.asarray(GOOD["grad"](x, y), dtype=np.float64)},
        {"results_have_the_shape_and_dtype_of_the_logits"},
    ),
    "another shape": (
        {"hess": lambda x, y: np.atleast_1d(GOOD["hess"](x, y))},
        {"results_have_the_shape_and_dtype_of_the_logits"},
    ),
    "an exception": (
        {"loss": refusing_no_elements},
        {"results_have_the_shape_and_dtype_of_the_logits"},
    ),
    "NaN everywhere": (
        {name: leaking(name) for name in GOOD},
        {"loss_of_nan_is_nan", "gradient_of_nan_is_nan", "hessian_of_nan_is_nan"},
    ),
    "NaN nowhere": (
        {name: swallowing(name) for name in GOOD},
        {"loss_of_nan_is_nan", "gradient_of_nan_is_nan", "hessian_of_nan_is_nan"},
    ),
    "neighbours": (
        {name: shifted(name) for name in GOOD},
        {"values_do_not_depend_on_their_neighbours"},
    ),
    "the order in memory": (
        {name: in_memory_order(name) for name in GOOD},
        {"views_give_what_their_copies_give"},
    ),
    "the second call": (
        {name: kept_and_added(name) for name in GOOD},
        {"repeated_calls_agree"},
    ),
    "clamped logits": (
        {name: clamped(name) for name in GOOD},
        {
            "loss_of_hard_labels_is_within_its_bound",
            "loss_of_soft_labels_is_within_its_bound",
            "hessian_is_within_its_bound",
            "loss_at_infinite_logits_is_its_limit",
            "gradient_at_infinite_logits_is_its_limit",
            "hessian_at_infinite_logits_is_zero",
        },
    ),
    "small results flushed": (
        {name: flushed(name) for name in GOOD},
        {"loss_keeps_its_tail", "gradient_keeps_its_tail", "hessian_keeps_its_tail"},
    ),
    "exp that overflows": (
        {
            "loss": of_exp,
            "grad": lambda x, y: sigmoid_of_exp(x) - y,
            "hess": lambda x, y: np.exp(x) / (1 + np.exp(x)) ** 2 + 0 * y,
        },
        {
            "loss_of_finite_logits_is_finite",
            "gradient_of_finite_logits_is_finite",
            "hessian_of_finite_logits_is_finite",
            "hessian_at_infinite_logits_is_zero",
        },
    ),
    "one class counting more": (
        {name: weighted(name) for name in GOOD},
        {
            "flipping_logit_and_label_keeps_the_loss",
            "flipping_logit_and_label_negates_the_gradient",
            "flipping_logit_and_label_keeps_the_hessian",
        },
    ),
    "a target squared": (
        {"loss": lambda x, y: GOOD["loss"](x, y * y)},
        {"loss_is_linear_in_the_target"},
    ),
}  # fmt: skip


def reported(functions: dict[str, Function], **keywords: Any) -> Report:
    chosen = {**GOOD, **functions}
    return check(
        chosen["loss"],
        xp=np,
        gradient=chosen["grad"],
        hessian=chosen["hess"],
        **{"dtypes": ["float32"], "examples": 5, **keywords},
    )


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_breaks_its_laws(name: str) -> None:
    functions, laws = MUTANTS[name]
    report = reported(functions)
    assert laws <= {one.law.name for one in report.broken}
    assert len(report.broken) + len(report.passed) == len(LAWS)


@pytest.mark.parametrize(
    "name",
    [
        "logits changed in place",
        "targets changed in place",
        "another dtype",
        "an exception",
        "the order in memory",
        "NaN nowhere",
    ],
)
def test_mutant_breaks_no_other_law(name: str) -> None:
    functions, laws = MUTANTS[name]
    assert {one.law.name for one in reported(functions).broken} == laws


def test_every_law_is_broken_by_a_mutant() -> None:
    broken = set().union(*(laws for _, laws in MUTANTS.values()))
    assert broken == {law.name for law in LAWS}
