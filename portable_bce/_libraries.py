"""What differs between array libraries: their names, dtypes and devices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device, is_cupy_array, is_dask_array, is_jax_array, is_torch_array

# ml_dtypes' bfloat16 is an extension dtype to NumPy and Dask, whose isdtype and finfo
# raise on it; every library that has a bfloat16 prints it so.
_BFLOAT16 = ("bfloat16", "torch.bfloat16")
# NumPy's own letters, which CuPy, JAX and Dask share; isdtype and str take microseconds each.
_LETTERS = {"f": "floating", "i": "integer", "u": "integer", "b": "bool", "c": "complex"}


def library(xp: Any) -> str:
    """Return the name under which users know the library of a namespace."""
    name: str = xp.__name__.removeprefix("array_api_compat.")
    return name


def kind(xp: Any, dtype: Any) -> str:
    """Return "floating", "integer", "bool", "complex", or "unknown" for a dtype.

    Floats of 8 bits and fewer are unknown: they hold no gradient, and some have no sign.
    """
    if isinstance(dtype, np.dtype):
        letter = dtype.kind
        if letter in _LETTERS and (letter != "f" or dtype.itemsize > 1):
            return _LETTERS[letter]
    if getattr(dtype, "is_floating_point", False) or str(dtype) in _BFLOAT16:
        # PyTorch's dtypes say so themselves.
        return "floating" if getattr(dtype, "itemsize", 2) > 1 else "unknown"
    kinds = {
        "floating": "real floating",
        "integer": "integral",
        "bool": "bool",
        "complex": "complex floating",
    }
    try:
        found = next(
            (ours for ours, theirs in kinds.items() if xp.isdtype(dtype, theirs)), "unknown"
        )
    except (TypeError, AttributeError):  # not a dtype of this library at all
        return "unknown"
    is_short = found == "floating" and getattr(dtype, "itemsize", 2) == 1
    return "unknown" if is_short else found


def by_name(xp: Any, name: Any, other: Any) -> Any:
    """Return the dtype of a name, of the library of another dtype; the name if there is none."""
    if name is float:  # NumPy's users write it
        name = "float64"
    if isinstance(other, np.dtype):
        try:
            return np.dtype(name)
        except TypeError:
            return name
    found = getattr(xp, name, None)
    return found if isinstance(found, type(other)) else name


def bits(xp: Any, dtype: Any) -> int:
    """Return the size in bits of a floating dtype."""
    size = getattr(dtype, "itemsize", None)  # of dtypes of NumPy, CuPy, JAX, Dask and PyTorch
    if isinstance(size, int):
        return 8 * size
    return 16 if str(dtype) in _BFLOAT16 else int(xp.finfo(dtype).bits)


def akin(one: Any, other: Any) -> bool:
    """Tell whether the first dtype may be of the library of the second, an array's.

    NumPy's dtypes, and its types in their place, are those of CuPy, JAX and Dask, too.
    """
    if isinstance(other, np.dtype):
        return isinstance(one, np.dtype | type)
    # ndonnx has a class for each dtype.
    return type(one).__module__ == type(other).__module__


def native(dtype: Any) -> Any:
    """Return a dtype in this machine's byte order, in which alone NumPy computes and sums.

    One of NumPy's types, such as `numpy.float32`, becomes the dtype that it stands for.
    """
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        dtype = np.dtype(dtype)
    swapped = isinstance(dtype, np.dtype) and not dtype.isnative
    return dtype.newbyteorder("=") if swapped else dtype


def cast(xp: Any, x: Any, dtype: Any) -> Any:
    """Return an array in a dtype: the array itself if it has it."""
    # Some libraries refuse or copy for a cast that does nothing, so the dtypes are compared here.
    # A tracer of NumPy (HIPS autograd) keeps such a cast: it gives a derivative its dtype back.
    if x.dtype == dtype and (isinstance(x, np.ndarray) or not traces_numpy(xp)):
        return x
    # A cast to another dtype copies in any case. Blosc2 refuses one that must not; Dask's array
    # expressions have no method of that name yet, which one that must would call.
    return xp.astype(x, dtype, copy=hasattr(x, "copy"))


def traces_numpy(xp: Any) -> bool:
    """Tell whether arrays of NumPy are this namespace's own: NumPy itself, or a tracer of it."""
    return getattr(xp, "ndarray", None) is np.ndarray


def has(xp: Any, dtype: Any, on: Any) -> bool:
    """Tell whether the device ``on`` (None: any) computes in ``dtype``.

    JAX without x64 and some accelerators have no float64; asking them for one gives
    float32 with a warning, so the namespace is asked instead.
    """
    if xp.__name__ == "array_api_compat.numpy":
        return True
    info = getattr(xp, "__array_namespace_info__", None)
    if info is None:  # a library older than the standard of 2023
        return True
    offered = info().dtypes(device=on, kind="real floating")
    return any(dtype == one for one in offered.values())


def has_float64(xp: Any, on: Any) -> bool:
    """Tell whether the device ``on`` (None: any) computes in float64."""
    dtype = getattr(xp, "float64", None)
    return dtype is not None and has(xp, dtype, on)


class Limits(NamedTuple):
    """What is asked of a floating dtype, as Python numbers."""

    bits: int
    max: float
    eps: float
    smallest_normal: float


class Standard:
    """A namespace whose limits of dtypes are Python floats, as the standard has them.

    Many libraries return NumPy's scalars, and take the operators of those for their own:
    Cubed computes an array that is multiplied by one.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._xp, name)
        except AttributeError:
            raise AttributeError(
                f"the library must have `{name}` of the array API standard, which "
                f"{library(self._xp)} has not. Convert the arrays, for example to NumPy's"
            ) from None

    def finfo(self, dtype: Any) -> Limits:
        """Return the limits of a dtype."""
        info = self._xp.finfo(dtype)
        return Limits(int(info.bits), float(info.max), float(info.eps), float(info.smallest_normal))


def is_torch(x: Any) -> bool:
    """Tell whether this is a tensor of PyTorch itself.

    array_api_compat asks by functions with a cache, at each of which torch.compile warns.
    """
    kind = type(x)
    return kind.__module__ in ("torch", "torch.nn.parameter") and hasattr(kind, "requires_grad")


def device_of(x: Any) -> Any:
    """Return the device of an array, None where it is open or the library's to judge.

    A JAX tracer has no device yet, an uncommitted JAX array follows the others, and
    shardings may differ from argument to argument. A tracer of HIPS autograd has none.
    """
    if type(x) is np.ndarray:
        return "cpu"
    if is_torch(x):
        return x.device
    if is_jax_array(x):
        try:
            settled = x.committed and len(x.devices()) == 1
        except TypeError:  # ConcretizationTypeError: a tracer
            settled = False
        if not settled:
            return None
    try:
        return device(x)
    except AttributeError:  # neither the attribute nor a library that is known to have none
        return None


def to_numpy(xp: Any, array: Any) -> np.ndarray[Any, Any]:
    """Copy an array to NumPy, bfloat16 as float32, which holds it exactly.

    The public functions never read a value: this is for the commands, the testing kit and tests.
    """
    if str(array.dtype) in _BFLOAT16:
        array = xp.astype(array, xp.float32)
    if is_torch_array(array):
        array = array.detach().cpu().numpy()
    elif is_cupy_array(array):
        array = array.get()
    elif is_dask_array(array):
        array = array.compute()
    return np.asarray(array)
