"""The commonest mistakes are one error that names the mend, before any law is tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portable_bce.testing import check, check_interface, laws_for


def loss(x: Any, y: Any) -> Any:
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def of_probabilities(q: Any, y: Any) -> Any:
    return -(y * np.log(q) + (1 - y) * np.log(1 - q))


def of_probabilities_alone(q: Any, y: Any) -> Any:
    if np.any(q > 0.8):
        raise ValueError("that is a lot")
    return of_probabilities(q, y)


def with_weight(x: Any, y: Any, weight: Any) -> Any:
    return weight * loss(x, y)


def broken(x: Any, y: Any) -> Any:
    raise RuntimeError("no device")


def gradient_of_the_mean(x: Any, y: Any) -> Any:
    return (1 / (1 + np.exp(-x)) - y) / x.size


Function = Callable[..., Any]
# what is wrong -> (loss, gradient, error, what its message says and how to mend it)
MISTAKES: dict[str, tuple[Function, Function | None, type[Exception], str]] = {
    "mean": (
        lambda x, y: loss(x, y).mean(),
        None,
        ValueError,
        "`implementation` must return one value per element; got one number, their mean, for 4. "
        'Switch its reduction off, for example by `reduction="none"`',
    ),
    "sum of one axis": (
        lambda x, y: loss(x, y).sum(keepdims=True),
        None,
        ValueError,
        "`implementation` must return one value per element; got one number, their sum, for 4. "
        'Switch its reduction off, for example by `reduction="none"`',
    ),
    "pairs of all elements": (
        lambda x, y: loss(x[:, None], y),
        None,
        ValueError,
        "`implementation` must return one value per element; got shape (4, 4) for 4. "
        "Take two arrays of one shape, element by element",
    ),
    "another signature": (
        with_weight,
        None,
        TypeError,
        "`implementation` must take (array, array); got a function of (x: 'Any', y: 'Any', "
        "weight: 'Any') -> 'Any': missing a required argument: 'weight'. Wrap it in a function "
        "that takes these, or tell `check_interface` its `supports` and `names`",
    ),
    "an exception": (
        broken,
        None,
        ValueError,
        "`implementation` must return a loss; with logits [0.25, 0.875, 0.5, 0.75] and targets "
        "[0.75, 0.125, 0.25, 0.5] of float64 it raised RuntimeError: no device. Call it with these",
    ),
    "nothing": (
        lambda x, y: None,
        None,
        TypeError,
        "`implementation` must return an array; got NoneType. Return the loss alone; both "
        "together are `value_and_grad` of `check_interface`",
    ),
    "text": (
        lambda x, y: "0.7",
        None,
        TypeError,
        "`implementation` must return an array of real numbers; got str. Return the loss as an "
        "array of the library",
    ),
    "loss and gradient": (
        lambda x, y: (loss(x, y), x),
        None,
        TypeError,
        "`implementation` must return an array; got tuple. Return the loss alone; both together "
        "are `value_and_grad` of `check_interface`",
    ),
    "places changed": (
        lambda x, y: loss(y, x),
        None,
        ValueError,
        "`implementation` must take logits, then targets from 0 to 1; it takes targets before "
        "logits. Use `lambda logits, targets: f(targets, logits)`",
    ),
    "probabilities": (
        of_probabilities,
        None,
        ValueError,
        "`implementation` must take logits, then targets from 0 to 1; it takes probabilities in "
        "place of logits. Pass the loss of logits, not of sigmoid(logits), which loses the tails",
    ),
    "signs": (
        lambda x, y: np.log1p(np.exp(-x * y)),
        None,
        ValueError,
        "`implementation` must take logits, then targets from 0 to 1; it takes labels -1 and 1 in "
        "place of 0 and 1. Use `lambda logits, targets: f(logits, 2 * targets - 1)`",
    ),
    "gradient of the mean": (
        loss,
        gradient_of_the_mean,
        ValueError,
        "`gradient` must be that of each loss; got that of their mean, 4 times smaller. "
        "Differentiate their sum",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_error_that_names_the_mend(name: str) -> None:
    function, gradient, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        check(function, xp=np, gradient=gradient)


def test_places_changed_are_mended_by_names() -> None:
    """In `check_interface`."""

    def swapped(targets: Any, logits: Any) -> Any:
        return loss(logits, targets)

    message = re.escape('Use `names={"logits": 1, "targets": 0}`')
    with pytest.raises(ValueError, match=message):
        check_interface(swapped, xp=np, supports=[])
    law = ["unreduced_values_are_those_of_each_element"]
    for names in ({"logits": 1, "targets": 0}, {"logits": "logits", "targets": "targets"}):
        report = check_interface(swapped, xp=np, supports=[], names=names, laws=law, examples=2)
        assert report.ok


def test_reduced_loss_is_mended_by_a_convention() -> None:
    def mean(logits: Any, targets: Any) -> Any:
        return loss(logits, targets).mean()

    message = re.escape('or say `conventions={"reduction": "mean"}`')
    with pytest.raises(ValueError, match=message):
        check_interface(mean, xp=np, supports=[])
    report = check_interface(
        mean, xp=np, supports=[], conventions={"reduction": "mean"}, examples=2,
        laws=["mean_is_the_sum_divided_by_the_number", "loss_keeps_its_tail"],
    )  # fmt: skip
    assert [law.name for law in report.passed] == ["mean_is_the_sum_divided_by_the_number"]
    assert [law.name for law in report.skipped] == ["loss_keeps_its_tail"]


def test_a_mistake_is_one_error_while_pytest_collects() -> None:
    with pytest.raises(ValueError, match="it takes probabilities in place of logits"):
        laws_for(of_probabilities, xp=np, supports=[])


def test_halves_are_near_enough_to_be_no_mistake() -> None:
    for dtype in ("float16", "float32"):
        check(loss, xp=np, dtypes=[dtype], laws=["loss_is_never_negative"], examples=2)
