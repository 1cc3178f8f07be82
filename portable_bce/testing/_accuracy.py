"""Laws about how near a value is to the exact one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portable_bce.testing import ulp
from portable_bce.testing._exact import exacts, tail
from portable_bce.testing._law import Fault, Trial, law
from portable_bce.testing._library import Values


def hard(y: Values) -> Values:
    """Return the nearest hard labels."""
    return (y >= 0.5).astype(np.float64)


def beyond(
    trial: Trial, name: str, x: Values, y: Values, bound: float, *, cancels: bool = False
) -> Iterator[Fault]:
    """Yield where a value is further than a bound from the exact one."""
    got, wanted = trial.value(name, x, y), exacts(name, x, y)
    scale = tail(x) if cancels else np.zeros(x.shape)
    high, low = np.array([one[1:] for one in wanted]).reshape(-1, 2).T
    with np.errstate(invalid="ignore"):  # infinite exact values, and NaN, are looked at below
        off = np.abs((got - high) - low)
        near = off <= 0.99 * bound * trial.unit("loss", x, high, scale)
    for i in np.flatnonzero(~near).tolist():
        exact = wanted[i].value
        error = ulp.error(got[i], exact, trial.dtype, scale=scale[i], flushes=trial.flushes)
        if error > bound:
            required = f"{trial.written(high[i])}, within {bound:g} ULP; it is {error:.3g} off"
            yield trial.fault(i, x, y, got[i], required)


@law("loss", "The loss of a label 0 or 1 is as near to the exact one as its bound says.")
def loss_of_hard_labels_is_within_its_bound(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return beyond(trial, "loss", x, hard(y), trial.bound("loss", hard=True))


@law("loss", "The loss of a target between 0 and 1 is as near to the exact one as its bound says.")
def loss_of_soft_labels_is_within_its_bound(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return beyond(trial, "loss", x, y, trial.bound("loss"))


@law("grad", "The gradient of a label 0 or 1 is as near to the exact one as its bound says.")
def gradient_of_hard_labels_is_within_its_bound(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    return beyond(trial, "grad", x, hard(y), trial.bound("grad", hard=True))


@law(
    "grad",
    "The gradient of a target between 0 and 1 is within its bound, in ULP of its own size or "
    "of min(sigmoid(x), sigmoid(-x)), where that is larger.",
)
def gradient_of_soft_labels_is_within_its_bound(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    return beyond(trial, "grad", x, y, trial.bound("grad"), cancels=True)


@law("hess", "The Hessian is as near to the exact one as its bound says.")
def hessian_is_within_its_bound(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return beyond(trial, "hess", x, y, trial.bound("hess"))


def lost(trial: Trial, name: str, x: Values, y: Values) -> Iterator[Fault]:
    """Yield where a value is zero that is a normal number."""
    got = trial.value(name, x, y)
    least = float(ulp.smallest_normal(trial.dtype))
    wanted = np.array([one.high for one in exacts(name, x, y)])
    for i in np.flatnonzero((got == 0) & (np.abs(wanted) >= least)).tolist():
        yield trial.fault(i, x, y, got[i], trial.written(wanted[i]))


@law("loss", "A loss that is a normal number is never returned as 0.")
def loss_keeps_its_tail(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return lost(trial, "loss", x, y)


@law("grad", "A gradient of a label 0 or 1 that is a normal number is never returned as 0.")
def gradient_keeps_its_tail(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return lost(trial, "grad", x, hard(y))


@law("hess", "A Hessian that is a normal number is never returned as 0.")
def hessian_keeps_its_tail(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return lost(trial, "hess", x, y)


def unbounded(trial: Trial, name: str, x: Values, y: Values) -> Iterator[Fault]:
    """Yield where a value is NaN, or infinite where the exact one has a float."""
    got = trial.value(name, x, y)
    wanted = exacts(name, x, y)
    for i in np.flatnonzero(~np.isfinite(got)).tolist():
        if np.isnan(got[i]) or abs(wanted[i].value) <= ulp.largest(trial.dtype):
            yield trial.fault(i, x, y, got[i], trial.written(wanted[i].high))


@law(
    "loss",
    "The loss of a finite logit and a target in [0, 1] is neither NaN nor, unless the exact "
    "one overflows, infinite.",
)
def loss_of_finite_logits_is_finite(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return unbounded(trial, "loss", x, y)


@law("grad", "The gradient of a finite logit and a target in [0, 1] is neither NaN nor infinite.")
def gradient_of_finite_logits_is_finite(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return unbounded(trial, "grad", x, y)


@law("hess", "The Hessian of a finite logit and a target in [0, 1] is neither NaN nor infinite.")
def hessian_of_finite_logits_is_finite(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return unbounded(trial, "hess", x, y)
