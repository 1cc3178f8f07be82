"""CuPy on a device that is this CPU: `python -m pytest -p tests.emulated -m gpu`.

All of CuPy is real but what lies beneath it: its calls to CUDA's runtime and driver arrive at
`device.cpp`, and its kernels are compiled by g++ over `kernel.hpp`. Products and sums are
contracted and subnormal float32 taken for zero, as NVRTC does both. Work waits in a queue
until somebody waits for it, so whoever waits without need is found out.

What this cannot show: speed, CUDA's own exponentials, memory shared by blocks that run at
once, and CuPy's libraries (cuBLAS and the like).

CuPy's extensions find each other's C functions in `__pyx_capi__`, by name and signature
(Cython's documented mechanism); CuPy's choice of functions is private (14.2).
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O1", "-march=native", "-ffp-contract=fast", "-fPIC", "-w", "-fpermissive")
# Where the controller of pytest-xdist keeps what its workers share.
FOLDER = "PORTABLE_BCE_EMULATED"
C_TYPES = {
    "PyObject *": ctypes.py_object,
    "float": ctypes.c_float,
    "int": ctypes.c_int,
    "intptr_t": ctypes.c_ssize_t,
    "size_t": ctypes.c_size_t,
    "unsigned int": ctypes.c_uint,
}
LAUNCHER = """
extern "C" Work launch_{name}(
    unsigned int grid, unsigned int block, void **places, bool is_backwards) {{
  return launched<{has_barriers}, {flushes}>({name}, grid, block, places, is_backwards);
}}
"""


def folder() -> Path:
    """Return where what is compiled is kept, until the controller ends."""
    if FOLDER not in os.environ:
        found = tempfile.mkdtemp(prefix="portable_bce-")
        atexit.register(shutil.rmtree, found)
        os.environ[FOLDER] = found
        # Not the user's cache: a device would take our libraries for its own.
        os.environ["CUPY_CACHE_DIR"] = found
        include = sysconfig.get_paths()["include"]
        compiled("-shared", f"-I{include}", str(HERE / "device.cpp"), "-o", f"{found}/device.so")
    return Path(os.environ[FOLDER])


def compiled(*arguments: str) -> None:
    """Call g++, or end the run."""
    if shutil.which("g++") is None:
        raise pytest.UsageError("the emulated device needs g++")
    done = subprocess.run(["g++", *FLAGS, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[:4000])


def replace_functions(module: Any, device: ctypes.PyDLL) -> None:
    """Put the device's functions in the place of a module's, for C and for Python."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_void_p  # the extension's own, which stays
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p] * 3
    for name, capsule in tuple(module.__pyx_capi__.items()):
        symbol = f"runtime_{name}" if name in ("malloc", "free", "memcpy", "memset") else name
        function = getattr(device, symbol, None)
        if function is None:
            continue
        label = api.PyCapsule_GetName(ctypes.py_object(capsule))
        place = ctypes.cast(function, ctypes.c_void_p)
        module.__pyx_capi__[name] = api.PyCapsule_New(place, label, None)
        signature = ctypes.string_at(label).decode()
        if hasattr(module, name) and "struct" not in signature:
            setattr(module, name, callable_of(function, signature))


def callable_of(function: Any, signature: str) -> Callable[..., Any]:
    """Return a C function of Cython's as one of Python's, less the last argument."""
    found = re.fullmatch(r"(.*?) ?\((.*)\)", signature)
    assert found is not None
    result, arguments = found.groups()
    function.restype = C_TYPES[result]
    *kinds, _ = arguments.split(", ")
    function.argtypes = [*(C_TYPES[one] for one in kinds), ctypes.c_int]
    return lambda *given: function(*given, 0)


def compile_kernel(source: str, options: Sequence[str], *_: Any) -> tuple[bytes, dict[str, str]]:
    """Return a shared library for CUDA source, as CuPy's compiler returns a module."""
    names = re.findall(r'extern "C" __global__ void (\w+)', source)
    facts = {
        "has_barriers": str("__sync" in source).lower(),
        # CuPy's -ftz=true, which is for float32 alone
        "flushes": str("CArray<float" in source).lower(),
    }
    launchers = (LAUNCHER.format(name=name, **facts) for name in names)
    include = [f"-I{folder()}", *(one for one in options if one.startswith("-I"))]
    compile_header(include)
    with tempfile.TemporaryDirectory(dir=folder()) as place:
        code = Path(place) / "kernel.cpp"
        code.write_text(f'#include "kernel.hpp"\n{source}{"".join(launchers)}')
        library = code.with_suffix(".so")
        compiled("-shared", *include, str(code), "-o", str(library))
        return library.read_bytes(), {}


def compile_header(include: Sequence[str]) -> None:
    """Compile what all kernels share, which is most of each."""
    ready = folder() / "kernel.hpp.gch"
    if ready.exists():
        return
    header = shutil.copy(HERE / "kernel.hpp", folder())
    own = ready.with_suffix(f".{os.getpid()}")
    compiled("-x", "c++-header", *include, header, "-o", str(own))
    own.rename(ready)


def take_place() -> ctypes.PyDLL:
    """Put the device beneath CuPy, and return it."""
    if "cupy" in sys.modules:
        raise pytest.UsageError("the emulated device must come before CuPy: -p tests.emulated")
    # Reductions by CuPy's own kernels, not by CUB's, which are compiled for a GPU already.
    os.environ["CUPY_ACCELERATORS"] = ""
    device = ctypes.PyDLL(str(folder() / "device.so"))
    from cupy_backends.cuda.api import driver, runtime

    for module in (driver, runtime):
        replace_functions(module, device)
    from cupy.cuda import compiler

    compiler._compile_using_nvrtc_no_warning = compile_kernel
    device.take_launches.restype = ctypes.py_object
    return device


DEVICE = take_place()
