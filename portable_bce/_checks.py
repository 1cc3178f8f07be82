"""What may be passed, and the errors that say so. No value of an array is looked at."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeGuard

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from portable_bce import _dtypes

Shape: TypeAlias = tuple[Any, ...]

FLOATING = ("floating",)
REAL = ("floating", "integer", "bool")
BOOL = ("bool",)


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a real Python number, or a NumPy scalar, which acts as one."""
    kind = type(value)
    return kind is float or (kind is not np.ndarray and isinstance(value, Real))


def library(xp: Any) -> str:
    """Return the name under which users know the library of a namespace."""
    name: str = xp.__name__.removeprefix("array_api_compat.")
    return name


def namespace(name: str, x: Any) -> Any:
    """Return the array API namespace of the first argument."""
    if type(x) is np.ndarray:  # as below, in a tenth of the time
        return array_api_compat.numpy
    if _dtypes.is_torch(x):
        from array_api_compat import torch as xp  # noqa: PLC0415  only here is it known to be there

        return xp
    if not is_array_api_obj(x):
        raise TypeError(
            f"`{name}` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, "
            f"Dask, ...); got {type_name(x)}. Use `numpy.asarray({name})`"
        )
    no_mask(name, x)
    return array_namespace(x)


def no_mask(name: str, x: Any) -> None:
    """Refuse a mask of NumPy's own: sums leave out what it hides, and "mean" would count it."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` must not have a mask of its own; got {type_name(x)}. Use `{name}.data`, "
            f"and `where=~numpy.ma.getmaskarray({name})`"
        )


def same_library(xp: Any, x: Any, name: str, first: str, wanted: str) -> None:
    """Require an array of ``xp``, or of NumPy where ``xp`` traces what NumPy computes."""
    try:
        other = namespace(name, x)
    except TypeError:
        other = None
    traces = other is array_api_compat.numpy and getattr(xp, "ndarray", None) is np.ndarray
    if other is not xp and not traces:
        no_mask(name, x)
        raise TypeError(
            f"`{name}` must be {wanted} of the library of `{first}`, {library(xp)}; got "
            f"{type_name(x)}. Use `{library(xp)}.asarray({name})`"
        )


def same_device(x: Any, name: str, first: str, expected: Any) -> None:
    """Require the device of the first argument, unless either is open."""
    found = _dtypes.device_of(x)
    if expected is not None and found is not None and found != expected:
        raise ValueError(
            f"`{name}` must be on the device of `{first}`, {expected}; got {found}. "
            "Move one of them: nothing is copied between devices here"
        )


_WORDS = {
    FLOATING: ("a real floating dtype", "Convert it, for example to float32"),
    REAL: ("a floating, integer or bool dtype", "Take its real part"),
    BOOL: ("a bool dtype", "Use `{name} != 0`"),
}


def dtype_kind(xp: Any, x: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Require an array whose dtype is of one of the kinds named."""
    if _dtypes.kind(xp, x.dtype) not in allowed:
        wanted, mend = _WORDS[allowed]
        raise TypeError(f"`{name}` must have {wanted}; got {x.dtype}. {mend.format(name=name)}")


def number_or_array(
    xp: Any, value: Any, name: str, first: str, device: Any, kinds: tuple[str, ...]
) -> Any:
    """Return a number as a float; require any other value to be an array beside the first."""
    if is_number(value):
        return float(value)
    wanted = "a bool array" if kinds == BOOL else "a Python scalar or an array"
    same_library(xp, value, name, first, wanted)
    dtype_kind(xp, value, name, kinds)
    same_device(value, name, first, device)
    return value


def same_shape(found: Shape, expected: Shape, name: str, first: str) -> None:
    """Require equal shapes, as far as they are known."""
    if found == expected:  # by far the cheapest question
        return
    if len(found) == len(expected) and all(map(_fits, found, expected)):
        return
    raise ValueError(
        f"`{name}` must have the shape of `{first}`, {_show(expected)}; got {_show(found)}. "
        f"{_mend(name, found, expected)}"
    )


def broadcastable(found: Shape, expected: Shape, name: str, first: str) -> None:
    """Require a shape that broadcasts to ``expected`` without expanding it."""
    aligned = expected[len(expected) - len(found) :]
    if len(found) <= len(expected) and all(
        one == 1 or _fits(one, other) for one, other in zip(found, aligned, strict=True)
    ):
        return
    raise ValueError(
        f"`{name}` must broadcast to the shape of `{first}`, {_show(expected)}, without "
        f"expanding it; got {_show(found)}. {_behind(name, found, expected)}"
    )


def python_number(value: Any, name: str, alternative: str = "") -> None:
    """Require a number that is known now, which True is not meant to be."""
    if not is_number(value) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be a Python number{alternative}; got {type_name(value)}")


def _behind(name: str, found: Shape, expected: Shape) -> str:
    """Say how many axes to add behind, if the lengths are found further to the left."""
    for added in range(len(expected) - len(found), 0, -1):
        start = len(expected) - len(found) - added
        if all(map(_fits, found, expected[start : start + len(found)])):
            return f"Use `{name}[{', '.join([':'] * len(found) + ['None'] * added)}]`"
    return "No axis may be longer than there, or added"


def smoothing(value: Any) -> float:
    """Require a label smoothing, a Python number in [0, 1]."""
    python_number(value, "label_smoothing")
    if not 0 <= value <= 1:
        raise ValueError(
            f"`label_smoothing` must lie in [0, 1]; got {value}. Zero smooths nothing, one "
            "makes every target 0.5"
        )
    return float(value)


def least(value: Any, name: str) -> None:
    """Require a lower bound, a finite Python number that is not negative."""
    python_number(value, name)
    if not 0 <= value < math.inf:
        raise ValueError(
            f"`{name}` must be finite and not negative; got {value}. Zero sets no bound"
        )


def clamp(value: Any, xp: Any, dtype: Any) -> float | None:
    """Require an ``eps`` that keeps probabilities from 0 and from 1 in ``dtype``."""
    if value is None:
        return None
    python_number(value, "eps", " or None")
    least = float(xp.finfo(dtype).eps) / 2
    if not least <= value < 0.5:
        raise ValueError(
            f"`eps` must lie in [{least:.3g}, 0.5) for {dtype}; got {value}. A smaller one would "
            "leave 1 - eps at 1"
        )
    return float(value)


def axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes to reduce over as non-negative numbers in ascending order."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    for one in given:
        if not _is_integer(one):
            raise TypeError(f"`axis` must be an int, a tuple of ints or None; got {axis!r}")
        if not ndim:
            raise ValueError(
                f"`axis` must be None or () for an array without dimensions; got {axis!r}"
            )
        if not -ndim <= one < ndim:
            raise ValueError(
                f"`axis` must lie in [{-ndim}, {ndim}) for {ndim} dimensions; got {axis!r}"
            )
    found = sorted(int(one) % ndim for one in given)
    if len(set(found)) < len(found):
        raise ValueError(f"`axis` must not repeat an axis of {ndim} dimensions; got {axis!r}")
    return tuple(found)


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _fits(one: Any, other: Any) -> bool:
    """Tell whether two lengths agree; one that is unknown (None, NaN) may."""
    return bool(one == other) or unknown(one) or unknown(other)


def unknown(length: Any) -> bool:
    """Tell whether a length is not known before computing (None, or NaN in Dask)."""
    return length is None or bool(length != length)  # math.isnan breaks PyTorch's graphs


def _mend(name: str, found: Shape, expected: Shape) -> str:
    """Say how to index ``found`` into ``expected`` where only axes of length 1 differ."""
    if not found:
        return f"Use `float({name})` for the same one everywhere"
    index: list[str] = []
    rest, goal = list(found), list(expected)
    while rest or goal:
        if rest and goal and _fits(rest[0], goal[0]):
            index.append(":")
            rest, goal = rest[1:], goal[1:]
        elif goal and goal[0] == 1:
            index.append("None")
            goal = goal[1:]
        elif rest and rest[0] == 1:
            index.append("0")
            rest = rest[1:]
        else:
            return "One is needed for each element"
    return f"Use `{name}[{', '.join(index)}]`"


def _show(shape: Shape) -> str:
    """Print a shape as Python does, with ? for lengths that are not known yet."""
    inner = ", ".join("?" if unknown(one) else str(one) for one in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def type_name(x: Any) -> str:
    """Return the name of a value's type, with its module unless that is Python's own."""
    kind = type(x)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
