"""NumPy: the compiled kernels, else the plain formula over slices that stay in the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from portable_bce import _kernels
from portable_bce._formula import (
    cotangent_product,
    denominator_terms,
    with_logits,
    with_probabilities,
)
from portable_bce._job import Job, Runner
from portable_bce._reduction import denominator, pairwise_total
from portable_bce._runners.plain import (
    Plain,
    counting,
    divisor_of,
    elements,
    operands,
    reduced,
    widened,
)

if TYPE_CHECKING:
    from portable_bce._kernels._compiled import Level

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)

# What the module calls a formula, by the formula and whether probabilities are clamped.
_NAMES = {
    (with_logits, False): "with_logits",
    (with_probabilities, False): "with_probabilities",
    (with_probabilities, True): "with_clamped_probabilities",
    (cotangent_product, False): "cotangent_product",
    (denominator_terms, False): "denominator_terms",
}
# (formula, whether it clamps, outputs) -> the numbers by which the module knows them
_KERNELS = {
    (*formula, outputs): (_kernels.formulas.index(name), number)
    for formula, name in (_NAMES.items() if _kernels.levels else ())
    for number, outputs in enumerate(_kernels.outputs)
}
_ZERO = np.zeros((), F64)
# Bits that say which arrays hold bfloat16 as integers: operands from the first bit on, and results.
RESULT = 6


def call(
    level: Level,
    job: Job,
    arrays: tuple[Any, ...],
    divisor: Any,
    results: list[Any],
    bfloat16: int = 0,
    threads: int = 1,
) -> bool:
    """Fill the results of a job; return False if an operand has a dtype that no kernel reads.

    ``arrays`` are x, targets, weight, pos_weight and mask: numbers, or what exports a buffer.
    """
    given = job.arguments
    formula, outputs = _KERNELS[job.formula, given.eps is not None, job.outputs]
    x, targets, weight, pos_weight, where = arrays
    first, second = results if len(results) == 2 else (results[0], None)
    return level.evaluate(
        formula,
        outputs,
        given.compute_dtype.itemsize == 8,
        x,
        targets,
        weight,
        pos_weight,
        where,
        given.label_smoothing,
        given.eps,
        divisor,
        first,
        second,
        _summed(job),
        bfloat16,
        threads,
    )


def _summed(job: Job) -> int | None:
    """Return the axes over which losses are summed, one bit each, or None."""
    axes = job.reduction.axes
    if not job.sums_loss:
        return None
    return 1 if axes == (0,) else sum([1 << axis for axis in axes])


def divisor_for(
    level: Level, job: Job, arrays: tuple[Any, ...], bfloat16: int = 0, threads: int = 1
) -> Any:
    """Return the denominator of a job: a number, or a float64 array that broadcasts.

    None if it is counted from an operand whose dtype no kernel reads.
    """
    name, axes = job.reduction
    known = 1.0 if name in ("none", "sum") else job.denominator
    if known is not None:
        return known
    x, _, weight, _, where = arrays
    shape = x.shape
    # `_reduction.is_counted` and `denominator` say the same of lengths that may be unknown.
    if where is None and (name == "mean" or weight is None):
        every = len(axes) == len(shape)
        return float(x.size if every else math.prod([shape[axis] for axis in axes]))
    if name == "mean":
        weight = None
    if weight is None and len(axes) == len(shape) and where.shape == shape:
        return float(np.count_nonzero(where))
    # Axes along which nothing differs are counted once, and multiplied.
    once = [axis for axis in axes if _are_constant((weight, where), axis - len(shape))]
    total = np.empty([n for axis, n in enumerate(shape) if axis not in axes], F64)
    # No logit is read, so one zero is broadcast in their place.
    zeros = np.broadcast_to(_ZERO, [1 if axis in once else n for axis, n in enumerate(shape)])
    terms = counting(job, F64)
    if not call(level, terms, (zeros, 0.0, weight, None, where), 1.0, [total], bfloat16, threads):
        return None
    total *= math.prod([shape[axis] for axis in once])
    if not total.ndim:
        return float(total)
    return total.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])


def _are_constant(arrays: tuple[Any, ...], axis: int) -> bool:
    """Tell whether operands have one element along an axis, counted from the last."""
    return all(
        array is None or isinstance(array, float) or -axis > array.ndim or array.shape[axis] == 1
        for array in arrays
    )


@dataclass(frozen=True, slots=True)
class Compiled:
    """The kernels of one instruction set."""

    level: Level

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one array for each output of the job."""
        given, level = job.arguments, self.level
        if given.compute_dtype not in _COMPUTED:
            return SLICED.evaluate(job)
        if type(given.x) is not np.ndarray:  # a pullback passes the scalar of a loss of one number
            job = job._replace(arguments=given._replace(x=np.asarray(given.x)))
            given = job.arguments
        arrays = (given.x, given.targets, given.weight, given.pos_weight, given.where)
        divisor = divisor_for(level, job, arrays)
        results = empties(job)
        if divisor is None or not call(level, job, arrays, divisor, results):
            arrays, bits = readable(arrays)
            filled, result_bits = readable(tuple(results))
            bits |= result_bits << RESULT
            divisor = divisor_for(level, job, arrays, bits)
            if divisor is None or not call(level, job, arrays, divisor, list(filled), bits):
                return SLICED.evaluate(job)
        if results[0].ndim:
            return tuple(results)
        return tuple([result if result.ndim else result[()] for result in results])


def empties(job: Job) -> list[Any]:
    """Return an array for each output: elementwise ones lie in memory as the logits do."""
    x, axes, dtype = job.arguments.x, job.reduction.axes, job.arguments.result_dtype
    if not job.sums_loss:
        derivative = job.derivative_dtype
        return [np.empty_like(x, dtype if one == "loss" else derivative) for one in job.outputs]
    kept = () if len(axes) == x.ndim else [n for axis, n in enumerate(x.shape) if axis not in axes]
    sums = np.empty(kept, dtype)
    return [sums, np.empty_like(x, job.derivative_dtype)] if len(job.outputs) == 2 else [sums]


# In long double there are no kernels.
_COMPUTED = frozenset([F32, F64])


def readable(arrays: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
    """Return arrays as kernels can read them, and which of them hold bfloat16 by its bits."""
    bits, views = 0, list(arrays)
    for place, array in enumerate(arrays):
        if array is None or isinstance(array, float):
            continue
        if array.dtype.name == "bfloat16":
            bits |= 1 << place
            views[place] = np.asarray(array).view(np.uint16)
        elif array.dtype.char not in "?bBhHiIlLqQefd":
            with np.errstate(all="ignore"):
                views[place] = array.astype(F64)  # long double, or a dtype of ml_dtypes
    return tuple(views), bits


@dataclass(frozen=True, slots=True)
class Sliced:
    """The plain formula over slices, whose intermediate results stay in the cache.

    ``elements`` is the length of a slice of float32; one of float64 has half as many. Values
    are those of whole arrays to the last bit; a sum may round otherwise.
    """

    elements: int

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one array for each output of the job."""
        job = widened(job)
        given, axes = job.arguments, job.reduction.axes
        shape = given.x.shape
        size = self.elements * 4 // np.dtype(given.compute_dtype).itemsize
        if given.x.size <= size or not shape:
            return _PLAIN.evaluate(job)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        axis = max(kept or axes, key=lambda one: shape[one])
        step = max(1, size * shape[axis] // given.x.size)
        cuts = [slice(start, start + step) for start in range(0, shape[axis], step)]
        job = job._replace(arguments=given.mapped(partial(_broadcast, shape=shape)))
        return _along_kept_axis(job, axis, cuts) if kept else _to_one_sum(job, axis, cuts)


def _broadcast(array: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(np.asarray(array), shape)


def _part(job: Job, axis: int, cut: slice) -> Job:
    index = (slice(None),) * axis + (cut,)
    return job._replace(arguments=job.arguments.mapped(lambda array: array[index]))


def _along_kept_axis(job: Job, axis: int, cuts: list[slice]) -> tuple[Any, ...]:
    """Evaluate slices along an axis that no sum runs along."""
    results = empties(job)
    before = sum(one < axis for one in job.reduction.axes)  # axes that a loss does not have
    for cut in cuts:
        for name, result, value in zip(
            job.outputs, results, _PLAIN.evaluate(_part(job, axis, cut)), strict=True
        ):
            ahead = axis - before if name == "loss" else axis
            result[(slice(None),) * ahead + (cut,)] = value
    return tuple(results)


def _to_one_sum(job: Job, axis: int, cuts: list[slice]) -> tuple[Any, ...]:
    """Evaluate slices of an array whose losses are all summed."""
    with np.errstate(all="ignore"):
        divisor = job.denominator  # of a larger array, of which this is a chunk
        if divisor is None:
            divisor = denominator(job.reduction, job.arguments.x.shape)
        if job.denominator is None and job.is_counted:
            counts = [divisor_of(_part(job, axis, cut), pairwise_total) for cut in cuts]
            divisor = np.sum(np.stack(counts), axis=0)
        results, sums = empties(job), []
        for cut in cuts:
            part = _part(job, axis, cut)
            for name, result, value in zip(
                job.outputs, results, elements(part, operands(part.arguments), divisor), strict=True
            ):
                if name == "loss":
                    sums.append(pairwise_total(part.arguments.xp, value, job.reduction.axes))
                else:
                    result[(slice(None),) * axis + (cut,)] = value
        if sums:
            results[0] = reduced(job, np.concatenate(sums, axis), divisor, pairwise_total)
        return tuple(results)


_PLAIN = Plain(pairwise_total)
# Slices stay below 128 KiB, from which on glibc may map each temporary afresh.
SLICED: Runner = Sliced(2**14 - 2**9)


def compiled(level: Level) -> Runner:
    """Return the runner of a level of `_kernels.levels`."""
    return Compiled(level)


RUNNER = compiled(_kernels.levels[0]) if _kernels.levels else SLICED
