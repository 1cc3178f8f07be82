"""Arrays of any library, there and back; values travel as float64, which holds them all."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from portable_bce._libraries import to_numpy

# float64, whatever the dtype that its values are of
Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Library:
    """An array library, by a namespace that conforms to the standard."""

    xp: Any

    def dtype(self, name: str) -> Any:
        """Return a dtype by its name, or None if the library has none."""
        found = getattr(self.xp, name, None)
        if found is not None or "strict" in self.xp.__name__:
            return found
        try:  # Dask has NumPy's dtypes and does not name them all
            return np.dtype(name)
        except TypeError:
            return _numpy_bfloat16() if self.xp.__name__.endswith("numpy") else None

    def array(self, values: Values, dtype: str) -> Any:
        """Copy values, which fit the dtype, to a new array of the library."""
        fitting = np.array(values, dtype="float32" if dtype == "bfloat16" else dtype)
        array = self.xp.asarray(fitting)
        return self.xp.astype(array, self.dtype(dtype)) if dtype == "bfloat16" else array

    def transposed(self, array: Any) -> Any:
        """Return a view with the two axes exchanged."""
        return self.xp.permute_dims(array, (1, 0))

    def holds(self, dtype: str) -> bool:
        """Tell whether an array of that dtype can be made, and stays of it."""
        if self.dtype(dtype) is None:
            return False
        with warnings.catch_warnings():  # JAX without float64 truncates, and warns
            warnings.simplefilter("ignore")
            try:
                return dtype_name(self.array(np.zeros(1), dtype)) == dtype
            except (TypeError, ValueError, RuntimeError):
                return False

    def values(self, array: Any) -> Values:
        """Copy an array of the library, or a number, back."""
        copied = to_numpy(self.xp, array) if hasattr(array, "dtype") else np.asarray(array)
        if copied.dtype.kind not in "fiub":
            raise TypeError(f"no real numbers, but {copied.dtype}")
        return copied.astype(np.float64)


def library(xp: Any) -> Library:
    """Return the library of a module that makes arrays, conforming by array-api-compat."""
    return Library(array_namespace(xp.asarray(np.zeros(1, dtype=np.float32))))


def dtype_name(array: Any) -> str:
    """Return the name of an array's dtype, without that of its library."""
    if not hasattr(array, "dtype"):
        return type(array).__name__
    return str(array.dtype).rpartition(".")[2]


def _numpy_bfloat16() -> Any:
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError:
        return None
