"""Laws that need no exact value: what flips, what mixes, and where values lie."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mpmath import mp, mpf

from portable_bce.testing._accuracy import hard
from portable_bce.testing._law import WORDS, Fault, Trial, law
from portable_bce.testing._library import Values
from portable_bce.testing.reference import BITS


def flippable(trial: Trial, y: Values) -> Values:
    """Return targets, those whose 1 - y is no float replaced by the nearest label."""
    rest = trial.rounded(1 - y)
    return np.where(1 - rest == y, y, hard(y))


@law("grad", "The gradient at logit 0 and -0 is 1/2 - y, exactly where 1 - y is exact.")
def gradient_at_logit_zero_is_one_half_minus_target(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    y = flippable(trial, y)
    for zero in (0.0, -0.0):
        at = np.full(y.shape, zero)
        got = trial.value("grad", at, y)
        for i in np.flatnonzero(got != 0.5 - y).tolist():
            yield trial.fault(i, at, y, got[i], f"exactly {trial.written(0.5 - y[i])}")


def unflipped(trial: Trial, name: str, x: Values, y: Values, sign: float) -> Iterator[Fault]:
    """Yield where the value of (x, y) is not sign times that of (-x, 1 - y)."""
    y = flippable(trial, y)
    one, other = trial.value(name, x, y), sign * trial.value(name, -x, 1 - y)
    what = f"{'minus ' if sign < 0 else ''}the {WORDS[name]} of -logits, 1 - targets"
    return trial.disagreements(name, x, y, one, other, what)


@law("loss", "The loss of (-x, 1 - y) is that of (x, y), to the bounds, where 1 - y is exact.")
def flipping_logit_and_label_keeps_the_loss(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return unflipped(trial, "loss", x, y, 1.0)


@law(
    "grad",
    "The gradient of (-x, 1 - y) is minus that of (x, y), to the bounds, where 1 - y is exact.",
)
def flipping_logit_and_label_negates_the_gradient(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    return unflipped(trial, "grad", x, y, -1.0)


@law("hess", "The Hessian of (-x, 1 - y) is that of (x, y), to the bounds, where 1 - y is exact.")
def flipping_logit_and_label_keeps_the_hessian(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    return unflipped(trial, "hess", x, y, 1.0)


def outside(
    trial: Trial, name: str, x: Values, y: Values, low: Values, high: Values
) -> Iterator[Fault]:
    """Yield where a value is not in an interval; NaN is for other laws."""
    got = trial.value(name, x, y)
    for i in np.flatnonzero((got < low) | (got > high)).tolist():
        yield trial.fault(i, x, y, got[i], f"in [{low[i]:g}, {high[i]:g}]")


@law("loss", "The loss of a target in [0, 1] is never negative.")
def loss_is_never_negative(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return outside(trial, "loss", x, y, np.zeros(x.shape), np.full(x.shape, np.inf))


@law("grad", "The gradient of label 1 lies in [-1, 0], that of label 0 in [0, 1].")
def gradient_lies_between_minus_target_and_the_rest(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    y = hard(y)
    return outside(trial, "grad", x, y, -y, 1 - y)


@law("hess", "The Hessian lies in [0, 1/4], to the bound.")
def hessian_lies_between_zero_and_a_quarter(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    quarter = np.full(x.shape, 0.25)
    above = quarter + trial.bound("hess") * trial.unit("loss", x, quarter)
    return outside(trial, "hess", x, y, np.zeros(x.shape), above)


@law("loss", "L(x, y) is y L(x, 1) + (1 - y) L(x, 0), to the bounds of the three.")
def loss_is_linear_in_the_target(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    losses = [trial.value("loss", x, one) for one in (y, np.ones_like(y), np.zeros_like(y))]
    units = [trial.unit("loss", x, one) for one in losses]
    allowed = trial.bound("loss") * (units[0] + y * units[1] + (1 - y) * units[2])
    for i in np.flatnonzero(np.isfinite(losses).all(axis=0)).tolist():
        loss, right, wrong = (float(one[i]) for one in losses)
        with mp.workprec(BITS):
            mixed = mpf(y[i]) * right + (1 - mpf(y[i])) * wrong
            off = abs(mixed - loss)
        if off > allowed[i]:
            parts = f"{trial.written(right)} and {trial.written(wrong)} at targets 1 and 0"
            required = f"{trial.written(float(mixed))}, the mean of {parts}"
            yield trial.fault(i, x, y, loss, required)
