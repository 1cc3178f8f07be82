"""Evaluation operation by operation, as any library, tracer or compiler can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from portable_bce._checks import library
from portable_bce._inputs import Inputs
from portable_bce._reduce import Reduction, Total, denominator

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
    xp = inputs.xp

    def reduced(loss: Any) -> Any:
        loss = total(xp, masked(inputs, loss), reduction.axes)
        if divisor is not None:
            loss = loss / divisor
        return settled(xp, xp.squeeze(loss, axis=reduction.axes), inputs.dtype)

    def shared(derivative: Any) -> Any:
        if isinstance(divisor, float):
            derivative = derivative / divisor
        elif divisor is not None:
            derivative = derivative / xp.astype(divisor, inputs.work, copy=False)
        # After the division: where nothing is kept the denominator is zero.
        derivative = masked(inputs, derivative)
        return settled(xp, derivative, inputs.dtype if rounded else inputs.work)

    with quiet(xp):
        x, y, weight, pos_weight = operands(inputs)
        divisor = denominator(reduction, xp, x, weight, inputs.where, total)
        values = formula(xp, wanted, x, y, weight, pos_weight, inputs.label_smoothing)
        return tuple(
            reduced(value) if name == "loss" else shared(value)
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
