"""none, sum, mean, weighted_mean: one denominator for the loss and its derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from portable_bce import _hints, _libraries

Name: TypeAlias = Literal["none", "sum", "mean", "weighted_mean"] | None
# (xp, array, axes) -> the sum over the axes, which are kept with length 1
Total: TypeAlias = Callable[[Any, Any, tuple[int, ...]], Any]

NAMES = ("none", "sum", "mean", "weighted_mean")


class Reduction(NamedTuple):
    """A reduction by name, over axes that are known to exist."""

    name: str
    axes: tuple[int, ...]


# Elements that are added one by one.
_FEW = 8
# The most common reductions, made once.
_OVER_ALL = {
    (name, ndim): Reduction(name, () if name == "none" else tuple(range(ndim)))
    for name in NAMES
    for ndim in range(5)
}


def reduction_of(name: Any, axis: Any, ndim: int) -> Reduction:
    """Check ``reduction`` and ``axis`` against each other and the number of dimensions."""
    if axis is None and isinstance(name, str) and (name, ndim) in _OVER_ALL:
        return _OVER_ALL[name, ndim]
    name = check_name(name)
    if name == "none" and axis is not None:
        raise ValueError(
            f"`axis` needs a reduction; got axis={axis!r} with reduction='none'. Leave it out, "
            "or reduce by 'sum', 'mean' or 'weighted_mean'"
        )
    return Reduction(name, () if name == "none" else axes(axis, ndim))


def check_name(name: Any) -> str:
    """Require the name of a reduction; None is another word for "none"."""
    if name is None:
        return "none"
    if not isinstance(name, str):
        raise TypeError(f"`reduction` must be a string or None; got {name!r}")
    if name not in NAMES:
        raise ValueError(
            f"`reduction` must be 'none' (or None), 'sum', 'mean' or 'weighted_mean'; got {name!r}"
        )
    return name


def axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes to reduce over as non-negative numbers in ascending order."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    for one in given:
        if not isinstance(one, Integral) or isinstance(one, bool):
            mend = ". Use `tuple(axis)`" if type(axis) is list else ""
            raise TypeError(
                "`axis` must be an int, a tuple of ints or None; got "
                f"{_hints.type_name(one) if _hints.is_tracer(one) else repr(axis)}"
                f"{mend or _hints.to_number(one, 'axis', 'int')}"
            )
        if not ndim:
            raise ValueError(
                f"`axis` must be None or () for an array without dimensions; got {axis!r}"
            )
        if not -ndim <= int(one) < ndim:
            raise ValueError(
                f"`axis` must lie in [{-ndim}, {ndim}) for {ndim} dimensions; got {axis!r}"
            )
    found = sorted(int(one) % ndim for one in given)
    if len(set(found)) < len(found):
        raise ValueError(f"`axis` must not repeat an axis of {ndim} dimensions; got {axis!r}")
    return tuple(found)


def denominator(reduction: Reduction, shape: tuple[Any, ...]) -> float | None:
    """Return what a sum is divided by if only the shape decides, None if it is not divided."""
    if reduction.name in ("none", "sum"):
        return None
    # Not float(): it would fix a length that torch.export keeps open.
    length: float = 1.0 * math.prod([shape[axis] for axis in reduction.axes])
    return length


def is_counted(reduction: Reduction, x: Any, weight: Any, where: Any) -> bool:
    """Tell whether the denominator depends on more than the shape."""
    if reduction.name in ("none", "sum"):
        return False
    weighted = reduction.name == "weighted_mean" and weight is not None
    unknown = any(_hints.unknown(x.shape[axis]) for axis in reduction.axes)
    is_jagged = getattr(x, "is_nested", False)  # PyTorch has no number for the length of its rows
    return where is not None or weighted or unknown or is_jagged


def widest(xp: Any, device: Any) -> Any:
    """Return float64 where the device has one, else None."""
    return xp.float64 if _libraries.has_float64(xp, device) else None


def library_total(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Sum by the library, in float64 where there is one.

    For libraries that sum in trees or cascades themselves (PyTorch, CuPy, XLA).
    """
    wide = widest(xp, _libraries.device_of(x)) if _libraries.bits(xp, x.dtype) < 64 else None
    dtype = wide or x.dtype
    if len(axes) == x.ndim and getattr(x, "is_nested", False):
        # PyTorch differentiates no other sum of a jagged tensor.
        return xp.reshape(xp.sum(x, dtype=dtype), (1,) * x.ndim)
    return xp.sum(x, axis=axes, keepdims=True, dtype=dtype) if axes else x


def pairwise_total(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Sum wider than ``x`` where that is possible, else in pairs, whatever the library does.

    Adding n numbers one by one loses up to n roundings, 10^8 float64 losses eight digits;
    in pairs it is log2(n) (Higham, The accuracy of floating point summation, 1993). NumPy
    sums in pairs along the last axis only.
    """
    wide = widest(xp, _libraries.device_of(x))
    is_narrow = wide is not None and _libraries.bits(xp, x.dtype) < 64
    if isinstance(x, np.ndarray) and len(axes) == 1 < x.ndim and 0 < x.shape[axes[0]] <= _FEW:
        return _columns_added(x, axes[0], wide if is_narrow else x.dtype)
    if is_narrow:
        return library_total(xp, x, axes)
    for axis in axes:
        x = _halve(xp, x, axis)
    return x


def _columns_added(x: Any, axis: int, dtype: Any) -> Any:
    """Sum a short axis by additions: NumPy's own sum takes ten times as long along it."""
    before = (slice(None),) * axis
    first, *others = (x[(*before, slice(i, i + 1))] for i in range(x.shape[axis]))
    total = first.astype(dtype)
    for other in others:
        total += other
    return total


def _halve(xp: Any, x: Any, axis: int) -> Any:
    """Add the halves of an axis to each other until few elements are left."""
    before = (slice(None),) * axis
    odd = []
    while not _hints.unknown(x.shape[axis]) and x.shape[axis] > _FEW:
        half = x.shape[axis] // 2
        if x.shape[axis] % 2:
            odd.append(x[(*before, slice(2 * half, None), ...)])
        x = x[(*before, slice(0, half), ...)] + x[(*before, slice(half, 2 * half), ...)]
    x = xp.sum(x, axis=axis, keepdims=True, dtype=x.dtype)
    return sum(odd, start=x)


def two_sum(one: Any, other: Any) -> tuple[Any, Any]:
    """Return a sum and what rounding took from it, of arrays or numbers of any library.

    Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B.
    """
    total = one + other
    added = total - one
    return total, (one - (total - added)) + (other - added)


def compensated(xp: Any, high: Any, low: Any) -> Any:
    """Give a sum back what rounding took; not an infinite sum, where that is NaN."""
    return xp.where(xp.isfinite(high), high + low, high)
