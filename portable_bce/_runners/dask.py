"""Dask: one task per chunk, by the row of the chunk's own library, and a tree of sums.

A task evaluates all outputs of its chunk at once and returns (sums, output, ...): exp is
computed once, and if only the loss is computed, the derivative never leaves the worker.
A denominator that has to be counted comes up the same tree as the loss, and the derivatives
are divided by it afterwards. Counting first would keep every chunk of the inputs, and of what
they are computed from, until the last chunk is counted; this keeps the derivative at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from portable_bce._arguments import Arguments
from portable_bce._formula import cotangent_product
from portable_bce._hints import Shape, unknown
from portable_bce._job import Formula, Job, first_argument
from portable_bce._libraries import device_of
from portable_bce._reduction import Reduction, compensated, denominator, two_sum
from portable_bce._runners.plain import counting, divided, masked, quiet, rounded_to

Evaluate: TypeAlias = Callable[[Job], tuple[Any, ...]]
# A sum, and what its additions rounded away.
Sum: TypeAlias = tuple[Any, Any]
# Of the losses, if they are summed, and of what the denominator counts, if it is counted.
Sums: TypeAlias = tuple[Sum, ...]


@dataclass(frozen=True, slots=True)
class Dask:
    """Lazily, the derivatives chunked as ``x`` is; ``evaluate_chunk`` runs within the tasks."""

    evaluate_chunk: Evaluate

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return the graph of each output."""
        job = job._replace(arguments=_aligned(job))
        given = job.arguments
        tasks = _tasks_of(job, self.evaluate_chunk)
        parts = _per_chunk(tasks.of_chunk, given.x, given.result_dtype, *given.arrays().values())
        sums = _tree(parts, given.x, tasks) if job.sums_loss or tasks.is_counted else None
        mask = () if given.where is None else (given.where,)

        def output(index: int, name: str) -> Any:
            if name == "loss" and job.sums_loss:
                loss = _per_chunk(tasks.loss, sums, given.result_dtype, sums)
                # Not squeeze, which Dask's array expressions do not have yet.
                axes = job.reduction.axes
                return loss[tuple(0 if axis in axes else slice(None) for axis in range(loss.ndim))]
            dtype = given.result_dtype if name == "loss" else job.derivative_dtype
            if name != "loss" and tasks.is_counted:
                derivative = partial(tasks.derivative, index)
                return _per_chunk(derivative, given.x, dtype, parts, sums, *mask)
            return _per_chunk(partial(_output, index), given.x, dtype, parts)

        return tuple(output(index, name) for index, name in enumerate(job.outputs, start=1))


@dataclass(frozen=True, slots=True)
class Tasks:
    """What the workers run, and all that they have to know.

    Dask sends it to them and names results by its contents, so ``job`` is without arrays,
    namespace and device. ``names`` are those of the arrays, in the order in which their
    chunks are passed, and ``loose`` says along which axes an array may have one element
    for many. ``divisor`` is the denominator, None if there is none or it is counted.
    """

    job: Job
    evaluate: Evaluate
    names: tuple[str, ...]
    loose: tuple[tuple[bool, ...], ...]
    is_counted: bool
    divisor: float | None

    @property
    def sum_dtype(self) -> Any:
        """The dtype in which sums travel, float64 or wider."""
        compute_dtype = np.dtype(self.job.arguments.compute_dtype)
        return compute_dtype if compute_dtype.itemsize > 8 else np.dtype(np.float64)

    def of_chunk(self, *blocks: Any) -> tuple[Any, ...]:
        """Evaluate a chunk: (its sums, then each output)."""
        xp, job = array_namespace(blocks[0]), self.job
        arrays = dict(zip(self.names, map(xp.asarray, blocks), strict=True))
        device = device_of(arrays["x"])
        given = job.arguments._replace(xp=xp, device=device, **arrays)
        self._check_lengths(given)
        chunk = job._replace(arguments=given)
        is_reduced = job.reduction.name != "none"
        values = self.evaluate(self._unrounded(chunk) if is_reduced else chunk)
        sums: Sums = ()
        if job.sums_loss:
            sums = (self._sum(given, values[job.outputs.index("loss")]),)
        if self.is_counted:
            sums = (*sums, self._sum(given, self._count(chunk)))
        # Nothing is left of a loss that is in the sums.
        is_summed = [name == "loss" and job.sums_loss for name in job.outputs]
        return sums, *(
            None if gone else value for gone, value in zip(is_summed, values, strict=True)
        )

    def loss(self, sums: Sums) -> Any:
        """Return the loss at the root of the tree."""
        xp = array_namespace(sums[0][0])
        with quiet(xp):
            loss = compensated(xp, *sums[0])
            loss = loss / compensated(xp, *sums[1]) if self.is_counted else loss
            return rounded_to(xp, self.job.arguments.result_dtype, loss)

    def derivative(self, index: int, part: tuple[Any, ...], sums: Sums, where: Any = None) -> Any:
        """Return a chunk's derivative divided by what was counted at the root of the tree."""
        xp, given = array_namespace(part[index]), self.job.arguments
        with quiet(xp):
            value = divided(xp, part[index], compensated(xp, *sums[-1]), self.sum_dtype)
            value = masked(given._replace(xp=xp, where=where), value)
            return rounded_to(xp, self.job.derivative_dtype, value)

    def _unrounded(self, chunk: Job) -> Job:
        """Ask for sums that are not rounded to the result yet.

        They are divided by the denominator of all chunks, if it is known, and the derivatives too.
        Derivatives that wait for a denominator keep their range and their digits until then.
        """
        axes = self.job.reduction.axes
        return chunk._replace(
            arguments=chunk.arguments._replace(result_dtype=self.sum_dtype),
            reduction=Reduction("sum" if self.divisor is None else "mean", axes),
            waiting=self.sum_dtype if self.is_counted else self.job.derivative_dtype,
            denominator=self.divisor,
        )

    def _count(self, chunk: Job) -> Any:
        """Return what a chunk adds to the denominator."""
        given, reduction = chunk.arguments, self.job.reduction
        if not chunk.is_counted:  # only a length was not known, and the chunk knows its own
            shape = _summed_shape(given.x, reduction)
            return given.xp.full(shape, denominator(reduction, given.x.shape), dtype=self.sum_dtype)
        return self.evaluate(self._unrounded(counting(chunk, self.sum_dtype)))[0]

    def _sum(self, given: Arguments, total: Any) -> Sum:
        """Return a leaf of the tree: a sum with the axes that it was summed over."""
        return given.xp.reshape(total, _summed_shape(given.x, self.job.reduction)), 0.0

    def _check_lengths(self, given: Arguments) -> None:
        """Require what could not be required before: lengths that were unknown, or wrong."""
        formula, expected = self.job.formula, given.x.shape
        for name, loose in zip(self.names, self.loose, strict=True):
            found = getattr(given, name).shape
            axes = zip(found, expected[len(expected) - len(found) :], loose, strict=True)
            if not all(one == other or (free and one == 1) for one, other, free in axes):
                verb = "have" if name == "targets" else "broadcast to"
                raise ValueError(
                    f"`{_called(name, formula)}` must {verb} the shape of "
                    f"`{_called('x', formula)}`, {expected}; got {found}. These are two chunks, "
                    "whose lengths were not known before: select both alike"
                )


def _tasks_of(job: Job, evaluate: Evaluate) -> Tasks:
    given, arrays = job.arguments, job.arguments.arrays()
    bare = given.mapped(lambda _: None)._replace(xp=None, device=None)
    return Tasks(
        job=job._replace(arguments=bare),
        evaluate=evaluate,
        names=tuple(arrays),
        loose=tuple(_loose(name, array, given.x) for name, array in arrays.items()),
        is_counted=job.is_counted,
        divisor=None if job.is_counted else denominator(job.reduction, given.x.shape),
    )


def _per_chunk(task: Callable[..., Any], like: Any, dtype: Any, *arrays: Any) -> Any:
    """Run a task for each chunk of ``like``, on the chunks of ``arrays`` that lie there."""
    from dask.array import blockwise  # noqa: PLC0415  only here is Dask known to be in use
    from dask.array.utils import meta_from_array  # noqa: PLC0415

    aligned = ((array, range(like.ndim - array.ndim, like.ndim)) for array in arrays)
    return blockwise(
        task,
        range(like.ndim),
        *(value for pair in aligned for value in pair),
        dtype=dtype,
        meta=meta_from_array(like, dtype=dtype),
        align_arrays=False,
        token="bce",
    )


def _tree(parts: Any, x: Any, tasks: Tasks) -> Any:
    """Add up the sums of the parts in Dask's tree, which keeps the axes with length 1."""
    from dask.array import reduction  # noqa: PLC0415
    from dask.array.utils import meta_from_array  # noqa: PLC0415

    return reduction(
        parts,
        chunk=_leaf,
        aggregate=added,
        axis=tasks.job.reduction.axes,
        keepdims=True,
        concatenate=False,
        dtype=tasks.sum_dtype,
        meta=meta_from_array(x, dtype=tasks.sum_dtype),
        name="bce-sums",
    )


def _output(index: int, part: tuple[Any, ...]) -> Any:
    """Return what a task has put under an index."""
    return part[index]


def _leaf(part: tuple[Any, ...], axis: Any, keepdims: bool) -> Sums:
    """Return a task's sums, as the leaf of a tree."""
    sums: Sums = part[0]
    return sums


def added(parts: Any, axis: Any = None, keepdims: bool = True, computing_meta: bool = False) -> Any:
    """Add sums, keeping what rounds away, so that the shape of the tree does not matter."""
    if computing_meta:  # Dask asks what the nodes are like, and passes the answer that `_tree` gave
        return parts
    return tuple(map(_total, zip(*_leaves(parts), strict=True)))


def _leaves(parts: Any) -> Iterator[Sums]:
    """Flatten the nested lists in which Dask passes what it adds at a time."""
    if isinstance(parts, list):
        for part in parts:
            yield from _leaves(part)
    else:
        yield parts


def _total(terms: Iterable[Sum]) -> Sum:
    (high, low), *others = terms
    with quiet(array_namespace(high)):
        for term, lost in others:
            high, rounded_away = two_sum(high, term)
            low = low + lost + rounded_away
    return high, low


def _aligned(job: Job) -> Arguments:
    """Chunk every array as ``x`` is, but for axes along which it is broadcast."""
    given, first = job.arguments, _called("x", job.formula)
    chunked = {
        name: _rechunked(array, given.x, _called(name, job.formula), first)
        for name, array in given.arrays().items()
        if name != "x"
    }
    return given._replace(**chunked)


def _rechunked(array: Any, x: Any, name: str, first: str) -> Any:
    chunks = []
    axes = zip(array.shape, array.chunks, x.chunks[x.ndim - array.ndim :], strict=True)
    for axis, (length, found, expected) in enumerate(axes):
        known = not unknown(length) and not unknown(sum(expected))
        if length == 1 and name != "targets":
            chunks.append((1,))
        elif known or len(found) == len(expected):
            chunks.append(expected if known else found)
        else:
            raise ValueError(
                f"`{name}` must have as many chunks as `{first}` along an axis of unknown length, "
                f"{len(expected)}; got {len(found)} along axis {axis}. Find the lengths by "
                "`compute_chunk_sizes()`"
            )
    return array if tuple(chunks) == array.chunks else array.rechunk(tuple(chunks))


def _loose(name: str, array: Any, x: Any) -> tuple[bool, ...]:
    """Tell along which of its axes an array may have one element for many."""
    if name in ("x", "targets"):
        return tuple(False for _ in array.shape)
    axes = zip(array.shape, array.numblocks, x.numblocks[x.ndim - array.ndim :], strict=True)
    return tuple(length == 1 or blocks == all_blocks == 1 for length, blocks, all_blocks in axes)


def _called(name: str, formula: Formula) -> str:
    """Return the caller's word for an argument."""
    if formula is cotangent_product:
        return {"x": "loss", "weight": "cotangent"}.get(name, name)
    return first_argument(formula) if name == "x" else name


def _summed_shape(x: Any, reduction: Reduction) -> Shape:
    """Return the shape of a sum that keeps its axes, with length 1."""
    return tuple(1 if axis in reduction.axes else n for axis, n in enumerate(x.shape))
