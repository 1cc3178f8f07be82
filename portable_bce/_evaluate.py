"""The table of libraries: which runner evaluates a job.

A library without a row takes the plain one. Every row gives the same numbers, to what the
library's exp and log1p allow.
"""

from __future__ import annotations

from typing import Any

from portable_bce._arguments import Arguments
from portable_bce._formula import cotangent_product
from portable_bce._job import Job, Runner
from portable_bce._libraries import Standard, library
from portable_bce._reduction import Reduction, library_total, pairwise_total
from portable_bce._runners import blosc2, cupy, dask, mlx, numpy
from portable_bce._runners.plain import Plain


def evaluate(job: Job) -> tuple[Any, ...]:
    """Return one array for each output of a job, by the runner of its library."""
    return runner_of(job.arguments.xp).evaluate(job)


def runner_of(xp: Any) -> Runner:
    """Return the runner of an array namespace."""
    name = library(xp)
    return _torch() if name == "torch" else _RUNNERS.get(name, _ANY)


def readable(given: Arguments) -> Arguments:
    """Return arguments whose values can be read by the functions of the standard."""
    change = getattr(runner_of(given.xp), "readable", None)
    return given if change is None else change(given)


def scaled(
    arguments: Arguments, derivative: Any, cotangent: Any, dtype: Any, *, sums: bool = False
) -> Any:
    """Return a pullback's product in ``dtype``, masked; summed to one number if asked."""
    given = arguments._replace(
        x=derivative,
        targets=0.0,
        weight=cotangent,
        pos_weight=None,
        label_smoothing=0.0,
        eps=None,
        result_dtype=dtype,
    )
    axes = tuple(range(derivative.ndim))
    reduction = Reduction("sum", axes) if sums else Reduction("none", ())
    return evaluate(Job(cotangent_product, given, reduction, ("loss",)))[0]


def _torch() -> Runner:
    from portable_bce._runners import torch  # noqa: PLC0415  only here is PyTorch in use

    return torch.RUNNER


_ANY = Plain(pairwise_total, Standard)
_RUNNERS: dict[str, Runner] = {
    "numpy": numpy.RUNNER,
    "jax.numpy": Plain(library_total),
    "cupy": cupy.RUNNER,
    "dask.array": dask.Dask(evaluate),
    "blosc2": blosc2.Blosc2(evaluate),
    "cubed": Plain(library_total, Standard),  # whose sums are trees
    "mlx.core": mlx.RUNNER,
}
