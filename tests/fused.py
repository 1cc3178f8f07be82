"""CuPy's fuser without a device: traced on abstract arrays, interpreted by NumPy, compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import numpy as compat

from portable_bce import _fused, _plain
from portable_bce._formula import with_logits
from portable_bce._inputs import Inputs, gather
from portable_bce._reduce import Reduction, library_total, reduction_of
from portable_bce.functional._probabilities import formula_of

NAMES = ("loss", "grad", "hess", "grad_targets")
# Arguments beside x and y, of one kernel each; with eps, of probabilities.
KERNELS: dict[str, dict[str, Any]] = {
    "logits": {},
    "everything": {"weight": np.ones((3, 1), np.int32), "pos_weight": 2.0, "label_smoothing": 0.1},
    "numbers": {"y": 0.3, "weight": 0.1, "pos_weight": 0.7},
    "masked": {"where": np.ones(4, bool), "y": np.ones((3, 4), np.int16)},
    "mean": {"reduction": "mean"},
    "masked mean": {"reduction": "mean", "where": np.ones((3, 4), bool), "axis": 0},
    "probabilities": {"eps": None, "weight": 0.5},
    "clamped": {"eps": 1e-7, "pos_weight": np.ones(4, np.float16)},
}


class Unfused:
    """NumPy with a `fuse` that leaves a function as it is: what a runner does around one."""

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *others: function(x.view(np.ndarray), *others)

    def __getattr__(self, name: str) -> Any:
        return getattr(compat, name)


@dataclass(eq=False)
class Traced(Unfused):
    """NumPy whose `fuse` traces by CuPy's fuser, and evaluates what that recorded.

    CuPy's public `fuse` needs a device for its arrays and hides why it could not fuse, by
    taking another fuser; hence the private names (CuPy 14.2).
    """

    kernels: list[Kernel] = field(default_factory=list)

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            kernel = Kernel.of(function, arguments)
            self.kernels.append(kernel)
            return kernel(*arguments)

        return call

    def __getattr__(self, name: str) -> Any:
        from array_api_compat import cupy

        return getattr(cupy if fusing() else compat, name)


def fusing() -> bool:
    from cupy._core import fusion

    return bool(fusion._is_fusing())


def abstract(like: Any) -> Any:
    """Return a CuPy array of no memory; scalars and None as they are."""
    import cupy

    if not isinstance(like, np.ndarray):
        return like
    nowhere = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(0, 0, None, device_id=0), 0)
    return cupy.ndarray(like.shape, like.dtype, memptr=nowhere)


@dataclass(frozen=True)
class Kernel:
    """One elementwise kernel: its parameters, operations and results, and CuPy's own object."""

    scalars: list[bool]
    inputs: list[Any]
    operations: list[Any]
    results: list[Any]
    compiled: Any

    @classmethod
    def of(cls, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Kernel:
        """Trace as `cupy.fuse` does; what it cannot fuse raises here."""
        from cupy._core import fusion

        given: list[Any] = []
        results: list[Any] = []

        def noted(*variables: Any) -> Any:
            given.extend(one._var for one in variables if one is not None)
            values = function(*variables)
            results.extend(one._var for one in values)
            return values

        history = fusion._FusionHistory()
        fusion._thread_local.history = history
        fusion._thread_local.is_old_fusing = True
        try:
            compiled, _ = history.get_fusion(noted, tuple(map(abstract, arguments)), "bce")
        finally:
            fusion._thread_local.history = None
            fusion._thread_local.is_old_fusing = False
        scalars = [not isinstance(one, np.ndarray) for one in arguments if one is not None]
        return cls(scalars, given, history.op_list, results, compiled)

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        """Evaluate operation by operation, each in the dtypes that the source casts to."""
        values = [value for value in arguments if value is not None]
        known = dict(zip((one.index for one in self.inputs), values, strict=True))
        for operation in self.operations:
            *sources, target = operation.args
            operands = [
                np.asarray(known.get(one.index, one.const_value)).astype(dtype)
                for one, dtype in zip(sources, operation.dtypes, strict=False)
            ]
            value = operands[0] if is_cast(operation) else ufunc(operation)(*operands)
            known[target.index] = value.astype(operation.dtypes[-1]).astype(target.dtype)
        shape = np.broadcast_shapes(*(np.shape(value) for value in values))
        return tuple(np.broadcast_to(known[one.index], shape) for one in self.results)

    def dtypes(self) -> set[str]:
        """Return the dtypes of all operations, other than casts."""
        found = (one.dtypes for one in self.operations if not is_cast(one))
        return {dtype.name for dtypes in found for dtype in dtypes}

    def source(self) -> str:
        """Return the CUDA source for contiguous arrays, as CuPy makes it."""
        from cupy import ndarray
        from cupy._core import _carray, _kernel, _scalar

        kernel = self.compiled
        scalars = [*self.scalars, *(False for _ in self.results)]
        infos = [
            _kernel._ArgInfo(3, _scalar.CScalar, one.dtype, 0, True, True)
            if is_scalar
            else _kernel._ArgInfo(1, ndarray, one.dtype, 1, True, True)
            for one, is_scalar in zip(kernel.params[:-1], scalars, strict=True)
        ]
        infos.append(_kernel._ArgInfo(2, _carray.Indexer, None, 1, True, True))
        dtypes = [one.dtype for one in kernel.params[:-1]]
        given, made = tuple(dtypes[: kernel.nin]), tuple(dtypes[kernel.nin :])
        *_, types = kernel._decide_params_type(given, made)
        text = (kernel.params, kernel.operation, kernel.name, kernel.preamble)
        made_of = _kernel._get_elementwise_kernel_code
        head = "".join(f"#include <cupy/{name}.cuh>\n" for name in ("complex", "carray"))
        code: str = made_of(tuple(infos), types, *text, **kernel.kwargs)
        return head + code


def is_cast(operation: Any) -> bool:
    """Tell whether an operation only casts."""
    return bool(operation.submodule.name.startswith("astype_"))


def ufunc(operation: Any) -> Callable[..., Any]:
    """Return NumPy's function for an operation of CuPy."""
    return getattr(np, operation.submodule.name.removeprefix("cupy_"))  # type: ignore[no-any-return]


def nvrtc() -> Callable[[str], str]:
    """Return what compiles CUDA source to PTX with CuPy's own options, or skip the test."""
    pytest.importorskip("cupy")
    from cuda import pathfinder
    from cupy.cuda import compiler
    from cupy_backends.cuda.libs import nvrtc as library

    try:
        library.getVersion()
    except pathfinder.DynamicLibNotFoundError:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc, or the CUDA toolkit")
    include = [f"-I{one}" for one in headers()]
    options = ("-std=c++17", "-ftz=true", "-arch=compute_80", *include)

    def compiled(source: str) -> str:
        program = compiler._NVRTCProgram(source, "bce.cu", method="ptx")
        ptx, _ = program.compile((*options, "--device-as-default-execution-space"))
        return str(ptx, "ascii")

    return compiled


def headers() -> list[Path]:
    """Return where CuPy's headers and CUDA's are, or skip the test."""
    pytest.importorskip("cupy")
    from cuda import pathfinder
    from cupy import _core

    found = pathfinder.find_nvidia_header_directory("cudart")
    if found is None:
        pytest.skip("no CUDA headers: pip install nvidia-cuda-runtime, or the CUDA toolkit")
    own = Path(_core.__file__).parent / "include"
    bundled = (one for one in (own / "cupy" / "_cccl").iterdir() if one.is_dir())
    return [own, *bundled, Path(found)]


def gathered(
    library: Any, x: Any, y: Any, *, reduction: Any = "none", axis: Any = None, **keywords: Any
) -> tuple[Inputs, Reduction]:
    first = "probabilities" if "eps" in keywords else "logits"
    inputs = gather(first, x, y, **keywords)
    return changed(inputs, xp=library), reduction_of(reduction, axis, x.ndim)


def fused(library: Any, *wanted: str, rounded: bool = True, **keywords: Any) -> tuple[Any, ...]:
    inputs, reduction = gathered(library, **keywords)
    formula = formula_of(inputs) if "eps" in keywords else with_logits
    with np.errstate(all="ignore"):
        return _fused.evaluate(formula, inputs, reduction, wanted, rounded, library_total)


def plain(library: Any, *wanted: str, rounded: bool = True, **keywords: Any) -> tuple[Any, ...]:
    """Evaluate by `_plain`, with every number as an array of it."""
    inputs, reduction = gathered(library, **keywords)
    formula = formula_of(inputs) if "eps" in keywords else with_logits
    numbers = {
        name: library.asarray(value, dtype=inputs.work)
        for name in ("targets", "weight", "pos_weight")
        if isinstance(value := getattr(inputs, name), float)
    }
    inputs = changed(inputs, **numbers)
    with np.errstate(all="ignore"):
        return _plain.evaluate(formula, inputs, reduction, wanted, rounded, library_total)


def changed(inputs: Inputs, **changes: Any) -> Inputs:
    return Inputs(**{name: getattr(inputs, name) for name in Inputs.__annotations__} | changes)
