"""Laws about infinities and NaN."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portable_bce.testing._accuracy import beyond
from portable_bce.testing._exact import exacts
from portable_bce.testing._law import Fault, Trial, law
from portable_bce.testing._library import Values


def not_the_limit(trial: Trial, name: str, x: Values, y: Values) -> Iterator[Fault]:
    """Yield where a value at an infinite logit is not the limit, which is 0 or infinite."""
    x = np.copysign(np.inf, x)
    got = trial.value(name, x, y)
    wanted = np.array([one.high for one in exacts(name, x, y)])
    for i in np.flatnonzero(got != wanted).tolist():
        yield trial.fault(i, x, y, got[i], trial.written(wanted[i]))


@law(
    "loss",
    "The loss of an infinite logit is 0 with the right label, and infinite with the wrong one "
    "or any between.",
)
def loss_at_infinite_logits_is_its_limit(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return not_the_limit(trial, "loss", x, y)


@law("grad", "The gradient is 1 - y at logit infinity, and -y at minus infinity.")
def gradient_at_infinite_logits_is_its_limit(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return beyond(trial, "grad", np.copysign(np.inf, x), y, trial.bound("grad"))


@law("hess", "The Hessian of an infinite logit is 0.")
def hessian_at_infinite_logits_is_zero(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return not_the_limit(trial, "hess", x, y)


def nan_elsewhere(
    trial: Trial, name: str, x: Values, y: Values, *, targets: bool = True
) -> Iterator[Fault]:
    """Yield where NaN is lost, or leaks to a pair that has none."""
    even = np.arange(len(x)) % 2 == 0
    plain = trial.value(name, x, y)
    for bad in (even, ~even):
        for what in ("logits", "targets") if targets else ("logits",):
            logits, labels = (
                np.where(bad & (what == one), np.nan, values)
                for one, values in (("logits", x), ("targets", y))
            )
            got = trial.value(name, logits, labels)
            leaked = np.isnan(got) & ~np.isnan(plain)
            for i in np.flatnonzero(np.where(bad, ~np.isnan(got), leaked)).tolist():
                text = trial.written(got[i])
                required = "nan" if bad[i] else f"{trial.written(plain[i])}, as without NaN beside"
                yield trial.fault_among(i, logits, labels, text, required)


@law("loss", "NaN in a logit or a target gives a loss of NaN there, and nowhere else.")
def loss_of_nan_is_nan(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return nan_elsewhere(trial, "loss", x, y)


@law("grad", "NaN in a logit or a target gives a gradient of NaN there, and nowhere else.")
def gradient_of_nan_is_nan(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return nan_elsewhere(trial, "grad", x, y)


@law("hess", "NaN in a logit gives a Hessian of NaN there, and nowhere else.")
def hessian_of_nan_is_nan(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    return nan_elsewhere(trial, "hess", x, y, targets=False)
