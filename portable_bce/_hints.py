"""How to mend an argument: what errors tell a caller to do, as expressions that work as they stand.

Only errors call these functions, so a hint may convert a value in the host's memory to see
whether that helps. Nothing is computed on a device or by Dask.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from numbers import Number
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_cupy_array, is_dask_array

from portable_bce import _libraries
from portable_bce._libraries import library

Shape: TypeAlias = tuple[Any, ...]

_NUMBERS = "Pass numbers"
_CONVERT = "Convert it, for example to float32"
_LABELS = "Use `{} == label`, where `label` is the one that means 1"
# The dtypes that every library reads from NumPy's arrays.
_COMMON = ("bool", "int8", "int16", "int32", "int64", "uint8", "float32", "float64")
_STATIC = (
    "It must be known while JAX traces: name it in `static_argnames` of `jax.jit`, or bind it by "
    "`functools.partial`"
)


class Mended(NamedTuple):
    """An expression, and the dtype and the shape of what it gives."""

    expression: str
    dtype: Any
    shape: Shape
    is_writeable: bool = True


def to_array(
    xp: Any,
    value: Any,
    name: str,
    first: str,
    kinds: tuple[str, ...],
    device: Any,
    expected: Shape | None,
) -> str:
    """Say what makes an array of ``xp`` of a value, of a dtype and shape that the operand may have.

    ``expected`` is the shape of the logits, None where any shape will do.
    """
    if is_tracer(value):
        return f"Use `jax.numpy.asarray({first})`, too"
    if isinstance(value, Sequence) and len(value) and is_array_api_obj(value[0]):
        elements = array_namespace(value[0])
        if name == first or elements is xp:
            kind = _libraries.kind(elements, value[0].dtype)
            number = " != 0" if kinds == ("bool",) and kind != "bool" else ""
            return f"Use `{library(elements)}.stack({name}){number}`"
    mended = _in_host_memory(value, name)
    if mended is None:
        is_target = name == "targets" and expected is not None
        return (
            _LABELS.format(f"numpy.asarray({name})") if is_target and _is_text(value) else _NUMBERS
        )
    if not mended.shape and expected is not None and "integer" in kinds:
        is_complex = mended.dtype.kind == "c"
        return f"Use `{name}.real`" if is_complex else f"Use `float({name})`"
    mended = _in_library(_of_kind(mended, kinds), xp, first, device)
    return _fitted(mended, name, expected)


def without_mask(
    xp: Any, value: Any, name: str, first: str, kinds: tuple[str, ...], device: Any
) -> str:
    """Say how to pass a masked array: its data, and its mask where the call takes one."""
    is_host = isinstance(value, np.ndarray)
    masks = "numpy.ma" if is_host else "dask.array.ma"
    if name == "where":
        filled = Mended(f"{masks}.filled({name}, False)", np.dtype(value.dtype), value.shape)
        filled = _of_kind(filled, kinds)
        return _fitted(_in_library(filled, xp, first, device) if is_host else filled, name, None)
    mended = Mended(f"{masks}.getdata({name})", np.dtype(value.dtype), value.shape)
    data, mask = (
        _of_kind(mended, kinds),
        Mended(f"~{masks}.getmaskarray({name})", np.dtype(bool), ()),
    )
    if is_host:
        data, mask = (_in_library(one, xp, first, device) for one in (data, mask))
    if name == "cotangent":
        return f"Use `{masks}.filled({name}, 0.0)`"
    if name == "x":
        return f"Use `{data.expression}`, and mask the result"
    if name in ("y_true", "y_pred", "sample_weight"):
        return (
            f"Use `{data.expression}`, and drop the samples that are masked or give them no weight"
        )
    return f"Use `{data.expression}` and `where={mask.expression}`, joined by `&` to other masks"


def to_dtype(x: Any, name: str, kinds: tuple[str, ...], kind: str) -> str:
    """Say how to convert an array whose dtype an operand cannot have."""
    if kind == "complex" and kinds != ("bool",):
        return "Take its real part"
    letter = getattr(x.dtype, "kind", "")
    is_host = isinstance(x, (np.ndarray, np.generic))
    if is_host and letter in ("O", "S", "U", "T", "V"):
        return _of_objects(x, name, kinds)
    if kinds == ("bool",):
        return f"Use `{name} != 0`" if kind != "unknown" else "Pass a bool array"
    return _NUMBERS if letter in ("O", "S", "U", "T", "M", "m") else _CONVERT


def _of_objects(x: Any, name: str, kinds: tuple[str, ...]) -> str:
    """Say what makes numbers of NumPy's objects, strings and records."""
    dtype = x.dtype
    if dtype.kind == "V" and not dtype.names:  # the shortest floats of ml_dtypes look like bytes
        is_number = str(dtype).startswith(("float", "int", "uint")) and kinds != ("bool",)
        return _CONVERT if is_number else _NUMBERS
    mended = _numbers_of(x, name)
    if mended is not None:
        return _fitted(_of_kind(mended, kinds), name, None)
    is_target = "targets" in name or "y_true" in name
    return _LABELS.format(name) if is_target and _is_text(x) else _NUMBERS


def _numbers_of(x: Any, name: str) -> Mended | None:
    """Return what makes numbers of an array of NumPy, None if nothing does."""
    dtype = x.dtype
    if dtype.kind in "fiubc" or dtype.name == "bfloat16":
        return Mended(name, dtype, x.shape, x.flags.writeable)
    if dtype.names:
        field = next((one for one in dtype.names if dtype[one].kind in "fiub"), None)
        return None if field is None else Mended(f"{name}[{field!r}]", dtype[field], x.shape)
    if dtype.kind == "O" and not x.shape and hasattr(x.item(), "toarray"):
        # What numpy.asarray makes of SciPy's sparse arrays.
        sparse = x.item()
        return Mended(f"{name}.item().toarray()", np.dtype(sparse.dtype), sparse.shape)
    if dtype.kind in "OSUT" and _succeeds(lambda: x.astype(float)):
        return Mended(f"{name}.astype(float)", np.dtype(float), x.shape)
    return None


def to_number(value: Any, name: str, function: str) -> str:
    """Say how to pass a number that came as an array without dimensions; "" where none did."""
    if is_tracer(value):
        return f". {_STATIC}"
    is_single = is_array_api_obj(value) and not value.shape
    return f". Use `{function}({name})`" if is_single and _succeeds(lambda: float(value)) else ""


def index(found: Shape, expected: Shape) -> str | None:
    """Return the index that makes one shape of another where only axes of length 1 differ."""
    steps: list[str] = []
    rest, goal = list(found), list(expected)
    while rest or goal:
        if rest and goal and fits(rest[0], goal[0]):
            steps.append(":")
            rest, goal = rest[1:], goal[1:]
        elif goal and goal[0] == 1:
            steps.append("None")
            goal = goal[1:]
        elif rest and rest[0] == 1:
            steps.append("0")
            rest = rest[1:]
        else:
            return None
    return f"[{', '.join(steps)}]"


def index_behind(found: Shape, expected: Shape) -> tuple[str, int] | None:
    """Return the index that adds axes behind, and the axis on which the lengths then lie."""
    for added in range(len(expected) - len(found), 0, -1):
        start = len(expected) - len(found) - added
        if found and all(map(fits, found, expected[start : start + len(found)])):
            return f"[{', '.join([':'] * len(found) + ['None'] * added)}]", start
    return None


def fits(one: Any, other: Any) -> bool:
    """Tell whether two lengths agree; one that is unknown (None, NaN) may."""
    return bool(one == other) or unknown(one) or unknown(other)


def unknown(length: Any) -> bool:
    """Tell whether a length is not known before computing (None, or NaN in Dask)."""
    return length is None or bool(length != length)  # math.isnan breaks PyTorch's graphs


def are_equal(found: Shape, expected: Shape) -> bool:
    """Tell whether two shapes are equal, as far as they are known."""
    return len(found) == len(expected) and all(map(fits, found, expected))


def broadcasts(found: Shape, expected: Shape) -> bool:
    """Tell whether a shape broadcasts to another without expanding it."""
    aligned = expected[len(expected) - len(found) :]
    return len(found) <= len(expected) and all(
        one == 1 or fits(one, other) for one, other in zip(found, aligned, strict=True)
    )


def show(shape: Shape) -> str:
    """Print a shape as Python does, with ? for lengths that are not known yet."""
    inner = ", ".join("?" if unknown(one) else str(one) for one in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def on_offsets(name: str, first: str, found: Shape, expected: Shape) -> str:
    """Say how to give a jagged tensor the rows of another: PyTorch compares no lengths of rows."""
    if any(map(_is_ragged, found)) and any(map(_is_ragged, expected)):
        return (
            f"If their rows are equally long, use `torch.nested.nested_tensor_from_jagged("
            f"{name}.values(), {first}.offsets())`"
        )
    return ""


def _is_ragged(length: Any) -> bool:
    """Tell whether a length differs from row to row, as one of PyTorch's jagged tensors does."""
    node = getattr(length, "node", None)
    return node is not None and node.is_nested_int()


def type_name(x: Any) -> str:
    """Return the name of a value's type, with its module unless that is Python's own."""
    kind = type(x)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def is_tracer(value: Any) -> bool:
    """Tell whether JAX traces a value, so that nobody can know it."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "jax" and kind.__name__.endswith("Tracer")


def _in_host_memory(value: Any, name: str) -> Mended | None:
    """Return what makes an array of NumPy of a value, None if nothing does."""
    if isinstance(value, np.ndarray):
        return _numbers_of(value, name)
    if _libraries.is_torch(value):
        return _of_tensor(value, name)
    for method, is_meant in (
        ("get", is_cupy_array(value)),
        ("compute", is_dask_array(value)),
        ("toarray", hasattr(value, "toarray")),  # SciPy's sparse arrays, which NumPy would wrap
        ("todense", hasattr(value, "todense")),  # PyData's
    ):
        if is_meant:
            return Mended(f"{name}.{method}()", np.dtype(value.dtype), value.shape)
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        array, expression = np.asarray(value), f"numpy.asarray({name})"
        if array.dtype.kind == "O":  # numbers beside None or pandas.NA, or Python's own kinds
            array = np.asarray(value, dtype=float)
            expression = f"numpy.asarray({name}, dtype=float)"
        is_number = array.dtype.kind in "fiubc" or array.dtype.name == "bfloat16"
        if is_number and (array.shape or isinstance(value, Number) or is_array_api_obj(value)):
            return Mended(expression, array.dtype, array.shape, array.flags.writeable)
    return None


def _of_tensor(tensor: Any, name: str) -> Mended | None:
    expression, dtype = name, str(tensor.dtype).removeprefix("torch.")
    if tensor.device.type == "meta":
        return None
    if tensor.requires_grad:
        expression += ".detach()"
    if str(tensor.layout) != "torch.strided":
        expression += ".to_dense()"
    if tensor.device.type != "cpu":
        expression += ".cpu()"
    if dtype.startswith(("bfloat16", "float8", "float4")):
        expression, dtype = f"{expression}.float()", "float32"
    return Mended(f"numpy.asarray({expression})", np.dtype(dtype), tuple(tensor.shape))


def _of_kind(mended: Mended, kinds: tuple[str, ...]) -> Mended:
    """Convert to a dtype that the operand may have."""
    expression, dtype = mended.expression, mended.dtype
    if kinds == ("bool",):
        if dtype.kind == "b":
            return mended
        return mended._replace(expression=f"({expression} != 0)", dtype=np.dtype(bool))
    if dtype.kind == "c":
        expression, dtype = f"{expression}.real", np.dtype(float)
    elif dtype.kind in "iub" and "integer" not in kinds:
        of_list = expression.startswith("numpy.asarray(")
        expression = (
            f"{expression[:-1]}, dtype=float)" if of_list else f"{expression}.astype(float)"
        )
        dtype = np.dtype(float)
    return mended._replace(expression=expression, dtype=dtype)


def _in_library(mended: Mended, xp: Any, first: str, device: Any) -> Mended:
    """Bring NumPy's array to the library and the device of the first argument."""
    name, expression, dtype = library(xp), mended.expression, mended.dtype
    if name == "numpy":
        return mended
    has_wide = name == "jax.numpy" or _libraries.has_float64(xp, device)  # JAX narrows by itself
    if not has_wide and dtype.name not in ("bool", "float32"):
        expression += ".astype('float32')"
    elif dtype.name not in _COMMON or not dtype.isnative:
        expression += ".astype(float)"
    elif not mended.is_writeable and name == "torch":
        expression += ".copy()"  # PyTorch warns of memory that it must not write to
    is_default = name not in ("torch", "array_api_strict") or "cpu" in str(device).lower()
    place = "" if is_default else f", device={first}.device"
    return mended._replace(expression=f"{name}.asarray({expression}{place})")


def _fitted(mended: Mended, name: str, expected: Shape | None) -> str:
    """Index the array where that gives it its shape, or say which it needs."""
    expression, shape = mended.expression, mended.shape
    alone = expression[1:-1] if expression.startswith("(") else expression
    if expected is None:
        return f"Use `{alone}`"
    if name == "targets":
        fitting, added = are_equal(shape, expected), index(shape, expected)
    else:
        fitting, behind = broadcasts(shape, expected), index_behind(shape, expected)
        added = behind[0] if behind else index(shape, expected)
    if fitting:
        return f"Use `{alone}`"
    if added:
        return f"Use `{expression}{added}`"
    return f"Use `{alone}`, with the shape {show(expected)}: it has {show(shape)}"


def _is_text(value: Any) -> bool:
    """Tell whether a value holds text: strings, or objects of which the first is one."""
    with suppress(Exception):
        array = np.asarray(value)
        return array.dtype.kind in "SUT" or any(isinstance(one, str) for one in array.flat[:1])
    return False


def _succeeds(attempt: Any) -> bool:
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("error")
        attempt()
        return True
    return False
