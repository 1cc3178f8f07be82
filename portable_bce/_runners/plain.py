"""Evaluation operation by operation, as any library, tracer or compiler can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from portable_bce._arguments import Arguments
from portable_bce._formula import denominator_terms
from portable_bce._job import Job
from portable_bce._libraries import cast, library
from portable_bce._reduction import Total, denominator

Operands = tuple[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """Whole arrays, by the operations of the array API standard; ``total`` sums them.

    ``namespace`` returns a namespace that keeps to the standard in place of one that does not.
    """

    total: Total
    namespace: Callable[[Any], Any] | None = None

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return the reduced loss and the divided derivatives that are asked for."""
        if self.namespace is not None:
            job = job._replace(arguments=self.readable(job.arguments))
        with quiet(job.arguments.xp):
            divisor = divisor_of(job, self.total)
            values = elements(job, operands(job.arguments), divisor)
            return tuple(
                reduced(job, value, divisor, self.total) if name == "loss" else value
                for name, value in zip(job.outputs, values, strict=True)
            )

    def readable(self, given: Arguments) -> Arguments:
        """Return the same with a namespace that keeps to the standard."""
        return given if self.namespace is None else given._replace(xp=self.namespace(given.xp))


def divisor_of(job: Job, total: Total) -> Any:
    """Return what a sum is divided by: None, a Python number, or an array that broadcasts."""
    given, axes = job.arguments, job.reduction.axes
    if job.denominator is not None:
        return job.denominator
    if not job.is_counted:
        return denominator(job.reduction, given.x.shape)
    counts = counting(job, given.compute_dtype)
    # Nothing is computed from masked values that a mask of the terms would not replace.
    ready = operands(counts.arguments._replace(where=None))
    (terms,) = elements(counts, ready, None)
    return total(given.xp, terms, axes)


def counting(job: Job, dtype: Any) -> Job:
    """Return the job whose loss is the denominator of a job, rounded to ``dtype``."""
    given, reduction = job.arguments, job.reduction
    given = given._replace(
        targets=0.0,
        weight=given.weight if reduction.name == "weighted_mean" else None,
        pos_weight=None,
        label_smoothing=0.0,
        eps=None,
        result_dtype=dtype,
    )
    return Job(denominator_terms, given, reduction._replace(name="sum"), ("loss",))


def elements(job: Job, ready: Operands, divisor: Any) -> tuple[Any, ...]:
    """Return masked losses and divided derivatives, each in its dtype.

    A loss to be summed is not rounded yet.
    """
    given = job.arguments
    loss_dtype = given.compute_dtype if job.sums_loss else given.result_dtype

    def element(name: str, value: Any) -> Any:
        if name == "loss":
            return rounded_to(given.xp, loss_dtype, masked(given, value))
        # A masked element is masked after the division, or 0 / 0 would be left.
        value = masked(given, divided(given.xp, value, divisor, given.compute_dtype))
        return rounded_to(given.xp, job.derivative_dtype, value)

    values = job.values(given.xp, *ready)
    return tuple(element(name, value) for name, value in zip(job.outputs, values, strict=True))


def divided(xp: Any, value: Any, divisor: Any, dtype: Any) -> Any:
    """Divide by the denominator in ``dtype``."""
    if divisor is None:
        return value
    # torch.export's open float is no float to Python; torch.compile's has no hasattr.
    if isinstance(divisor, float) or not hasattr(divisor, "dtype"):
        return value / divisor
    return value / cast(xp, divisor, dtype)


def reduced(job: Job, loss: Any, divisor: Any, total: Total) -> Any:
    """Return the loss summed, divided and rounded, unless each element keeps its own."""
    if not job.sums_loss:
        return loss
    xp, axes = job.arguments.xp, job.reduction.axes
    loss = total(xp, loss, axes)
    if divisor is not None:
        loss = loss / divisor
    return rounded_to(xp, job.arguments.result_dtype, xp.squeeze(loss, axis=axes))


def operands(given: Arguments) -> Operands:
    """Return x, targets and weights in the compute dtype, harmless where masked.

    Masked values are replaced before anything is computed from them: a NaN that is
    masked only afterwards comes back in the derivative, as 0 times NaN. One half is
    finite, and certain of nothing, as a logit and as a probability.
    """
    xp, where = given.xp, given.where

    def ready(value: Any, harmless: float) -> Any:
        if value is None or isinstance(value, float):
            return value
        value = cast(xp, value, given.compute_dtype)
        return value if where is None else xp.where(where, value, harmless)

    return (
        ready(given.x, 0.5),
        ready(given.targets, 0.0),
        ready(given.weight, 0.0),
        ready(given.pos_weight, 0.0),
    )


def masked(given: Arguments, value: Any) -> Any:
    """Return zero for what is masked."""
    return value if given.where is None else given.xp.where(given.where, value, 0.0)


def rounded_to(xp: Any, dtype: Any, value: Any) -> Any:
    """Round once, and turn NumPy's 0-d arrays into its scalars, as its reductions do."""
    value = cast(xp, value, dtype)
    return value[()] if value.ndim == 0 and library(xp) == "numpy" else value


def quiet(xp: Any) -> AbstractContextManager[Any]:
    """Keep NumPy silent at log(0) and 0 / 0, which have a documented result here.

    Many libraries compute by NumPy. PyTorch does not, and its compiler would have to leave the
    graph for this.
    """
    return nullcontext() if library(xp) == "torch" else np.errstate(all="ignore")
