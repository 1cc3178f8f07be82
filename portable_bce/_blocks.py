"""NumPy: the formula in blocks that stay in a core's cache, whatever the layout.

Operation by operation over whole arrays, every intermediate result travels to memory and
back, and its fresh pages cost as much as the arithmetic. A block is a box of the array:
broadcasting, casting and strides are left to NumPy, and nothing but the results is as long
as the input. What fits into one block is evaluated as it lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portable_bce import _one_block, _plain
from portable_bce._cuts import Cut, cuts, in_terms, logarithms
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula, element_dtypes
from portable_bce._reduce import Reduction, Total, counted, denominator, is_counted
from portable_bce._sums import WORTHWHILE, Sum

# Of one operand in the working dtype; a dozen intermediate results share the cache with it.
BLOCK_BYTES = 2**19
# Below 128 KiB, from which on glibc maps every temporary afresh in the workers of
# dask.distributed: they set MALLOC_TRIM_THRESHOLD_, which ends the adaptation of that limit.
# There larger blocks cost twice as much, elsewhere these cost a fifth more (docs/scale.md).
BLOCK_BYTES_IN_TASKS = 2**17 - 2**12


class _Call(NamedTuple):
    """What stays the same from block to block."""

    formula: Formula
    inputs: Inputs
    asked: tuple[str, ...]
    divisor: Any  # of derivatives: None, or a number or an array of the working dtype
    loss: Sum | None  # of the losses, if they are reduced


@np.errstate(all="ignore")  # log(0) and 0 / 0 have a documented result here
def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
    block_bytes: int | None = None,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns: element by element to the last bit."""
    if not inputs.x.ndim:
        return _plain.evaluate(formula, inputs, reduction, wanted, rounded, total)
    if type(inputs.x) is not np.ndarray:  # np.empty_like would make a memmap without a file
        inputs = inputs.mapped(np.asarray)
    x = inputs.x
    work = np.dtype(inputs.work)
    size = max(1, (block_bytes or BLOCK_BYTES) // work.itemsize)
    whole = x.size <= size
    if whole and _one_block.takes(inputs, reduction):
        return _one_block.evaluate(formula, inputs, reduction, wanted, rounded)
    if not whole:
        inputs = inputs.mapped(lambda one: np.broadcast_to(one, x.shape))
    divisor = _denominator(inputs, reduction, size, total)
    loss = Sum(inputs, reduction, total) if "loss" in wanted and reduction.name != "none" else None
    asked = in_terms(formula, inputs, wanted) if loss and loss.everything else wanted
    call = _Call(formula, inputs, asked, _rounded(divisor, work), loss)
    dtypes = element_dtypes(inputs, reduction, wanted, rounded)
    results: list[Any]
    if whole:
        values = zip(_block(call, ()), dtypes, strict=True)
        results = [one if one is None else one.astype(to, copy=False) for one, to in values]
    else:
        kinds = zip(wanted, dtypes, strict=True)
        results = [None if loss and n == "loss" else np.empty_like(x, to) for n, to in kinds]
        for cut in cuts(x.shape, x.strides, size):
            for result, value in zip(results, _block(call, cut), strict=True):
                if value is not None:
                    result[cut] = value
    if loss:
        results[wanted.index("loss")] = loss.divided(divisor, inputs.dtype)
    return tuple(results)


def _block(call: _Call, cut: Cut) -> list[Any]:
    """Return the values of a block, derivatives shared out; None for losses, added up."""
    formula, inputs, asked, _, _ = call
    operands, zeroed = _operands(inputs, cut)
    known = _one_block.finite(formula, asked, operands[0])
    values = formula(inputs.xp, asked, *operands, inputs.label_smoothing, **known)
    return [
        _ready(call, cut, name, value, zeroed) for name, value in zip(asked, values, strict=True)
    ]


def _ready(call: _Call, cut: Cut, name: str, value: Any, zeroed: Callable[[Any], Any]) -> Any:
    """Share a derivative out, or add losses up."""
    _, _, _, divisor, loss = call
    if loss is not None and name == "terms":
        loss.add(cut, zeroed(value[0]))
        for terms in logarithms(np, zeroed(value[1]).ravel(order="K"), WORTHWHILE):
            loss.add(cut, terms)
        return None
    if divisor is not None and name != "loss":
        value = value / _place(divisor, cut)
    value = zeroed(value)
    if loss is None or name != "loss":
        return value
    loss.add(cut, value)
    return None


def _operands(inputs: Inputs, cut: Cut) -> tuple[tuple[Any, ...], Callable[[Any], Any]]:
    """Return a block of x, targets and weights, zero where masked, and what zeroes there."""
    zeroed = _zeroed(inputs, cut)

    def ready(value: Any) -> Any:
        if value is None or isinstance(value, float):
            return value
        return zeroed(value[cut].astype(inputs.work, copy=False))

    x, y, w, p = inputs.x, inputs.targets, inputs.weight, inputs.pos_weight
    return (ready(x), ready(y), ready(w), ready(p)), zeroed


def _zeroed(inputs: Inputs, cut: Cut) -> Callable[[Any], Any]:
    """Return what sets arrays to zero where masked, before and after the formula.

    By their bits: np.where takes several times as long as an exp when it cannot foresee the
    mask, and a product with 0 would let NaN through.
    """
    if inputs.where is None:
        return _kept
    where = inputs.where[cut]
    integer = {4: np.int32, 8: np.int64}.get(np.dtype(inputs.work).itemsize)
    if integer is None:  # long double
        return lambda value: np.where(where, value, value.dtype.type(0))
    bits = -where.astype(integer)
    return lambda value: (value.view(integer) & bits).view(value.dtype)


def _kept(value: Any) -> Any:
    return value


def _denominator(inputs: Inputs, reduction: Reduction, size: int, total: Total) -> Any:
    if not is_counted(reduction, inputs.x.shape, inputs.weight, inputs.where):
        return denominator(reduction, inputs.xp, inputs.x, inputs.weight, inputs.where, total)
    found = Sum(inputs, reduction, total)
    bare = inputs._replace(targets=None, pos_weight=None)
    for cut in [()] if inputs.x.size <= size else cuts(inputs.x.shape, inputs.x.strides, size):
        (x, _, weight, _), zeroed = _operands(bare, cut)
        found.add(cut, zeroed(counted(reduction, inputs.xp, inputs.xp.ones_like(x), weight, None)))
    return found.result()


def _rounded(divisor: Any, work: Any) -> Any:
    """Return the divisor as derivatives take it; a Python number takes their dtype itself."""
    return divisor.astype(work) if isinstance(divisor, np.generic | np.ndarray) else divisor


def _place(divisor: Any, cut: Cut) -> Any:
    """Return what a block's derivatives are divided by."""
    if not isinstance(divisor, np.ndarray) or cut == ():
        return divisor
    lengths = zip(divisor.shape, cut, strict=True)
    return divisor[tuple([slice(None) if n == 1 else one for n, one in lengths])]
