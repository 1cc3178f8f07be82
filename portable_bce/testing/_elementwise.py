"""Laws of one loss, gradient or Hessian per element: accuracy, limits, symmetry, arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from mpmath import mp, mpf

from portable_bce.testing import ulp
from portable_bce.testing._law import WORDS, Fault, Law, Trial, exacts, law, tail
from portable_bce.testing._library import Values, dtype_name
from portable_bce.testing.reference import BITS

Faults: TypeAlias = Iterator[Fault]
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (5,), (2, 3), (3, 1), (2, 0)]
ALONE = 3


def hard(y: Values) -> Values:
    """Return the nearest hard labels."""
    return (y >= 0.5).astype(np.float64)


def soft(t: Trial, y: Values) -> Values:
    """Return the soft labels, and 0.3 in place of the hard ones."""
    return np.where((y == 0) | (y == 1), t.rounded(np.full(y.shape, 0.3)), y)


def beyond(
    t: Trial, name: str, x: Values, y: Values, bound: float, *, cancels: bool = False
) -> Faults:
    """Yield where a value is further than a bound from the exact one."""
    got, wanted = t.value(name, x, y), exacts(name, x, y)
    scale = tail(x) if cancels else np.zeros(x.shape)
    high, low = np.array([one[1:] for one in wanted]).reshape(-1, 2).T
    with np.errstate(invalid="ignore"):  # infinite exact values, and NaN, are looked at below
        off = np.abs((got - high) - low)
        near = off <= 0.99 * bound * t.unit("loss", x, high, scale)
    for i in np.flatnonzero(~near).tolist():
        exact = wanted[i].value
        error = ulp.error(got[i], exact, t.dtype, scale=scale[i], flushes=t.flushes)
        if error > bound:
            required = f"{t.written(high[i])}, within {bound:g} ULP; it is {error:.3g} off"
            yield t.fault(i, x, y, got[i], required)


@law("loss", "The loss of a label 0 or 1 is as near to the exact one as its bound says.")
def loss_of_hard_labels_is_within_its_bound(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "loss", x, hard(y), t.bound("loss", hard=True))


@law("loss", "The loss of a target between 0 and 1 is as near to the exact one as its bound says.")
def loss_of_soft_labels_is_within_its_bound(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "loss", x, soft(t, y), t.bound("loss"))


@law("grad", "The gradient of a label 0 or 1 is as near to the exact one as its bound says.")
def gradient_of_hard_labels_is_within_its_bound(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "grad", x, hard(y), t.bound("grad", hard=True))


@law(
    "grad",
    "The gradient of a target between 0 and 1 is within its bound, in ULP of its own size or "
    "of min(sigmoid(x), sigmoid(-x)), where that is larger.",
)
def gradient_of_soft_labels_is_within_its_bound(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "grad", x, soft(t, y), t.bound("grad"), cancels=True)


@law("hess", "The Hessian is as near to the exact one as its bound says.")
def hessian_is_within_its_bound(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "hess", x, y, t.bound("hess"))


def lost(t: Trial, name: str, x: Values, y: Values) -> Faults:
    """Yield where a value is zero that is a normal number."""
    got = t.value(name, x, y)
    least = float(ulp.smallest_normal(t.dtype))
    wanted = np.array([one.high for one in exacts(name, x, y)])
    for i in np.flatnonzero((got == 0) & (np.abs(wanted) >= least)).tolist():
        yield t.fault(i, x, y, got[i], t.written(wanted[i]))


@law("loss", "A loss that is a normal number is never returned as 0.")
def loss_keeps_its_tail(t: Trial, x: Values, y: Values) -> Faults:
    return lost(t, "loss", x, y)


@law("grad", "A gradient of a label 0 or 1 that is a normal number is never returned as 0.")
def gradient_keeps_its_tail(t: Trial, x: Values, y: Values) -> Faults:
    return lost(t, "grad", x, hard(y))


@law("hess", "A Hessian that is a normal number is never returned as 0.")
def hessian_keeps_its_tail(t: Trial, x: Values, y: Values) -> Faults:
    return lost(t, "hess", x, y)


def unbounded(t: Trial, name: str, x: Values, y: Values) -> Faults:
    """Yield where a value is NaN, or infinite where the exact one has a float."""
    got = t.value(name, x, y)
    wanted = exacts(name, x, y)
    for i in np.flatnonzero(~np.isfinite(got)).tolist():
        if np.isnan(got[i]) or abs(wanted[i].value) <= ulp.largest(t.dtype):
            yield t.fault(i, x, y, got[i], t.written(wanted[i].high))


@law(
    "loss",
    "The loss of a finite logit and a target in [0, 1] is neither NaN nor, unless the exact "
    "one overflows, infinite.",
)
def loss_of_finite_logits_is_finite(t: Trial, x: Values, y: Values) -> Faults:
    return unbounded(t, "loss", x, y)


@law("grad", "The gradient of a finite logit and a target in [0, 1] is neither NaN nor infinite.")
def gradient_of_finite_logits_is_finite(t: Trial, x: Values, y: Values) -> Faults:
    return unbounded(t, "grad", x, y)


@law("hess", "The Hessian of a finite logit and a target in [0, 1] is neither NaN nor infinite.")
def hessian_of_finite_logits_is_finite(t: Trial, x: Values, y: Values) -> Faults:
    return unbounded(t, "hess", x, y)


def not_the_limit(t: Trial, name: str, x: Values, y: Values) -> Faults:
    """Yield where a value at an infinite logit is not the limit, which is 0 or infinite."""
    x = np.copysign(np.inf, x)
    got = t.value(name, x, y)
    wanted = np.array([one.high for one in exacts(name, x, y)])
    for i in np.flatnonzero(got != wanted).tolist():
        yield t.fault(i, x, y, got[i], t.written(wanted[i]))


@law(
    "loss",
    "The loss of an infinite logit is 0 with the right label, and infinite with the wrong one "
    "or any between.",
)
def loss_at_infinite_logits_is_its_limit(t: Trial, x: Values, y: Values) -> Faults:
    return not_the_limit(t, "loss", x, y)


@law("grad", "The gradient is 1 - y at logit infinity, and -y at minus infinity.")
def gradient_at_infinite_logits_is_its_limit(t: Trial, x: Values, y: Values) -> Faults:
    return beyond(t, "grad", np.copysign(np.inf, x), y, t.bound("grad"))


@law("hess", "The Hessian of an infinite logit is 0.")
def hessian_at_infinite_logits_is_zero(t: Trial, x: Values, y: Values) -> Faults:
    return not_the_limit(t, "hess", x, y)


def nan_elsewhere(t: Trial, name: str, x: Values, y: Values, *, targets: bool = True) -> Faults:
    """Yield where NaN is lost, or leaks to a pair that has none."""
    even = np.arange(len(x)) % 2 == 0
    plain = t.value(name, x, y)
    for bad in (even, ~even):
        for what in ("logits", "targets") if targets else ("logits",):
            logits, labels = (
                np.where(bad & (what == one), np.nan, values)
                for one, values in (("logits", x), ("targets", y))
            )
            got = t.value(name, logits, labels)
            leaked = np.isnan(got) & ~np.isnan(plain)
            for i in np.flatnonzero(np.where(bad, ~np.isnan(got), leaked)).tolist():
                text = t.written(got[i])
                required = "nan" if bad[i] else f"{t.written(plain[i])}, as without NaN beside"
                yield t.fault_among(i, logits, labels, text, required)


@law("loss", "NaN in a logit or a target gives a loss of NaN there, and nowhere else.")
def loss_of_nan_is_nan(t: Trial, x: Values, y: Values) -> Faults:
    return nan_elsewhere(t, "loss", x, y)


@law("grad", "NaN in a logit or a target gives a gradient of NaN there, and nowhere else.")
def gradient_of_nan_is_nan(t: Trial, x: Values, y: Values) -> Faults:
    return nan_elsewhere(t, "grad", x, y)


@law("hess", "NaN in a logit gives a Hessian of NaN there, and nowhere else.")
def hessian_of_nan_is_nan(t: Trial, x: Values, y: Values) -> Faults:
    return nan_elsewhere(t, "hess", x, y, targets=False)


def outside(t: Trial, name: str, x: Values, y: Values, low: Values, high: Values) -> Faults:
    """Yield where a value is not in an interval; NaN is for other laws."""
    got = t.value(name, x, y)
    for i in np.flatnonzero((got < low) | (got > high)).tolist():
        yield t.fault(i, x, y, got[i], f"in [{low[i]:g}, {high[i]:g}]")


@law("loss", "The loss of a target in [0, 1] is never negative.")
def loss_is_never_negative(t: Trial, x: Values, y: Values) -> Faults:
    return outside(t, "loss", x, y, np.zeros(x.shape), np.full(x.shape, np.inf))


@law("grad", "The gradient of label 1 lies in [-1, 0], that of label 0 in [0, 1].")
def gradient_lies_between_minus_target_and_the_rest(t: Trial, x: Values, y: Values) -> Faults:
    y = hard(y)
    return outside(t, "grad", x, y, -y, 1 - y)


@law("hess", "The Hessian lies in [0, 1/4], to the bound.")
def hessian_lies_between_zero_and_a_quarter(t: Trial, x: Values, y: Values) -> Faults:
    quarter = np.full(x.shape, 0.25)
    above = quarter + t.bound("hess") * t.unit("loss", x, quarter)
    return outside(t, "hess", x, y, np.zeros(x.shape), above)


def flippable(t: Trial, y: Values) -> Values:
    """Return targets, those whose 1 - y is no float replaced by the nearest label."""
    rest = t.rounded(1 - y)
    return np.where(1 - rest == y, y, hard(y))


@law("grad", "The gradient at logit 0 and -0 is 1/2 - y, exactly where 1 - y is exact.")
def gradient_at_logit_zero_is_one_half_minus_target(t: Trial, x: Values, y: Values) -> Faults:
    y = flippable(t, y)
    for zero in (0.0, -0.0):
        at = np.full(y.shape, zero)
        got = t.value("grad", at, y)
        for i in np.flatnonzero(got != 0.5 - y).tolist():
            yield t.fault(i, at, y, got[i], f"exactly {t.written(0.5 - y[i])}")


def unflipped(t: Trial, name: str, x: Values, y: Values, sign: float) -> Faults:
    """Yield where the value of (x, y) is not sign times that of (-x, 1 - y)."""
    y = flippable(t, y)
    one, other = t.value(name, x, y), sign * t.value(name, -x, 1 - y)
    what = f"{'minus ' if sign < 0 else ''}the {WORDS[name]} of -logits, 1 - targets"
    return t.disagreements(name, x, y, one, other, what)


@law("loss", "The loss of (-x, 1 - y) is that of (x, y), to the bounds, where 1 - y is exact.")
def flipping_logit_and_label_keeps_the_loss(t: Trial, x: Values, y: Values) -> Faults:
    return unflipped(t, "loss", x, y, 1.0)


@law(
    "grad",
    "The gradient of (-x, 1 - y) is minus that of (x, y), to the bounds, where 1 - y is exact.",
)
def flipping_logit_and_label_negates_the_gradient(t: Trial, x: Values, y: Values) -> Faults:
    return unflipped(t, "grad", x, y, -1.0)


@law("hess", "The Hessian of (-x, 1 - y) is that of (x, y), to the bounds, where 1 - y is exact.")
def flipping_logit_and_label_keeps_the_hessian(t: Trial, x: Values, y: Values) -> Faults:
    return unflipped(t, "hess", x, y, 1.0)


@law("loss", "L(x, y) is y L(x, 1) + (1 - y) L(x, 0), to the bounds of the three.")
def loss_is_linear_in_the_target(t: Trial, x: Values, y: Values) -> Faults:
    losses = [t.value("loss", x, one) for one in (y, np.ones_like(y), np.zeros_like(y))]
    units = [t.unit("loss", x, one) for one in losses]
    allowed = t.bound("loss") * (units[0] + y * units[1] + (1 - y) * units[2])
    for i in np.flatnonzero(np.isfinite(losses).all(axis=0)).tolist():
        loss, right, wrong = (float(one[i]) for one in losses)
        with mp.workprec(BITS):
            mixed = mpf(y[i]) * right + (1 - mpf(y[i])) * wrong
            off = abs(mixed - loss)
        if off > allowed[i]:
            parts = f"{t.written(right)} and {t.written(wrong)} at targets 1 and 0"
            required = f"{t.written(float(mixed))}, the mean of {parts}"
            yield t.fault(i, x, y, loss, required)


@law(
    "loss",
    "Every result has the shape and the dtype of the logits; none, one and many axes, and "
    "axes without elements, included.",
)
def results_have_the_shape_and_dtype_of_the_logits(t: Trial, x: Values, y: Values) -> Faults:
    for shape in SHAPES:
        logits, labels = np.resize(x, shape), np.resize(y, shape)
        for name in t.functions:
            given = (logits, labels)
            result = t.call(name, t.array(logits), t.array(labels), given)
            found, kind = tuple(getattr(result, "shape", ())), dtype_name(result)
            if found != shape or kind != t.dtype:
                got = f"{WORDS[name]} of dtype {kind} and shape {found}"
                yield Fault(None, logits, labels, got, f"dtype {t.dtype} and shape {shape}")


@law("loss", "A call changes neither its logits nor its targets.")
def inputs_are_left_as_they_were(t: Trial, x: Values, y: Values) -> Faults:
    for name in t.functions:
        logits, labels = t.array(x), t.array(y)
        t.values(name, logits, labels, (x, y))
        for what, before, now in (("logits", x, logits), ("targets", y, labels)):
            after = t.library.values(now)
            for i in np.flatnonzero(
                (after != before) | (np.signbit(after) != np.signbit(before))
            ).tolist():
                got = f"{what} {t.written(after[i])} after asking for the {WORDS[name]}"
                yield t.fault(i, x, y, got, f"{what} {t.written(before[i])}, as before")


@law("loss", "The same inputs give the same results again, to the bounds.")
def repeated_calls_agree(t: Trial, x: Values, y: Values) -> Faults:
    for name in t.functions:
        first, again = t.value(name, x, y), t.value(name, x, y)
        yield from t.disagreements(name, x, y, again, first, "the first time")


@law("loss", "A value is the same, to the bounds, beside other elements and alone.")
def values_do_not_depend_on_their_neighbours(t: Trial, x: Values, y: Values) -> Faults:
    even = np.arange(len(x)) % 2 == 0
    for name in t.functions:
        together = t.value(name, x, y)
        for kept in (even, ~even):
            calm = t.value(name, np.where(kept, x, 0.0), np.where(kept, y, 0.5))
            beside = np.where(kept, calm, together)
            yield from t.disagreements(name, x, y, together, beside, "beside other elements")
        alone = together.copy()
        for i in range(min(len(x), ALONE)):
            alone[i] = t.value(name, x[i : i + 1], y[i : i + 1])[0]
        yield from t.disagreements(name, x, y, together, alone, "alone")


@law("loss", "A transposed or strided view of an array gives what its copy gives, to the bounds.")
def views_give_what_their_copies_give(t: Trial, x: Values, y: Values) -> Faults:
    shape = (2, -(-len(x) // 2) + 1)
    logits, labels = np.resize(x, shape), np.resize(y, shape)
    turned = np.ascontiguousarray(logits.T)
    for name in t.functions:
        plain = t.value(name, logits, labels)
        for what, one, other in (
            (
                "transposed logits",
                t.library.transposed(t.array(turned)),
                t.array(labels),
            ),
            ("every second element", _every_second(t, logits), _every_second(t, labels)),
        ):
            seen, given = t.values(name, one, other, (logits, labels)), (logits, labels)
            yield from t.disagreements(name, *given, seen, plain, f"from a copy of {what}")


def _every_second(t: Trial, values: Values) -> Any:
    return t.array(np.repeat(values, 2, axis=1))[:, ::2]


# In the order of reports.
LAWS: tuple[Law, ...] = tuple(one for one in vars().values() if isinstance(one, Law))
