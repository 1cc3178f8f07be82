"""The array libraries under test, one row each, and how a test talks to them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from portable_bce import _kernels

NUMPY_NAMES = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Backend:
    """An array library on a device, under a way of calling it.

    ``examples`` bounds hypothesis: libraries that compile for every shape get fewer.
    ``bitwise`` says whether two functions that evaluate the same formula agree to the last
    bit; inside one compiled program a compiler may contract a product and a sum.
    """

    name: str
    xp: Any
    device: Any = None
    dtypes: tuple[str, ...] = NUMPY_NAMES
    examples: int = 25
    bitwise: bool = True
    flushes_subnormals: bool = False
    lazy: bool = False

    def dtype(self, name: str) -> Any:
        if name == "bfloat16" and self.name == "numpy":
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        if self.name == "dask":
            return np.dtype(name)  # its namespace has no float16
        return getattr(self.xp, name)

    def array(self, values: Any, dtype: str | None = None) -> Any:
        """Copy a NumPy array (or what makes one) to this backend."""
        source = np.array(values)
        source = source.astype(self._narrowed.get(source.dtype.name, source.dtype))
        array = self.xp.asarray(source.copy(), device=self.device)
        return array if dtype is None else self.xp.astype(array, self.dtype(dtype))

    @property
    def _narrowed(self) -> dict[str, str]:
        """What the device does not have, and what a test may pass in its place."""
        narrow = {} if self.wide else {"float64": "float32", "int64": "int32"}
        return narrow if "float16" in self.dtypes else {**narrow, "float16": "float32"}

    def numpy(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array of this backend back, halves as float32 (exactly)."""
        if str(array.dtype).endswith("bfloat16"):
            array = self.xp.astype(array, self.xp.float32)
        if hasattr(array, "detach"):
            array = array.detach().cpu()
        if self.name == "dask":
            return np.asarray(array.compute())
        if self.name == "cupy":
            return np.asarray(array.get())
        if self.name.startswith("strict"):
            array = array.to_device(self.xp.Device("CPU_DEVICE"))
        return np.asarray(array)

    @property
    def compiled(self) -> bool:
        """Whether the compiled kernels evaluate its arrays."""
        return self.name in ("numpy", "torch", "dask") and bool(_kernels.levels)

    @property
    def wide(self) -> bool:
        """Whether there is a float64."""
        return "float64" in self.dtypes


def numpy_backend() -> Iterator[Backend]:
    from array_api_compat import numpy

    halves = ("bfloat16",) if importlib.util.find_spec("ml_dtypes") else ()
    yield Backend("numpy", numpy, dtypes=(*NUMPY_NAMES, *halves), examples=60)


def strict_backend(device: str) -> Callable[[], Iterator[Backend]]:
    def make() -> Iterator[Backend]:
        import array_api_strict as xp

        xp.set_array_api_strict_flags(
            api_version="2025.12", boolean_indexing=False, data_dependent_shapes=False
        )
        wide = () if device.startswith("no_") else ("float64",)
        # It wraps NumPy, which warns at log(0); a caller of array-api-strict sees that.
        with np.errstate(all="ignore"):
            yield Backend(
                f"strict-{device}", xp, xp.Device(device), ("float32", *wide), examples=12
            )
        xp.reset_array_api_strict_flags()

    return make


def torch_backend(name: str, device: str) -> Callable[[], Iterator[Backend]]:
    def make() -> Iterator[Backend]:
        from array_api_compat import torch as xp

        yield Backend(name, xp, xp.device(device), (*NUMPY_NAMES, "bfloat16"), examples=30)

    return make


def jax_backend(name: str, x64: bool, platform: str = "cpu") -> Callable[[], Iterator[Backend]]:
    def make() -> Iterator[Backend]:
        import jax

        wide = ("float64",) if x64 else ()
        with jax.enable_x64(x64), jax.default_device(jax.devices(platform)[0]):
            yield Backend(
                name,
                jax.numpy,
                dtypes=("float16", "bfloat16", "float32", *wide),
                examples=5 if "jit" in name else 10,
                bitwise="jit" not in name,
                flushes_subnormals=True,
            )

    return make


def dask_backend() -> Iterator[Backend]:
    import dask
    from array_api_compat.dask import array as xp

    with dask.config.set(scheduler="synchronous"):
        yield Backend("dask", xp, examples=12, lazy=True)


def cupy_backend() -> Iterator[Backend]:
    from array_api_compat import cupy as xp

    # CuPy compiles with -ftz=true (cupy/_core/core.pyx), which is for float32, and NVRTC
    # contracts a product and a sum where it can, in one kernel and perhaps not in another.
    yield Backend(
        "cupy", xp, examples=8 if emulated() else 50, bitwise=False, flushes_subnormals=True
    )


# name -> (packages that it needs, how to make it)
BACKENDS: dict[str, tuple[tuple[str, ...], Callable[[], Iterator[Backend]]]] = {
    "numpy": ((), numpy_backend),
    "strict-CPU_DEVICE": (("array_api_strict",), strict_backend("CPU_DEVICE")),
    "strict-device1": (("array_api_strict",), strict_backend("device1")),
    "strict-device2": (("array_api_strict",), strict_backend("device2")),
    "strict-no_float64": (("array_api_strict",), strict_backend("no_float64")),
    "strict-no_x64": (("array_api_strict",), strict_backend("no_x64")),
    "torch": (("torch",), torch_backend("torch", "cpu")),
    "jax": (("jax",), jax_backend("jax", x64=True)),
    "jax-x32": (("jax",), jax_backend("jax-x32", x64=False)),
    "jax-jit": (("jax", "array_api_extra"), jax_backend("jax-jit", x64=True)),
    "dask": (("dask", "array_api_extra"), dask_backend),
    "cupy": (("cupy",), cupy_backend),
    "torch-cuda": (("torch",), torch_backend("torch-cuda", "cuda:0")),
    "jax-gpu": (("jax",), jax_backend("jax-gpu", x64=True, platform="gpu")),
}
GPU = ("cupy", "torch-cuda", "jax-gpu")

open_backend = {name: contextlib.contextmanager(make) for name, (_, make) in BACKENDS.items()}


def missing(name: str) -> str | None:
    """Return why a backend cannot be tested here, or None."""
    for package in BACKENDS[name][0]:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    return _NO_DEVICE[name]() if name in GPU else None


def skip_if_missing(name: str) -> None:
    """Skip a test whose backend cannot be tested here, or fail it where that is required."""
    reason = missing(name)
    if reason is None:
        return
    if name in required():
        pytest.fail(f"{name} must be tested here, but {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


def emulated() -> Any:
    """Return the device that a CPU plays for CuPy, with `-p tests.emulated`, or None."""
    found = sys.modules.get("tests.emulated")
    return None if found is None else found.DEVICE


def no_gpu() -> str | None:
    """Return why CuPy has no device here, or None."""
    if importlib.util.find_spec("cupy") is None:
        return "cupy is not installed"
    import cupy

    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"


def no_cuda_tensors() -> str | None:
    """Return why PyTorch has no device here, or None."""
    import torch

    return None if torch.cuda.is_available() else "no CUDA device for PyTorch"


def no_gpu_arrays() -> str | None:
    """Return why JAX has no device here, or None."""
    import jax

    try:
        jax.devices("gpu")
    except RuntimeError as error:
        return f"no GPU for JAX: {error}"
    return None


_NO_DEVICE = {"cupy": no_gpu, "torch-cuda": no_cuda_tensors, "jax-gpu": no_gpu_arrays}


def parameters(names: Iterable[str]) -> list[Any]:
    """Return parameters of tests, marked where a GPU is needed; the first word is a backend."""
    return [
        pytest.param(name, marks=pytest.mark.gpu if name.split()[0] in GPU else ())
        for name in names
    ]


def required() -> tuple[str, ...]:
    """Return the backends that must not be skipped: PORTABLE_BCE_REQUIRE, comma-separated.

    "cpu" and "gpu" stand for all of their kind.
    """
    names = os.environ.get("PORTABLE_BCE_REQUIRE", "")
    if names in ("cpu", "gpu"):
        return tuple(name for name in BACKENDS if (name in GPU) == (names == "gpu"))
    return tuple(filter(None, names.split(",")))
