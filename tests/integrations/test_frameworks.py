"""Frameworks with a tape of their own train with our loss, as docs/frameworks.md puts it there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests import pages
from tests.autodiff import apart

# Two descents to one optimum, whose gradients are rounded differently at every step.
TRAINED = 1e-9
PAGE = "docs/frameworks.md"
TAIL = np.asarray([17.0, 40.0, 50.0, 300.0, 700.0])


def section(name: str) -> dict[str, Any]:
    """Run the blocks of a section of the page, one after the other."""
    return pages.run(PAGE, pages.section(PAGE, name))


def adapted(name: str) -> dict[str, Any]:
    """Skip where the framework is not installed, else return what the page defines."""
    pytest.importorskip(name)
    return section({"mygrad": "mygrad", "autograd": "autograd (HIPS)"}[name])


def data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return features and labels of a problem that a small network can learn."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(80, 2))
    inside = (features**2).sum(axis=1) + 0.3 * rng.normal(size=80) < 1.4
    return features, inside.astype(np.float64)


def start() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(2)
    return [rng.normal(size=(2, 8)), rng.normal(size=8), rng.normal(size=8) / 3]


def test_tape_of_the_page_trains_and_its_adapter_is_five_to_nine_lines() -> None:
    known = section("A tape over NumPy or CuPy")
    adapter = pages.text(PAGE).partition("def bce_loss")[2].partition("```")[0]
    assert 5 <= len([line for line in adapter.splitlines() if line.strip()]) <= 9
    features, labels = known["features"].data, known["labels"]
    slopes = portable_bce.bce_with_logits_value_and_grad(
        features @ known["weights"].data, labels, pos_weight=1.5
    )[1]
    assert np.abs(features.T @ slopes).max() < TRAINED**0.5


def test_tape_of_the_page_keeps_the_tail() -> None:
    known = section("A tape over NumPy or CuPy")
    logits = known["Tensor"](TAIL)
    known["bce_loss"](logits, 1, reduction="sum").backward()
    for x, got in zip(TAIL, logits.grad, strict=True):
        assert ulp.error(got, reference.logit_grad(x, 1), "float64") <= contract.DOUBLE.grad


def test_second_derivatives_of_the_page() -> None:
    tape, second = (
        pages.section(PAGE, one) for one in ("A tape over NumPy or CuPy", "Second derivatives")
    )
    assert pages.run(PAGE, tape + second)["product"].shape == (3,)


def test_mixed_derivative_is_a_difference_of_gradients_without_cancellation() -> None:
    x = np.asarray([0.0, 3.0, -50.0, 50.0])
    keywords = {"pos_weight": 2.5, "label_smoothing": 0.2, "reduction": "sum"}
    one, zero = (portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)[1] for y in (1, 0))
    for logit, got in zip(x, one - zero, strict=True):
        exact = -0.8 * (2.5 * reference.sigmoid(-logit) + reference.sigmoid(logit))
        assert ulp.error(got, exact, "float64") <= contract.DOUBLE.grad + 3 * contract.PER_FACTOR


def mygrad_descent(loss: Any) -> list[np.ndarray[Any, Any]]:
    import mygrad

    features, labels = data()
    parameters = [mygrad.tensor(one) for one in start()]
    for _ in range(200):
        first, offset, last = parameters
        loss(mygrad.tanh(features @ first + offset) @ last, labels).backward()
        parameters = [mygrad.tensor(one.data - 0.5 * one.grad) for one in parameters]
    return [one.data for one in parameters]


def test_mygrad_trains_to_what_its_own_composition_trains_to() -> None:
    known = adapted("mygrad")
    import mygrad

    def own(x: Any, y: Any) -> Any:
        return mygrad.mean(mygrad.maximum(x, 0) - x * y + mygrad.log1p(mygrad.exp(-mygrad.abs(x))))

    for got, wanted in zip(mygrad_descent(known["bce_loss"]), mygrad_descent(own), strict=True):
        assert np.abs(got - wanted).max() <= TRAINED


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mygrad_takes_every_keyword_and_the_dtype(dtype: Any, reduction: str) -> None:
    known = adapted("mygrad")
    import mygrad

    rng = np.random.default_rng(4)
    host, y = rng.normal(0, 9, (3, 4)).astype(dtype), rng.random((3, 4)).astype(dtype)
    keywords = {
        "weight": y[0],
        "pos_weight": 2.0,
        "label_smoothing": 0.1,
        "where": y > 0.3,
        "reduction": reduction,
    }
    x = mygrad.tensor(host)
    (known["bce_loss"](x, y, **keywords) * dtype(2)).sum().backward()
    _, wanted = portable_bce.bce_with_logits_value_and_grad(host, y, **keywords)
    assert apart(x.grad, 2 * wanted) == 0


def test_mygrad_takes_one_logit() -> None:
    known = adapted("mygrad")
    import mygrad

    x = mygrad.tensor(1.0)
    known["bce_loss"](x, 0).backward()
    assert x.grad.shape == ()
    assert ulp.error(float(x.grad), reference.sigmoid(1.0), "float64") <= contract.DOUBLE.grad


def test_mygrad_keeps_the_tail_that_its_composition_loses() -> None:
    known = adapted("mygrad")
    import mygrad

    ours, theirs = mygrad.tensor(TAIL), mygrad.tensor(TAIL)
    known["bce_loss"](ours, 1, reduction="sum").backward()
    (
        mygrad.maximum(theirs, 0) - theirs + mygrad.log1p(mygrad.exp(-mygrad.abs(theirs)))
    ).sum().backward()
    assert not np.any(theirs.grad[TAIL > 37])
    for x, got in zip(TAIL, ours.grad, strict=True):
        assert ulp.error(got, reference.logit_grad(x, 1), "float64") <= contract.DOUBLE.grad


def test_tensors_of_a_framework_are_no_arrays() -> None:
    """A graph is never dropped in silence."""
    mygrad = pytest.importorskip("mygrad")
    with pytest.raises(TypeError, match="`logits` must be an array of an array API library"):
        portable_bce.bce_with_logits(mygrad.tensor([0.0]), 1)


def test_pullback_without_targets_is_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pullback = portable_bce.bce_with_logits_vjp(np.zeros(3), np.ones(3))
    wanted = pullback(2.0)[0]
    # The formula is not evaluated any more.
    monkeypatch.setattr("portable_bce._pullback.evaluate", None)
    by_logits, by_targets = pullback(2.0, targets=False)
    np.testing.assert_array_equal(by_logits, wanted)
    assert by_targets is None
