"""How the formula is evaluated, one row a library. What is evaluated stands in _formula.

A runner takes checked inputs and returns one array for each name wanted: "loss" is
reduced; "grad", "hess" and "grad_targets" are elementwise and divided by the reduction's
denominator. Every row gives the same numbers, to what the library's exp and log1p allow;
a library without a row takes the plain one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from portable_bce import _blocks, _chunks, _fused, _plain
from portable_bce._checks import library
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula, masked, product, quiet, settled
from portable_bce._reduce import Reduction, Total, library_total, pairwise_total

# (formula, inputs, reduction, wanted, rounded, total) -> values
Evaluate: TypeAlias = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Runner:
    """How a library evaluates the formula, and how it sums."""

    evaluate: Evaluate
    total: Total


def runner_of(xp: Any) -> Runner:
    """Return the row of an array namespace."""
    return _ROWS.get(library(xp), _ANY)


def runner_of_chunk(xp: Any) -> Runner:
    """Return the row of the namespace of a chunk, for Dask's tasks."""
    return _IN_TASKS.get(library(xp)) or runner_of(xp)


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


def scaled(
    inputs: Inputs, derivative: Any, cotangent: Any, dtype: Any, *, summed: bool = False
) -> Any:
    """Return a pullback's product in ``dtype``, masked; ``summed`` to one number if asked."""
    xp, axes = inputs.xp, tuple(range(derivative.ndim))
    if library(xp) in ("cupy", "dask.array"):  # in one kernel, or in one task a chunk
        given = inputs._replace(
            x=derivative, targets=0.0, weight=cotangent, pos_weight=None, dtype=dtype
        )
        reduction = Reduction("sum", axes) if summed else Reduction("none", ())
        return run(product, given, reduction, ("loss",))[0]
    with quiet(xp):
        value = masked(inputs, cotangent * derivative)
        if summed:
            value = xp.squeeze(runner_of(xp).total(xp, value, axes), axis=axes)
        return settled(xp, value, dtype)


def _on_torch(*arguments: Any) -> tuple[Any, ...]:
    from portable_bce import _torch  # noqa: PLC0415  only here is PyTorch known to be in use

    return _torch.evaluate(*arguments)


_ANY = Runner(_plain.evaluate, pairwise_total)
_ROWS = {
    "numpy": Runner(_blocks.evaluate, pairwise_total),
    "torch": Runner(_on_torch, library_total),
    "jax.numpy": Runner(_plain.evaluate, library_total),
    "cupy": Runner(_fused.evaluate, library_total),
    # A chunk is evaluated by the row of its own library, which is looked up within the task.
    "dask.array": Runner(partial(_chunks.evaluate, runner_of_chunk), pairwise_total),
}
_IN_TASKS = {
    "numpy": Runner(
        partial(_blocks.evaluate, block_bytes=_blocks.BLOCK_BYTES_IN_TASKS), pairwise_total
    ),
}
