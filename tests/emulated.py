"""CuPy's kernels run on the CPU: CuPy's own source, compiled by g++ over a few lines of CUDA.

What the threads of a block do between two barriers runs one thread after the other, in
either order, so what a kernel computes is shown here, and that it computes the same
whichever thread comes first. Speed, and memory shared by blocks, only a device shows.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fused import Kernel, Traced, headers, source

SHIM = Path(__file__).with_name("cuda_on_a_cpu.hpp")
FLAGS = ("-std=c++17", "-O0", "-ffp-contract=off", "-DNDEBUG", "-fPIC", "-w")
# The shapes and strides of the arguments, eight numbers each.
GLUE = """
static void **data;
static ptrdiff_t (*shapes)[8], (*strides)[8];
extern "C" void run(
    unsigned grid, unsigned block, bool is_backwards,
    void **d, ptrdiff_t (*sh)[8], ptrdiff_t (*st)[8]) {{
  data = d, shapes = sh, strides = st;
  launch(grid, block, is_backwards, [] {{ {name}({arguments}); }});
}}
"""


@dataclass(eq=False)
class Emulated(Traced):
    """NumPy with CuPy's kernels, both those of `fuse` and those that are written out.

    The threads of a block run from the first to the last, or backwards.
    """

    is_backwards: bool = False
    launches: list[str] = field(default_factory=list)

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[Any, Any] = {}

        def call(x: Any, *others: Any) -> Any:
            key = tuple((np.ndim(one), getattr(one, "dtype", None)) for one in (x, *others))
            if key not in known:
                known[key] = Kernel.of(function, (x, *others)).compiled
            return self.launch(known[key], x, *(one for one in others if one is not None))

        return call

    def ElementwiseKernel(self, *arguments: Any, **keywords: Any) -> Callable[..., Any]:  # noqa: N802
        import cupy

        return partial(self.launch, cupy.ElementwiseKernel(*arguments, **keywords))

    def launch(
        self, kernel: Any, *given: Any, size: int | None = None, block_size: int = 128
    ) -> Any:
        """Run a kernel as `cupy.ElementwiseKernel.__call__` would."""
        for one in given:
            if hasattr(one, "__cupy_override_elementwise_kernel__"):
                return one.__cupy_override_elementwise_kernel__(kernel, *given)
        arguments = list(given)
        shape: tuple[int, ...] = (size,) if size is not None else ()
        if size is None:
            arrays = np.broadcast_arrays(*(one for one in given if isinstance(one, np.ndarray)))
            shape = arrays[0].shape
            arguments = [
                np.broadcast_to(one, shape) if isinstance(one, np.ndarray) else one for one in given
            ]
        if len(arguments) < kernel.nargs:
            arguments += [np.empty(shape, one.dtype) for one in kernel.out_params]
        self.launches.append(kernel.name)
        threads = int(np.prod(shape))
        if threads:
            grid = -(-threads // block_size)
            run(kernel, arguments, shape, grid, block_size, self.is_backwards)
        return tuple(arguments[kernel.nin :])


def run(
    kernel: Any, arguments: Sequence[Any], shape: Any, grid: int, block: int, is_backwards: bool
) -> None:
    function = compiled(source(kernel, arguments, len(shape)))
    values = [
        np.asarray(one, parameter.dtype) if not isinstance(one, np.ndarray) else one
        for one, parameter in zip(arguments, kernel.params, strict=False)
    ]
    data = (ctypes.c_void_p * len(values))(*(one.ctypes.data for one in values))
    shapes, strides = np.zeros((2, len(values) + 1, 8), np.intp)
    for row, one in enumerate(values):
        shapes[row, : one.ndim], strides[row, : one.ndim] = one.shape, one.strides
    shapes[-1, : len(shape)] = shape
    places = (ctypes.c_void_p(one.ctypes.data) for one in (shapes, strides))
    function(grid, block, is_backwards, data, *places)


@cache
def compiled(code: str) -> Any:
    """Compile a kernel for this CPU."""
    found = re.search(r"__global__ void (\w+)\((.*)\) {", code)
    assert found is not None
    name, parameters = found.groups()
    kinds = re.findall(r"(?:const )?(\w[\w ]*(?:<[^>]*>)?) \w+(?:,|$)", parameters)
    arguments = [argument(kind, row) for row, kind in enumerate(kinds)]
    glue = GLUE.format(name=name, arguments=", ".join(arguments))
    path = folder() / f"{hashlib.sha256(code.encode()).hexdigest()}.cpp"
    path.write_text(f'#include "{SHIM.name}"\n{code}{glue}')
    library = path.with_suffix(".so")
    called("-shared", str(path), "-o", str(library))
    return ctypes.CDLL(str(library)).run


@cache
def folder() -> Path:
    """Return where the headers are compiled already, which is half of the work."""
    found = Path(tempfile.mkdtemp(prefix="portable_bce-"))
    atexit.register(shutil.rmtree, found)
    shim = shutil.copy(SHIM, found)
    called("-x", "c++-header", shim, "-o", f"{shim}.gch")
    return found


def called(*arguments: str) -> None:
    """Call g++, or skip the test."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    include = [f"-I{one}" for one in headers()]
    subprocess.run(["g++", *FLAGS, *include, *arguments], check=True)


def argument(kind: str, row: int) -> str:
    """Return the C++ expression that makes an argument of a kernel."""
    if kind.startswith("CIndexer"):
        return f"{kind}(shapes[{row}])"
    if kind.startswith("CArray"):
        dtype = kind.removeprefix("CArray<").split(",")[0]
        return f"{kind}(static_cast<{dtype} *>(data[{row}]), shapes[{row}], strides[{row}])"
    return f"*static_cast<{kind} *>(data[{row}])"
