"""Blosc2: the row of NumPy, one decompressed chunk after the other, into compressed results.

Blosc2's own lazy expressions are not used: those that name an operand twice come out wrong
(``a * a + blosc2.log1p(a * a)`` is ``log1p(a * a)`` in Blosc2 4.14).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import array_api_compat.numpy
import numpy as np

from portable_bce._arguments import Arguments
from portable_bce._hints import Shape
from portable_bce._job import Job
from portable_bce._reduction import denominator
from portable_bce._runners.dask import Evaluate, Sums, Tasks, added

# From where to where along each axis.
Place: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Blosc2:
    """At once, each chunk by ``evaluate_chunk``; in memory, one chunk of each array at a time."""

    evaluate_chunk: Evaluate

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one compressed array for each output, chunked as ``x`` is."""
        given, axes = job.arguments, job.reduction.axes
        tasks = _tasks_of(job, self.evaluate_chunk)
        # Derivatives that wait for their denominator are not rounded before.
        dtype = tasks.sum_dtype if tasks.is_counted else job.derivative_dtype
        results = {
            name: _empty(given, dtype if name != "loss" else given.result_dtype)
            for name in job.outputs
            if name != "loss" or not job.sums_loss
        }
        sums: dict[Place, Sums] = {}
        for place in _places(given.x):
            part = tasks.of_chunk(*(_block(array, place) for array in given.arrays().values()))
            for name, result in results.items():
                result[_index(place)] = part[1 + job.outputs.index(name)]
            sums[_kept(place, axes)] = added([sums.get(_kept(place, axes), []), part[0]])
        if tasks.is_counted:
            results = {
                name: self._divided(tasks, job, waiting, sums) for name, waiting in results.items()
            }
        if job.sums_loss:
            results["loss"] = _losses(tasks, job, sums)
        return tuple(results[name] for name in job.outputs)

    def readable(self, given: Arguments) -> Arguments:
        """Return the same with NumPy's arrays."""
        return given.mapped(lambda array: array[()])._replace(xp=array_api_compat.numpy)

    def _divided(self, tasks: Tasks, job: Job, waiting: Any, sums: dict[Place, Sums]) -> Any:
        """Return a derivative divided by what was counted."""
        given = job.arguments
        result = _empty(given, job.derivative_dtype)
        for place in _places(given.x):
            mask = None if given.where is None else _block(given.where, place)
            counted = sums[_kept(place, job.reduction.axes)]
            part = (waiting[_index(place)],)
            result[_index(place)] = tasks.derivative(0, part, counted, mask)
        return result


def _tasks_of(job: Job, evaluate: Evaluate) -> Tasks:
    """Return what is done with each chunk, whose operands may have one element for many."""
    given, arrays = job.arguments, job.arguments.arrays()
    bare = given.mapped(lambda _: None)._replace(xp=None, device=None)
    return Tasks(
        job=job._replace(arguments=bare),
        evaluate=evaluate,
        names=tuple(arrays),
        loose=tuple((True,) * array.ndim for array in arrays.values()),
        is_counted=job.is_counted,
        divisor=None if job.is_counted else denominator(job.reduction, given.x.shape),
    )


def _empty(given: Arguments, dtype: Any) -> Any:
    """Return an array of the shape and chunks of ``x``."""
    return given.xp.empty(given.x.shape, dtype=np.dtype(dtype), chunks=given.x.chunks)


def _places(x: Any) -> Iterator[Place]:
    """Yield where each chunk lies; an array without elements has one chunk."""
    axes = zip(x.shape, x.chunks, strict=True)
    yield from product(*(_cuts(length, chunk) for length, chunk in axes))


def _cuts(length: int, chunk: int) -> Place:
    starts = range(0, max(length, 1), max(chunk, 1))
    return tuple((start, min(start + chunk, length)) for start in starts)


def _index(place: Place) -> tuple[slice, ...]:
    return tuple(slice(*cut) for cut in place)


def _block(array: Any, place: Place) -> Any:
    """Return what an operand has for a chunk, in NumPy's memory."""
    axes = zip(array.shape, _index(place)[len(place) - array.ndim :], strict=True)
    return np.asarray(array[tuple(slice(None) if n == 1 else cut for n, cut in axes)])


def _kept(place: Place, axes: tuple[int, ...]) -> Place:
    """Return where the sums of a chunk lie."""
    return tuple(cut for axis, cut in enumerate(place) if axis not in axes)


def _losses(tasks: Tasks, job: Job, sums: dict[Place, Sums]) -> Any:
    """Return the array of the reduced losses."""
    given, axes = job.arguments, job.reduction.axes
    shape: Shape = tuple(n for axis, n in enumerate(given.x.shape) if axis not in axes)
    losses = np.empty(shape, dtype=given.result_dtype)
    for place, total in sums.items():
        part = losses[_index(place)]
        losses[_index(place)] = np.reshape(tasks.loss(total), part.shape)
    return given.xp.asarray(losses)
