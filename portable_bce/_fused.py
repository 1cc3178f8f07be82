"""CuPy: the formula and all around it in one elementwise kernel.

Operation by operation, CuPy launches a kernel and fills an array for each of some twenty
operations. `cupy.fuse` traces the same functions that `_plain` calls into one kernel of as
many outputs as are wanted: it reads each operand once, in its own dtype and shape.

Losses that are all summed to one number never leave that kernel (`_fused_sums`). Sums along
some axes are CuPy's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from portable_bce import _fused_sums, _plain
from portable_bce._fused_sums import KERNELS
from portable_bce._inputs import Inputs
from portable_bce._plain import (
    Formula,
    element_dtypes,
    elements,
    operands,
    reduced,
    shares,
)
from portable_bce._reduce import Reduction, Total, denominator, is_counted


def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns, a Python number taken as an array of it."""
    if not is_fusable(inputs):
        return _plain.evaluate(formula, inputs, reduction, wanted, rounded, total)
    divisor = _divisor(inputs, reduction, total)
    dtypes = element_dtypes(inputs, reduction, wanted, rounded)
    smoothing = inputs.label_smoothing
    kernel = _kernel(inputs.xp, *_bound(formula), smoothing, inputs.work, wanted, dtypes)
    is_whole = _fused_sums.is_whole(inputs, reduction, wanted)
    values = kernel(
        _fused_sums.watched(inputs.xp, inputs.x) if is_whole else inputs.x,
        _argument(inputs.targets, inputs.work),
        _argument(inputs.weight, inputs.work),
        _argument(inputs.pos_weight, inputs.work),
        inputs.where,
        _argument(divisor, inputs.work),
    )
    if isinstance(values, _fused_sums.Launch):
        return _fused_sums.evaluate(values, inputs, wanted, dtypes, divisor)
    return reduced(inputs, reduction, wanted, values, divisor, total)


def _divisor(inputs: Inputs, reduction: Reduction, total: Total) -> Any:
    """Return what `_plain.divisor_of` returns, counted as losses are summed."""
    xp, shape = inputs.xp, inputs.x.shape
    if not is_counted(reduction, shape, inputs.weight, inputs.where):
        return denominator(reduction, xp, inputs.x, inputs.weight, inputs.where, total)
    only = inputs._replace(targets=0.0, pos_weight=None, label_smoothing=0.0, dtype=xp.float64)
    formula = partial(shares, reduction=reduction)
    (count,) = evaluate(formula, only, reduction._replace(name="sum"), ("loss",), False, total)
    kept = tuple(1 if axis in reduction.axes else n for axis, n in enumerate(shape))
    return xp.reshape(count, kept)


def is_fusable(inputs: Inputs) -> bool:
    """Tell whether `cupy.fuse` is there and casts to every dtype: not to bfloat16."""
    dtypes = [inputs.work, *(one.dtype for one in inputs.arrays().values())]
    return hasattr(inputs.xp, "fuse") and all(np.dtype(dtype).kind in "biuf" for dtype in dtypes)


def _bound(formula: Formula) -> tuple[Formula, tuple[tuple[str, Any], ...]]:
    """Return the formula itself and its constants, by which its kernels are kept."""
    if isinstance(formula, partial):
        return formula.func, tuple(formula.keywords.items())
    return formula, ()


@lru_cache(maxsize=KERNELS)
def _kernel(
    xp: Any,
    formula: Formula,
    constants: tuple[tuple[str, Any], ...],
    label_smoothing: float,
    work: Any,
    wanted: tuple[str, ...],
    dtypes: tuple[Any, ...],
) -> Callable[..., tuple[Any, ...]]:
    """Return the fused function of x, targets, weight, pos_weight, where and denominator.

    It is traced and compiled for each set of operands that are there, of dtypes and of
    numbers of dimensions, not for their values. Label smoothing and the eps of `bce` are
    constants: the formula branches on whether they are 0 or None.
    """
    whole = partial(formula, **dict(constants))

    def binary_cross_entropy(x: Any, y: Any, w: Any, p: Any, where: Any, divisor: Any) -> Any:
        given = Inputs(
            xp=xp,
            x=x,
            targets=y,
            weight=w,
            pos_weight=p,
            where=where,
            label_smoothing=label_smoothing,
            eps=None,
            dtype=None,
            work=work,
            device=None,
        )
        return elements(whole, given, operands(given), wanted, dtypes, divisor)

    fused: Callable[..., tuple[Any, ...]] = xp.fuse(binary_cross_entropy)
    return fused


def _argument(value: Any, work: Any) -> Any:
    """Return an argument for the kernel: numbers as scalars of the working dtype.

    Two Python floats meet in float16 inside `cupy.fuse` (14.2), whatever they meet later.
    """
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):  # to infinity, as in CuPy
        return np.dtype(work).type(value)
