"""How the formula is evaluated, one row a library. What is evaluated stands in _formula.

A runner takes checked inputs and returns one array for each name wanted: "loss" is
reduced; "grad", "hess" and "grad_targets" are elementwise and divided by the reduction's
denominator. Every row gives the same numbers, to what the library's exp and log1p allow;
a library without a row takes the plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import (
    is_cupy_namespace,
    is_dask_namespace,
    is_jax_namespace,
    is_numpy_namespace,
    is_torch_namespace,
)

from portable_bce._inputs import Inputs
from portable_bce._reduce import (
    Reduction,
    Total,
    chunked_total,
    denominator,
    library_total,
    pairwise_total,
)

# _formula.with_logits or _probability.with_probabilities: (xp, wanted, x, y, w, p, u) -> values
Formula: TypeAlias = Callable[..., tuple[Any, ...]]
# (formula, inputs, reduction, wanted, rounded, total) -> values
Evaluate: TypeAlias = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Runner:
    """How a library evaluates the formula, and how it sums."""

    evaluate: Evaluate
    total: Total


def runner_of(xp: Any) -> Runner:
    """Return the row of an array namespace."""
    if is_torch_namespace(xp) or is_jax_namespace(xp) or is_cupy_namespace(xp):
        return _SUMS_IN_TREES
    if is_dask_namespace(xp):
        return _DASK
    return _ANY


def run(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    *,
    rounded: bool = True,
) -> tuple[Any, ...]:
    """Evaluate ``formula`` by the row of the inputs' library.

    The loss is rounded to ``inputs.dtype``. So are the derivatives if ``rounded``, else
    they stay in ``inputs.work``, for a pullback to scale before it rounds.
    """
    runner = runner_of(inputs.xp)
    return runner.evaluate(formula, inputs, reduction, wanted, rounded, runner.total)


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


def scaled(
    inputs: Inputs, derivative: Any, cotangent: Any, dtype: Any, *, summed: bool = False
) -> Any:
    """Return a pullback's product in ``dtype``, masked; ``summed`` to one number if asked."""
    xp = inputs.xp
    with _quiet(xp):
        product = _masked(inputs, cotangent * derivative)
        if summed:
            axes = tuple(range(product.ndim))
            product = xp.squeeze(runner_of(xp).total(xp, product, axes), axis=axes)
        return _settled(xp, product, dtype)


def _plain(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Evaluate operation by operation, as any library, tracer or compiler can."""
    xp = inputs.xp

    def reduced(loss: Any) -> Any:
        loss = total(xp, _masked(inputs, loss), reduction.axes)
        if divisor is not None:
            loss = loss / divisor
        return _settled(xp, xp.squeeze(loss, axis=reduction.axes), inputs.dtype)

    def shared(derivative: Any) -> Any:
        if isinstance(divisor, float):
            derivative = derivative / divisor
        elif divisor is not None:
            derivative = derivative / xp.astype(divisor, inputs.work, copy=False)
        # After the division: where nothing is kept the denominator is zero.
        derivative = _masked(inputs, derivative)
        return _settled(xp, derivative, inputs.dtype if rounded else inputs.work)

    with _quiet(xp):
        x, y, weight, pos_weight = operands(inputs)
        divisor = denominator(reduction, xp, x, weight, inputs.where, total)
        values = formula(xp, wanted, x, y, weight, pos_weight, inputs.label_smoothing)
        return tuple(
            reduced(value) if name == "loss" else shared(value)
            for name, value in zip(wanted, values, strict=True)
        )


def _quiet(xp: Any) -> AbstractContextManager[Any]:
    """Keep NumPy silent at log(0) and 0 / 0, which have a documented result here."""
    return np.errstate(all="ignore") if is_numpy_namespace(xp) else nullcontext()


def _masked(inputs: Inputs, value: Any) -> Any:
    return value if inputs.where is None else inputs.xp.where(inputs.where, value, 0.0)


def _settled(xp: Any, value: Any, dtype: Any) -> Any:
    """Round once, and turn NumPy's 0-d arrays into its scalars, as its reductions do."""
    value = xp.astype(value, dtype, copy=False)
    return value[()] if value.ndim == 0 and is_numpy_namespace(xp) else value


_ANY = Runner(_plain, pairwise_total)
_SUMS_IN_TREES = Runner(_plain, library_total)
_DASK = Runner(_plain, chunked_total)
