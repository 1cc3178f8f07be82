"""The array libraries that the command line runs on."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

# name -> its array API namespace
BACKENDS = {
    "numpy": "array_api_compat.numpy",
    "cupy": "array_api_compat.cupy",
    "torch": "array_api_compat.torch",
    "jax": "jax.numpy",
}


class UnavailableError(Exception):
    """What is asked cannot be done on this machine; the message is one line."""


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


def _check_device(runtime: Any) -> None:
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise UnavailableError(f"CuPy finds no CUDA device ({error})") from error
    if count == 0:
        raise UnavailableError("CuPy finds no CUDA device")
