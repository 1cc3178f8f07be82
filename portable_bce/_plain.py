"""Evaluation operation by operation, as any library, tracer or compiler can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from portable_bce._checks import library
from portable_bce._inputs import Inputs
from portable_bce._reduce import Reduction, Total, counted, denominator, is_counted

# _formula.with_logits or _probability.with_probabilities: (xp, wanted, x, y, w, p, u) -> values
Formula: TypeAlias = Callable[..., tuple[Any, ...]]


def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return the reduced loss and the shared-out derivatives that are wanted."""
    with quiet(inputs.xp):
        divisor = divisor_of(inputs, reduction, total)
        dtypes = element_dtypes(inputs, reduction, wanted, rounded)
        values = elements(formula, inputs, operands(inputs), wanted, dtypes, divisor)
        return reduced(inputs, reduction, wanted, values, divisor, total)


def divisor_of(inputs: Inputs, reduction: Reduction, total: Total) -> Any:
    """Return the denominator of the reduction, converting only what it is counted from."""
    xp, x, weight = inputs.xp, inputs.x, inputs.weight
    if is_counted(reduction, x.shape, weight, inputs.where):
        x = xp.astype(x, inputs.work, copy=False)
        if weight is not None and not isinstance(weight, float):
            weight = xp.astype(weight, inputs.work, copy=False)
    return denominator(reduction, xp, x, weight, inputs.where, total)


def shares(
    xp: Any, wanted: Any, x: Any, y: Any, w: Any, p: Any, u: Any, *, reduction: Reduction
) -> tuple[Any, ...]:
    """Stand in for the formula: what the denominator is the sum of."""
    ones = xp.astype((x == x) | (x != x), x.dtype)  # cupy.fuse has no ones_like
    return (counted(reduction, xp, ones, w, None),)


def product(xp: Any, wanted: Any, x: Any, y: Any, w: Any, p: Any, u: Any) -> tuple[Any, ...]:
    """Stand in for the formula: a derivative times a cotangent."""
    return (x if w is None else w * x,)


def element_dtypes(
    inputs: Inputs, reduction: Reduction, wanted: tuple[str, ...], rounded: bool
) -> tuple[Any, ...]:
    """Return the dtype of each elementwise result. Losses to be summed are not rounded yet."""
    loss = inputs.dtype if reduction.name == "none" else inputs.work
    derivative = inputs.dtype if rounded else inputs.work
    return tuple(loss if name == "loss" else derivative for name in wanted)


def elements(
    formula: Formula,
    inputs: Inputs,
    ready: tuple[Any, Any, Any, Any],
    wanted: tuple[str, ...],
    dtypes: tuple[Any, ...],
    divisor: Any,
) -> tuple[Any, ...]:
    """Return what is wanted element by element: masked losses, shared-out derivatives."""
    xp = inputs.xp

    def ready_to_round(name: str, value: Any) -> Any:
        return masked(inputs, value if name == "loss" else divided(xp, value, divisor, inputs.work))

    values = formula(xp, wanted, *ready, inputs.label_smoothing)
    return tuple(
        settled(xp, ready_to_round(name, value), dtype)
        for name, value, dtype in zip(wanted, values, dtypes, strict=True)
    )


def divided(xp: Any, value: Any, divisor: Any, dtype: Any) -> Any:
    """Divide by the denominator in ``dtype``; mask only then, or 0 / 0 is left."""
    if divisor is None:
        return value
    # torch.export's open float is no float to Python; torch.compile's has no hasattr.
    if isinstance(divisor, float) or not hasattr(divisor, "dtype"):
        return value / divisor
    return value / xp.astype(divisor, dtype, copy=False)


def reduced(
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    values: tuple[Any, ...],
    divisor: Any,
    total: Total,
) -> tuple[Any, ...]:
    """Return the values with the loss, if it is among them, reduced and rounded."""
    xp = inputs.xp

    def summed(loss: Any) -> Any:
        loss = total(xp, loss, reduction.axes)
        if divisor is not None:
            loss = loss / divisor
        return settled(xp, xp.squeeze(loss, axis=reduction.axes), inputs.dtype)

    return tuple(
        summed(value) if name == "loss" and reduction.name != "none" else value
        for name, value in zip(wanted, values, strict=True)
    )


def operands(inputs: Inputs) -> tuple[Any, Any, Any, Any]:
    """Return x, targets and weights in the working dtype, harmless where masked.

    Masked values are replaced before anything is computed from them: a NaN that is
    masked only afterwards comes back in the derivative, as 0 times NaN. One half is
    finite, and certain of nothing, as a logit and as a probability.
    """
    xp, where = inputs.xp, inputs.where

    def ready(value: Any, harmless: float) -> Any:
        if value is None or isinstance(value, float):
            return value
        value = xp.astype(value, inputs.work, copy=False)
        return value if where is None else xp.where(where, value, harmless)

    return (
        ready(inputs.x, 0.5),
        ready(inputs.targets, 0.0),
        ready(inputs.weight, 0.0),
        ready(inputs.pos_weight, 0.0),
    )


def quiet(xp: Any) -> AbstractContextManager[Any]:
    """Keep NumPy silent at log(0) and 0 / 0, which have a documented result here."""
    return np.errstate(all="ignore") if library(xp) == "numpy" else nullcontext()


def masked(inputs: Inputs, value: Any) -> Any:
    """Return zero for what is masked."""
    return value if inputs.where is None else inputs.xp.where(inputs.where, value, 0.0)


def settled(xp: Any, value: Any, dtype: Any) -> Any:
    """Round once, and turn NumPy's 0-d arrays into its scalars, as its reductions do."""
    value = xp.astype(value, dtype, copy=False)
    return value[()] if value.ndim == 0 and library(xp) == "numpy" else value
