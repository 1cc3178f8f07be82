"""Automatic differentiation by targets and weights, mixed ones, and against value_and_grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests.autodiff import Grad, apart
from tests.backends import Backend

FINITE = [0.0, -0.0, 1.0, -3.5, 17.0, -17.0, 60.0, -60.0, 1e30, -1e30, 1e-30]
LOGITS = [*FINITE, np.inf, -np.inf]
LABELS = [0.0, 1.0, 0.25, 1e-7]
# weight, pos_weight, label_smoothing
SETTINGS = [
    (None, None, 0.0),
    (3.0, None, 0.0),
    (None, 2.5, 0.0),
    (None, None, 0.2),
    (0.5, 4.0, 0.1),
]
LETTERS = {"targets": "y", "weight": "w", "pos_weight": "p"}
NAMES = list(LETTERS)
DTYPES = ["float32", "float64"]
# As the loss and the gradient, with a product more.
LINEAR = contract.SOFT.loss + contract.WEIGHT
MIXED = contract.SOFT.grad + contract.WEIGHT

DERIVATIVES: dict[str, Callable[..., mpf]] = {
    "targets": reference.logit_grad_target,
    "weight": reference.logit_grad_weight,
    "pos_weight": reference.logit_grad_pos_weight,
}


class Points:
    """Every logit with every label, and arrays of the settings that are in use."""

    def __init__(
        self, backend: Backend, dtype: str, logits: list[float], setting: tuple[Any, ...]
    ) -> None:
        self.backend, self.dtype = backend, dtype
        weight, pos_weight, self.smoothing = setting
        self.pairs = np.asarray([(x, y) for x in logits for y in LABELS], dtype=dtype)
        columns = {"logits": self.pairs[:, 0], "targets": self.pairs[:, 1]}
        for name, value in (("weight", weight), ("pos_weight", pos_weight)):
            if value is not None:
                columns[name] = np.full(len(self.pairs), value, dtype=dtype)
        self.arrays = {name: backend.array(column) for name, column in columns.items()}
        self.w, self.p = weight or 1.0, pos_weight or 1.0
        self.factors = (pos_weight is not None) + bool(self.smoothing)

    def loss(self, **changed: Any) -> Any:
        given = self.arrays | changed
        return portable_bce.bce_with_logits(
            given.pop("logits"),
            given.pop("targets"),
            **given,
            label_smoothing=self.smoothing,
            reduction="sum",
        )

    def by(self, grad: Grad, name: str) -> Any:
        return grad(lambda one: self.loss(**{name: one}), self.arrays[name])

    def by_logits_and(self, grad: Grad, name: str) -> Any:
        """Differentiate the gradient by the logits once more, by another argument."""

        def slopes(one: Any) -> Any:
            return grad(
                lambda x: self.loss(**{"logits": x, name: one}), self.arrays["logits"]
            ).sum()

        return grad(slopes, self.arrays[name])

    def errors(
        self, got: Any, exact: Callable[..., mpf], scale: Callable[[Any], Any]
    ) -> list[float]:
        values = self.backend.numpy(got)
        assert values.dtype == self.dtype
        keywords = {
            "underflow": self.w * (1 + self.p),
            "flushes": self.backend.flushes_subnormals,
        }
        return [
            ulp.error(
                value,
                exact(x, y, self.w, self.p, self.smoothing),
                self.dtype,
                scale=scale(mpf(float(x))) * self.w * (1 + self.p),
                **keywords,
            )
            for value, (x, y) in zip(values, self.pairs, strict=True)
        ]


def points(tracing: tuple[Backend, Grad], dtype: str, *rest: Any) -> Points:
    if dtype not in tracing[0].dtypes:
        pytest.skip(f"{tracing[0].name} has no {dtype}")
    return Points(tracing[0], dtype, *rest)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_by_targets_and_weights_are_exact_at_infinity_too(
    tracing: tuple[Backend, Grad], dtype: str, setting: tuple[Any, ...]
) -> None:
    """0 times an infinite logit made them NaN. (Infinite ones may be the largest float.)"""
    given = points(tracing, dtype, LOGITS, setting)

    def crossing(x: Any) -> Any:
        """What p softplus(-x) - softplus(x) cancels from."""
        return reference.softplus(abs(x)) if given.factors and mp.isfinite(x) else 0

    for name in given.arrays.keys() - {"logits"}:
        scale = crossing if name == "targets" else lambda _: 0
        errors = given.errors(given.by(tracing[1], name), DERIVATIVES[name], scale)
        assert max(errors) <= LINEAR + contract.PER_FACTOR * given.factors, name


def mixed(name: str) -> Callable[..., mpf]:
    """The gradient by the logits is linear in each other argument: its slope, exactly."""

    def exact(x: Any, y: Any, w: Any, p: Any, u: Any) -> mpf:
        ends = [{"y": y, "w": w, "p": p} | {LETTERS[name]: one} for one in (mpf(1), mpf(0))]
        with mp.workprec(reference.BITS):
            one, zero = (reference.logit_grad(x, end["y"], end["w"], end["p"], u) for end in ends)
            return one - zero

    return exact


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mixed_second_derivatives_are_exact(
    tracing: tuple[Backend, Grad], dtype: str, setting: tuple[Any, ...]
) -> None:
    """Of finite logits: the guard at infinity has no slope (docs/frameworks.md)."""
    given = points(tracing, dtype, FINITE, setting)
    for name in given.arrays.keys() - {"logits"}:

        def cancels(x: Any, name: str = name) -> Any:
            return reference.sigmoid(-abs(x)) if name == "weight" else 0

        errors = given.errors(given.by_logits_and(tracing[1], name), mixed(name), cancels)
        assert max(errors) <= MIXED + contract.PER_FACTOR * given.factors, name


@pytest.mark.parametrize("function", ["bce_with_logits", "bce"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("name", ["logits", *NAMES])
def test_masked_nan_leaves_no_nan_in_a_derivative_by_any_argument(
    tracing: tuple[Backend, Grad], name: str, reduction: str, function: str
) -> None:
    backend, grad = tracing
    dirty = np.asarray([0.25, np.nan, np.inf, -np.inf, 0.5], dtype=np.float32)
    keep = np.asarray([True, False, False, False, True])
    arrays = {one: backend.array(dirty) for one in ("logits", *NAMES)}

    def loss(**changed: Any) -> Any:
        given = arrays | changed
        positional = given.pop("logits"), given.pop("targets")
        keywords = {"where": backend.array(keep), "reduction": reduction, **given}
        return getattr(portable_bce, function)(*positional, **keywords).sum()

    def slopes(one: Any) -> Any:
        found = grad(lambda x: loss(**({name: one} | {"logits": x})), arrays["logits"])
        return (found * found).sum()

    once = backend.numpy(grad(lambda one: loss(**{name: one}), arrays[name]))
    found = [once] if name == "logits" else [once, backend.numpy(grad(slopes, arrays[name]))]
    for derivative in found:
        assert np.all(np.isfinite(derivative))
        np.testing.assert_array_equal(derivative[~keep], 0)
        assert np.all(derivative[keep])


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_autodiff_agrees_with_value_and_grad(
    tracing: tuple[Backend, Grad], reduction: str, kind: str, dtype: str, setting: tuple[Any, ...]
) -> None:
    backend, grad = tracing
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    rng = np.random.default_rng(3)
    host = np.concatenate([rng.normal(0, size, 500) for size in (1, 5, 30)]).astype(dtype)
    label = rng.random(host.shape).astype(dtype)
    x, y = backend.array(host), backend.array(np.round(label) if kind == "hard" else label)
    w, p, u = setting
    keywords = {"weight": w, "pos_weight": p, "label_smoothing": u, "reduction": reduction}
    traced = grad(lambda x: portable_bce.bce_with_logits(x, y, **keywords), x)
    _, direct = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    # (A + B) min(sigmoid(x), sigmoid(-x)), which is what the contract counts in.
    scale = backend.numpy(hess) * (1 + np.exp(-np.abs(host.astype(np.float64))))
    shared = contract.SUM if reduction == "mean" else 0
    got, wanted = backend.numpy(traced), backend.numpy(direct)
    near = apart(got, wanted, scale, flushes=backend.flushes_subnormals)
    bound = contract.AUTODIFF
    if backend.name.startswith("torch"):  # differentiated by plain operations, else by kernels
        bounds = contract.bounds_for(
            dtype,
            hard=kind == "hard",
            weighted=w is not None,
            factors=(p is not None) + bool(u),
        )
        bound += bounds.grad
    assert near <= bound + shared
