"""The array libraries that the command line runs on."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# name -> its array API namespace
BACKENDS = {
    "numpy": "array_api_compat.numpy",
    "cupy": "array_api_compat.cupy",
    "torch": "array_api_compat.torch",
    "jax": "jax.numpy",
    "dask": "array_api_compat.dask.array",
}


class UnavailableError(Exception):
    """What is asked cannot be done on this machine; the message is one line."""


def require_file(option: str, path: Path | None) -> None:
    """Refuse a file that could not be written at the end of a long run."""
    if path is not None and not path.absolute().parent.is_dir():
        raise UnavailableError(
            f"`{option}` must be a file in a folder that exists; {path.parent} does not"
        )
    if path is not None and path.is_dir():
        raise UnavailableError(f"`{option}` must be a file; {path} is a folder")


@contextmanager
def open_backend(name: str) -> Iterator[Any]:
    """Yield the namespace of a library, with float64 switched on for as long.

    Raises
    ------
    ModuleNotFoundError
        The library is not installed.
    UnavailableError
        It has no device here.
    """
    xp = importlib.import_module(BACKENDS[name])
    if name == "cupy":
        _check_device(importlib.import_module("cupy").cuda.runtime)
    with importlib.import_module("jax").enable_x64(True) if name == "jax" else nullcontext():
        yield xp


def installed(name: str) -> bool:
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def version(name: str) -> str:
    """Return the version of a library that can be imported."""
    return str(importlib.import_module(name).__version__)


@dataclass(frozen=True, slots=True)
class Place:
    """A library on one of its devices, with the way there from NumPy and back.

    bfloat16 travels as float32, which holds it exactly: NumPy has none of its own.
    """

    backend: str
    xp: Any
    device: Any
    label: str

    def dtype(self, name: str) -> Any:
        """Return a dtype of the library by its name."""
        if name == "bfloat16" and self.backend == "numpy":
            return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return np.dtype(name) if self.backend == "dask" else getattr(self.xp, name)

    def array(self, values: Any, dtype: str) -> Any:
        """Move a NumPy array to the device; one of this library stays where it is."""
        if isinstance(values, np.ndarray):
            # PyTorch shares the memory, and warns if it may not be written to.
            values = np.require(values, requirements=["C", "W"])
        array = self.xp.asarray(values, device=self.device)
        return self.xp.astype(array, self.dtype(dtype)) if dtype == "bfloat16" else array

    def numpy(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array of the library back."""
        if str(array.dtype).endswith("bfloat16"):
            array = self.xp.astype(array, self.xp.float32)
        if self.backend == "torch":
            array = array.detach().cpu().numpy()
        elif self.backend == "cupy":
            array = array.get()
        elif self.backend == "dask":
            array = array.compute()
        return np.asarray(array)


def places(name: str, xp: Any) -> list[Place]:
    """Return the devices of a library, the default one first."""
    if name == "cupy":
        cupy = importlib.import_module("cupy")
        devices = [cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
        return [Place(name, xp, device, f"cuda:{device.id}") for device in devices]
    if name == "torch":
        torch = importlib.import_module("torch")
        labels = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        return [Place(name, xp, torch.device(label), label) for label in labels]
    if name == "jax":
        jax = importlib.import_module("jax")
        platforms = dict.fromkeys([jax.default_backend(), "cpu"])
        found = [device for platform in platforms for device in jax.devices(platform)]
        return [Place(name, xp, one, f"{one.platform}:{one.id}") for one in found]
    return [Place(name, xp, "cpu", "cpu")]


def _check_device(runtime: Any) -> None:
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise UnavailableError(f"CuPy finds no CUDA device ({error})") from error
    if count == 0:
        raise UnavailableError("CuPy finds no CUDA device")
