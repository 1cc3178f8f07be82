"""CuPy: the formula and all around it in one elementwise kernel; only sums stay outside.

Operation by operation, CuPy launches a kernel and fills an array for each of some twenty
operations. `cupy.fuse` traces the same functions that `_plain` calls into one kernel of as
many outputs as are wanted: it reads each operand once, in its own dtype and shape.

Sums are CuPy's own. A sum fused beside an elementwise output takes another fuser, with a
bug on small grids (cupy#9008), and a fused output has the shape of all (cupy#8198).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from portable_bce import _plain
from portable_bce._formula import with_logits
from portable_bce._inputs import Inputs
from portable_bce._plain import (
    Formula,
    divisor_of,
    element_dtypes,
    elements,
    operands,
    reduced,
)
from portable_bce._probability import with_probabilities
from portable_bce._reduce import Reduction, Total

# Configurations kept; a training needs two or three.
KERNELS = 256


def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns, a Python number taken as an array of it."""
    if not is_fusable(formula, inputs):
        return _plain.evaluate(formula, inputs, reduction, wanted, rounded, total)
    divisor = divisor_of(inputs, reduction, total)
    dtypes = element_dtypes(inputs, reduction, wanted, rounded)
    smoothing = inputs.label_smoothing
    kernel = _kernel(inputs.xp, *_bound(formula), smoothing, inputs.work, wanted, dtypes)
    values = kernel(
        inputs.x,
        _argument(inputs.targets, inputs.work),
        _argument(inputs.weight, inputs.work),
        _argument(inputs.pos_weight, inputs.work),
        inputs.where,
        _argument(divisor, inputs.work),
    )
    return reduced(inputs, reduction, wanted, values, divisor, total)


def is_fusable(formula: Formula, inputs: Inputs) -> bool:
    """Tell whether `cupy.fuse` is there, and traces the formula and casts to every dtype.

    Not to bfloat16; and not what Dask's tasks pass for a formula to count with.
    """
    if _bound(formula)[0] not in (with_logits, with_probabilities):
        return False
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
