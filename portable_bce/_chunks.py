"""Dask: one task a chunk, through the row of the chunk's own library, and a tree of sums.

A task evaluates all that is wanted of its chunk at once and yields (sums, derivative, ...):
exp is computed once, and who computes the loss alone drops the derivative where it was made.
A denominator that has to be counted comes up the same tree as the loss, and the derivatives
are divided by it afterwards. Counting first would keep every chunk of the inputs, and of what
they are computed from, until the last one is counted; this keeps the derivative at most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from portable_bce import _checks, _tasks
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula
from portable_bce._reduce import Reduction, Total, denominator, is_counted


def evaluate(
    runner_of: Callable[[Any], Any],
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns, lazily, the derivatives chunked as the logits are.

    ``runner_of`` finds the row of a chunk's namespace, whose ``total`` sums the chunk.
    """
    inputs = _aligned(inputs, formula)
    plan = _planned(inputs, reduction, wanted, rounded, total)
    task = _tasks.Evaluate(runner_of, formula, plan)
    parts = _over(task, inputs.x, inputs.dtype, *inputs.arrays().values())
    sums = _tree(parts, inputs.x, plan) if plan.summing or plan.counting else None
    mask = () if inputs.where is None else (inputs.where,)

    def result(index: int, name: str) -> Any:
        if name == "loss" and plan.summing:
            loss = _over(partial(_tasks.finished, plan), sums, inputs.dtype, sums)
            return inputs.xp.squeeze(loss, axis=reduction.axes)
        dtype = inputs.dtype if name == "loss" or rounded else inputs.work
        if name != "loss" and plan.counting:
            return _over(partial(_tasks.shared, plan, index), inputs.x, dtype, parts, sums, *mask)
        return _over(partial(_tasks.picked, index), inputs.x, dtype, parts)

    return tuple(result(index, name) for index, name in enumerate(wanted, start=1))


def _planned(
    inputs: Inputs, reduction: Reduction, wanted: tuple[str, ...], rounded: bool, total: Total
) -> _tasks.Plan:
    """Return all that the tasks have to know, without an array."""
    x, arrays = inputs.x, inputs.arrays()
    counting = is_counted(reduction, x.shape, inputs.weight, inputs.where)
    return _tasks.Plan(
        inputs=inputs.mapped(lambda _: None)._replace(xp=None),
        names=tuple(arrays),
        loose=tuple(_loose(name, array, x) for name, array in arrays.items()),
        reduction=reduction,
        wanted=wanted,
        rounded=rounded,
        summing="loss" in wanted and reduction.name != "none",
        counting=counting,
        divisor=None if counting else denominator(reduction, None, x, None, None, total),
    )


def _over(task: Callable[..., Any], like: Any, dtype: Any, *arrays: Any) -> Any:
    """Run a task for each chunk of ``like``, on the chunks of ``arrays`` that lie there."""
    from dask.array import blockwise  # noqa: PLC0415  only here is Dask known to be in use
    from dask.array.utils import meta_from_array  # noqa: PLC0415

    aligned = ((array, range(like.ndim - array.ndim, like.ndim)) for array in arrays)
    return blockwise(
        task,
        range(like.ndim),
        *(one for pair in aligned for one in pair),
        dtype=dtype,
        meta=meta_from_array(like, dtype=dtype),
        align_arrays=False,
        token="bce",
    )


def _tree(parts: Any, x: Any, plan: _tasks.Plan) -> Any:
    """Add up the sums of the parts in Dask's tree, which keeps the axes with length 1."""
    from dask.array import reduction  # noqa: PLC0415
    from dask.array.utils import meta_from_array  # noqa: PLC0415

    return reduction(
        parts,
        chunk=_tasks.sums_of,
        aggregate=_tasks.added,
        axis=plan.reduction.axes,
        keepdims=True,
        concatenate=False,
        dtype=plan.wide,
        meta=meta_from_array(x, dtype=plan.wide),
        name="bce-sums",
    )


def _aligned(inputs: Inputs, formula: Formula) -> Inputs:
    """Chunk every operand as the logits are, but for axes along which it is broadcast."""
    first = _tasks.called("x", formula)
    fitted = {
        name: _rechunked(array, inputs.x, _tasks.called(name, formula), first)
        for name, array in inputs.arrays().items()
        if name != "x"
    }
    return inputs._replace(**fitted)


def _rechunked(array: Any, x: Any, name: str, first: str) -> Any:
    chunks = []
    beside = zip(array.shape, array.chunks, x.chunks[x.ndim - array.ndim :], strict=True)
    for axis, (length, found, expected) in enumerate(beside):
        known = not _checks.unknown(length) and not _checks.unknown(sum(expected))
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
    """Tell along which of its axes an operand may have one element for many."""
    if name in ("x", "targets"):
        return tuple(False for _ in array.shape)
    beside = zip(array.shape, array.numblocks, x.numblocks[x.ndim - array.ndim :], strict=True)
    return tuple(length == 1 or one == whole == 1 for length, one, whole in beside)
