"""What may be passed: the arguments as one value, and the errors that say what is wrong.

No value of an array is read, and nothing is broadcast or computed. Subclasses of NumPy's arrays,
which may bring operators of their own, are taken as base arrays: here, once.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeGuard

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from portable_bce import _hints, _libraries
from portable_bce._hints import Shape, show, type_name
from portable_bce._libraries import library

FLOATING = ("floating",)
REAL = ("floating", "integer", "bool")
BOOL = ("bool",)
# The dtypes in which NumPy's most common ones are computed.
_NUMPY = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}
# Below it lie the numbers of NumPy's own dtypes. A dtype of ml_dtypes calls itself floating, too.
_OWN = 24


class Arguments(NamedTuple):
    """Checked arguments, as they came, but for subclasses of NumPy's arrays.

    Targets, weights and mask may be Python numbers, shorter than ``x`` or of another dtype;
    runners decide when to cast and broadcast them. ``result_dtype`` is that of ``x``.
    """

    xp: Any
    x: Any
    targets: Any
    weight: Any
    pos_weight: Any
    where: Any
    label_smoothing: float
    eps: float | None
    result_dtype: Any
    compute_dtype: Any
    device: Any

    def arrays(self) -> dict[str, Any]:
        """Return the operands that are arrays, by name."""
        operands = {name: getattr(self, name) for name in OPERANDS}
        return {
            name: value for name, value in operands.items() if not isinstance(value, float | None)
        }

    def mapped(self, change: Callable[[Any], Any]) -> Arguments:
        """Return the same with every array changed."""
        return self._replace(**{name: change(value) for name, value in self.arrays().items()})


OPERANDS = ("x", "targets", "weight", "pos_weight", "where")


def check_arguments(
    first: str,
    x: Any,
    targets: Any,
    weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    where: Any = None,
    compute_dtype: Any = None,
    eps: float | None = None,
) -> Arguments:
    """Check everything that can be checked without reading a value.

    ``first`` is what the caller's first argument is called, "logits" or "probabilities".
    """
    is_numpy = type(x) is np.ndarray  # the questions below, answered in less time
    is_torch = not is_numpy and _libraries.is_torch(x)
    xp = array_api_compat.numpy if is_numpy else namespace(first, x)
    if not is_numpy and isinstance(x, (np.ndarray, np.generic)):
        x = np.asarray(x)
    device = "cpu" if is_numpy else x.device if is_torch else _libraries.device_of(x)
    dtype, shape = x.dtype, x.shape
    working = _NUMPY.get(dtype) if is_numpy and compute_dtype is None else None
    if working is None:
        dtype_kind(xp, x, first, FLOATING)
        working = working_dtype(xp, dtype, device, compute_dtype)
    if is_torch and type(targets) is type(x):
        check_layout(xp, targets, "targets")
        dtype_kind(xp, targets, "targets", REAL)
        if targets.device != device:
            same_device(targets, "targets", first, device)
    elif not (
        is_numpy
        and type(targets) is np.ndarray
        and targets.dtype.kind in "fiub"
        and targets.dtype.num < _OWN
    ):
        targets = number_or_array(xp, targets, "targets", first, device, REAL, shape)
    if type(targets) is not float and targets.shape != shape:
        same_shape(targets.shape, shape, "targets", first, xp)
    if weight is not None:
        weight = _factor(xp, weight, "weight", first, shape, device, REAL)
    if pos_weight is not None:
        pos_weight = _factor(xp, pos_weight, "pos_weight", first, shape, device, REAL)
    if where is not None:
        where = _mask(xp, where, first, shape, device)
    if type(label_smoothing) is not float or label_smoothing != 0:  # an array is no truth value
        label_smoothing = smoothing(label_smoothing)
    if eps is not None:
        eps = clamp(eps, xp, working)
    return Arguments(
        xp, x, targets, weight, pos_weight, where, label_smoothing, eps, dtype, working, device
    )


def _factor(
    xp: Any, value: Any, name: str, first: str, shape: Shape, device: Any, kinds: tuple[str, ...]
) -> Any:
    value = number_or_array(xp, value, name, first, device, kinds, shape)
    if type(value) is not float:
        broadcastable(value.shape, shape, name, first)
    return value


def _mask(xp: Any, value: Any, first: str, shape: Shape, device: Any) -> Any:
    if is_number(value) and not isinstance(value, np.bool_):
        raise TypeError(
            f"`where` must be a bool array of the library of `{first}`, {library(xp)}; got "
            f"{type(value).__name__}. Leave it out to keep everything"
        )
    return _factor(xp, value, "where", first, shape, device, BOOL)


def working_dtype(xp: Any, dtype: Any, device: Any, asked: Any = None) -> Any:
    """Return the dtype to compute in: float32 for halves, else the caller's, or ``asked``."""
    own = _libraries.native(xp.float32 if _libraries.bits(xp, dtype) < 32 else dtype)
    if asked is None:
        return own
    name = library(xp)
    wide = (
        _libraries.by_name(xp, asked, dtype) if isinstance(asked, str) or asked is float else asked
    )
    if not _libraries.akin(wide, dtype) or _libraries.kind(xp, wide) != "floating":
        best = "float64" if _libraries.has_float64(xp, device) else "float32"
        raise TypeError(
            f"`compute_dtype` must be a real floating dtype of {name}, such as {name}.{best}; "
            f"got {asked!r}"
        )
    if _libraries.bits(xp, wide) < _libraries.bits(xp, own):
        raise TypeError(
            f"`compute_dtype` must be at least as precise as {own}, in which {dtype} is computed "
            f"anyway; got {asked!r}"
        )
    if wide != own and not _libraries.has(xp, wide, device):
        raise TypeError(
            f"`compute_dtype` must be a dtype that {name} has on this device; got {asked!r}. "
            "On JAX, enable x64"
        )
    return _libraries.native(wide)


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a real Python number, or a NumPy scalar, which acts as one."""
    kind = type(value)
    return kind is float or (
        isinstance(value, Real | np.bool_) and not isinstance(value, np.timedelta64)
    )


def namespace(name: str, x: Any) -> Any:
    """Return the array API namespace of the first argument."""
    xp = _namespace(x)
    if xp is None:
        raise TypeError(
            f"`{name}` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, "
            f"Dask, ...); got {type_name(x)}. "
            f"{_hints.to_array(np, x, name, name, FLOATING, None, None)}"
        )
    if is_masked(x):
        refuse_mask(xp, x, name, name, FLOATING, None)
    if library(xp) == "torch":
        check_layout(xp, x, name)
    return xp


def _namespace(x: Any) -> Any:
    """Return the namespace of an array, None for anything else."""
    if type(x) is np.ndarray:  # as below, in a tenth of the time
        return array_api_compat.numpy
    if _libraries.is_torch(x):
        from array_api_compat import torch  # noqa: PLC0415  only here is it known to be there

        return torch
    if isinstance(x, np.ndarray):  # numpy.matrix, too, which some versions of the library refuse
        return array_api_compat.numpy
    if isinstance(x, type) or not is_array_api_obj(x):
        return None
    return array_namespace(x)


def check_layout(torch: Any, x: Any, name: str) -> None:
    """Refuse tensors that PyTorch's own operations take some of the time, or not at all."""
    if type(x).__name__ == "MaskedTensor":
        raise TypeError(
            f"`{name}` must be a tensor without a mask of its own; got {type_name(x)}. Use "
            f"`{name}.get_data()` and `where={name}.get_mask()`"
        )
    if x.layout is torch.strided:
        if x.is_nested:
            raise TypeError(
                f"`{name}` must be a dense or a jagged tensor; got a nested one of layout "
                f"torch.strided. Use `torch.nested.as_nested_tensor({name}.unbind(), "
                "layout=torch.jagged)`"
            )
    elif x.layout is not torch.jagged:
        raise TypeError(
            f"`{name}` must be a dense tensor; got one of layout {x.layout}. Use "
            f"`{name}.to_dense()`"
        )


def is_masked(x: Any) -> bool:
    """Tell whether an array has a mask of its own, which operations and copies would lose."""
    if type(x).__module__ == "torch":  # a tensor takes its time to say that it has no such name
        return False
    return isinstance(getattr(x, "_meta", x), np.ma.MaskedArray)  # Dask's arrays say so by theirs


def refuse_mask(
    xp: Any, x: Any, name: str, first: str, kinds: tuple[str, ...], device: Any
) -> None:
    """Raise an error that says how to pass a masked array."""
    raise TypeError(
        f"`{name}` must be an array without a mask of its own; got {type_name(x)}. "
        f"{_hints.without_mask(xp, x, name, first, kinds, device)}"
    )


def same_library(
    xp: Any,
    x: Any,
    name: str,
    first: str,
    kinds: tuple[str, ...],
    device: Any = None,
    shape: Shape | None = None,
) -> None:
    """Require an array of ``xp``, or of NumPy where ``xp`` traces what NumPy computes."""
    if is_masked(x):
        refuse_mask(xp, x, name, first, kinds, device)
    other = _namespace(x)
    if (other is xp and library(xp) == "torch") or type(x).__name__ == "MaskedTensor":
        check_layout(xp, x, name)
    if other is not xp and not (other is array_api_compat.numpy and _libraries.traces_numpy(xp)):
        wanted = "a bool array" if kinds == BOOL else "a Python scalar or an array"
        raise TypeError(
            f"`{name}` must be {wanted} of the library of `{first}`, {library(xp)}; got "
            f"{type_name(x)}. {_hints.to_array(xp, x, name, first, kinds, device, shape)}"
        )


def same_device(x: Any, name: str, first: str, expected: Any) -> None:
    """Require the device of the first argument, unless either is open."""
    found = _libraries.device_of(x)
    if expected is not None and found is not None and found != expected:
        raise ValueError(
            f"`{name}` must be on the device of `{first}`, {expected}; got {found}. "
            "Move one of them: nothing is copied between devices here"
        )


_WORDS = {
    FLOATING: "a real floating dtype",
    REAL: "a floating, integer or bool dtype",
    BOOL: "a bool dtype",
}


def dtype_kind(xp: Any, x: Any, name: str, allowed: tuple[str, ...], source: str = "") -> None:
    """Require a dtype of one of the kinds named, of an array which ``source`` makes anew."""
    kind = _libraries.kind(xp, x.dtype)
    if kind not in allowed:
        if getattr(x, "is_quantized", False):
            mend = f"Use `{name}.dequantize()`"
        else:
            mend = _hints.to_dtype(x, source or name, allowed, kind)
        raise TypeError(f"`{name}` must have {_WORDS[allowed]}; got {x.dtype}. {mend}")


def number_or_array(
    xp: Any,
    value: Any,
    name: str,
    first: str,
    device: Any,
    kinds: tuple[str, ...],
    shape: Shape | None = None,
) -> Any:
    """Return a number as a float; require any other value to be an array beside the first.

    ``shape`` is that of the first, None where any shape will do: an error says how to reach it.
    """
    if type(value) is np.ndarray and xp is array_api_compat.numpy:  # as below, in less time
        dtype_kind(xp, value, name, kinds)
        return value
    if is_number(value) and kinds != BOOL:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(
                f"`{name}` must be a number that a float can hold; got {value}"
            ) from None
    same_library(xp, value, name, first, kinds, device, shape)
    dtype_kind(xp, value, name, kinds)
    same_device(value, name, first, device)
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else value


def same_shape(found: Shape, expected: Shape, name: str, first: str, xp: Any) -> None:
    """Require equal shapes, as far as they are known."""
    if _hints.are_equal(found, expected):
        return
    if not found:
        mend = (
            f"Use `{library(xp)}.broadcast_to({name}, {first}.shape)` for the same one everywhere"
        )
    else:
        index = _hints.index(found, expected)
        mend = f"Use `{name}{index}`" if index else "One is needed for each element"
    raise ValueError(
        f"`{name}` must have the shape of `{first}`, {show(expected)}; got {show(found)}. "
        f"{_hints.on_offsets(name, first, found, expected) or mend}"
    )


def broadcastable(found: Shape, expected: Shape, name: str, first: str) -> None:
    """Require a shape that broadcasts to ``expected`` without expanding it."""
    if _hints.broadcasts(found, expected):
        return
    raise ValueError(
        f"`{name}` must broadcast to the shape of `{first}`, {show(expected)}, without "
        f"expanding it; got {show(found)}. "
        f"{_hints.on_offsets(name, first, found, expected) or _behind(name, found, expected)}"
    )


def _behind(name: str, found: Shape, expected: Shape) -> str:
    """Say how many axes to add behind, if the lengths are found further to the left."""
    mend = _hints.index_behind(found, expected)
    if mend is None:
        return "No axis may be longer than there, or added"
    index, axis = mend
    if name == "pos_weight" and axis == 0:  # as long as the batch by chance, or by mistake
        length = show(expected[-1:])
        return (
            f"One for each class has the shape {length}; use `{name}{index}` if one for each row "
            "is meant"
        )
    return f"Use `{name}{index}`"


def python_number(value: Any, name: str, alternative: str = "") -> None:
    """Require a number that is known now, which True is not meant to be."""
    if not is_number(value) or isinstance(value, bool | np.bool_):
        raise TypeError(
            f"`{name}` must be a Python number{alternative}; got {type_name(value)}"
            f"{_hints.to_number(value, name, 'float')}"
        )


def smoothing(value: Any) -> float:
    """Require a label smoothing, a Python number in [0, 1]."""
    python_number(value, "label_smoothing")
    if not 0 <= value <= 1:
        raise ValueError(
            f"`label_smoothing` must lie in [0, 1]; got {value}. Zero smooths nothing, one "
            "makes every target 0.5"
        )
    return float(value)


def clamp(value: Any, xp: Any, dtype: Any) -> float | None:
    """Require an ``eps`` that keeps probabilities from 0 and from 1 in ``dtype``."""
    if value is None:
        return None
    python_number(value, "eps", " or None")
    least = float(xp.finfo(dtype).eps) / 2
    if not least <= value < 0.5:
        raise ValueError(
            f"`eps` must lie in [{least}, 0.5) for {dtype}; got {value}. A smaller one would "
            "leave 1 - eps at 1"
        )
    return float(value)
