"""The list of libraries that conform, and how a test talks to them.

A new library is tried by a line in ``LIBRARIES``: its name, what makes an array of it from one
of NumPy's, and what takes it back. `nox -s libraries` runs all laws of this folder on it.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from portable_bce import _kernels
from tests import backends

Arrays = Any  # of the library, or a tuple of them
Function = Callable[..., Arrays]


def direct(function: Function, arrays: dict[str, Any]) -> Arrays:
    """Call a function with arrays by name."""
    return function(**arrays)


def through_onnx(function: Function, arrays: dict[str, Any]) -> Arrays:
    """Trace a function into an ONNX model with open shapes, and run that by onnxruntime."""
    import ndonnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    open_shaped = {
        name: ndonnx.argument(
            shape=tuple(f"{name}{axis}" for axis in range(array.ndim)),
            dtype=getattr(ndonnx, array.dtype.name),
        )
        for name, array in arrays.items()
    }
    traced = function(**open_shaped)
    values = traced if isinstance(traced, tuple) else (traced,)
    outputs = {f"output{index}": value for index, value in enumerate(values)}
    model = ndonnx.build(open_shaped, outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    results = tuple(session.run(list(outputs), arrays))
    return results if isinstance(traced, tuple) else results[0]


def mlx_array(array: Any) -> Any:
    """Return an array in its own dtype: MLX would make float32 of float64."""
    import mlx.core as mx

    if array.dtype.name == "bfloat16":
        return mx.array(array.astype(np.float32)).astype(mx.bfloat16)
    name = "bool_" if array.dtype == bool else array.dtype.name
    return mx.array(array.tolist() if array.dtype == np.float64 else array, getattr(mx, name))


def from_mlx(array: Any) -> Any:
    import mlx.core as mx

    return np.array(array.astype(mx.float32) if array.dtype == mx.bfloat16 else array)


def computed_by_cubed(function: Function, arrays: dict[str, Any]) -> Arrays:
    """Compute all results in one plan."""
    import cubed
    from cubed.runtime.create import create_executor

    results = function(**arrays)
    # The threads of Cubed's usual executor do not know that NumPy is silent here.
    executor = create_executor("single-threaded")
    with np.errstate(all="ignore"):  # it computes now, and not when we are called
        if isinstance(results, tuple):
            return tuple(cubed.compute(*results, executor=executor))
        return results.compute(executor=executor)


@dataclass(frozen=True)
class Library:
    """A library, or a way of calling one.

    ``array`` is a function, or the name under which it is imported, of one array of NumPy's.
    """

    name: str
    array: str | Callable[[Any], Any]
    numpy: Callable[[Any], Any] = np.asarray
    dtypes: tuple[str, ...] = ("float32", "float64")
    package: str | None = None
    call: Callable[[Function, dict[str, Any]], Arrays] = direct
    by_numpy: bool = False
    """Whether NumPy's row computes."""

    def is_installed(self) -> bool:
        package = self.package or self.name.partition(".")[0]
        return importlib.util.find_spec(package) is not None

    def of(self, array: Any) -> Any:
        """Return an array of the library."""
        make = pkgutil.resolve_name(self.array) if isinstance(self.array, str) else self.array
        return make(array)

    def run(self, function: Function, **operands: Any) -> Any:
        """Return the results of a function of NumPy's arrays, which the library computes."""
        arrays = {name: self.of(one) for name, one in operands.items() if is_array(one)}
        numbers = {name: one for name, one in operands.items() if not is_array(one)}
        results = self.call(lambda **given: function(**given, **numbers), arrays)
        return (
            tuple(map(self.numpy, results)) if isinstance(results, tuple) else self.numpy(results)
        )

    @property
    def is_compiled(self) -> bool:
        """Whether our kernels compute."""
        return self.by_numpy and bool(_kernels.levels)


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def identity(array: Any) -> Any:
    return array


FLOATS = ("float16", "float32", "float64")
LIBRARIES = [
    Library("array_api_strict", "array_api_strict:asarray"),
    Library("blosc2", "blosc2:asarray", lambda a: a[()], FLOATS, by_numpy=True),
    Library("cubed", "cubed.array_api:asarray", call=computed_by_cubed),
    Library("mlx", mlx_array, from_mlx, (*FLOATS, "bfloat16")),
    Library("ndonnx", "ndonnx:asarray", lambda a: a.unwrap_numpy(), FLOATS),
    Library("onnx", identity, package="ndonnx", call=through_onnx),
    Library("sparse.COO", "sparse:COO.from_numpy", lambda a: a.todense()),
]
BY_NAME = {library.name: library for library in LIBRARIES}


def named(name: str) -> Library:
    """Return a library, or fail or skip where it is not installed."""
    library = BY_NAME[name]
    if not library.is_installed():
        reason = f"{name} is not installed"
        pytest.fail(reason, pytrace=False) if is_required() else pytest.skip(reason)
    return library


def is_required() -> bool:
    """Tell whether none of the libraries may be skipped."""
    return "libraries" in backends.required()


def names_here(*dtypes: str) -> list[str]:
    """Return the names of what is tested here: all if none may be skipped, else the installed.

    Only those with all ``dtypes``.
    """
    return [
        one.name
        for one in LIBRARIES
        if set(dtypes) <= set(one.dtypes) and (is_required() or one.is_installed())
    ]
