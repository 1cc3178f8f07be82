"""Jobs for CuPy's kernels, and the kernels without a device: evaluated by NumPy, compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import numpy as compat

from portable_bce._arguments import check_arguments
from portable_bce._formula import with_logits, with_probabilities
from portable_bce._job import Job
from portable_bce._reduction import library_total, reduction_of
from portable_bce._runners import cupy, plain
from portable_bce._runners.trace import assigned

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


def job_of(
    *outputs: str,
    x: Any,
    y: Any,
    reduction: Any = "none",
    axis: Any = None,
    round_derivatives: bool = True,
    **keywords: Any,
) -> Job:
    """Return the job of a call; with eps among the keywords, from probabilities."""
    named = {True: ("probabilities", with_probabilities), False: ("logits", with_logits)}
    first, formula = named["eps" in keywords]
    arguments = check_arguments(first, x, y, **keywords)
    reduced = reduction_of(reduction, axis, x.ndim)
    waiting = None if round_derivatives else arguments.compute_dtype
    return Job(formula, arguments, reduced, outputs, waiting)


def by_kernels(*outputs: str, **keywords: Any) -> tuple[Any, ...]:
    """Evaluate by CuPy's row."""
    return cupy.RUNNER.evaluate(job_of(*outputs, **keywords))


def by_operations(*outputs: str, **keywords: Any) -> tuple[Any, ...]:
    """Evaluate by the plain row."""
    return plain.Plain(library_total).evaluate(job_of(*outputs, **keywords))


def by_trace(*outputs: str, **keywords: Any) -> tuple[Any, ...]:
    """Evaluate what is printed as a kernel, on NumPy."""
    job = plain.widened(job_of(*outputs, **keywords))
    with np.errstate(all="ignore"):
        divisor = plain.divisor_of(job, library_total)
        body = cupy.body_of(*cupy.described(job, divisor))
        values = assigned(body.trace.operations, compat, body.inputs(job, divisor))
        results = [(name, values[value]) for name, (value, _) in body.outputs.items()]
        return tuple(
            plain.reduced(job, value, divisor, library_total) if name == "loss" else value
            for name, value in results
        )


def texts(job: Job) -> list[cupy.Text]:
    """Return the kernels of a job: elementwise and, if losses are summed, with their sum."""
    body = body_of(job)
    return [body.elementwise(), *([body.summing(cupy.single(job))] if job.sums_loss else [])]


def body_of(job: Job) -> cupy.Body:
    with np.errstate(all="ignore"):
        return cupy.body_of(*cupy.described(job, plain.divisor_of(job, library_total)))


def abstract(like: Any) -> Any:
    """Return a CuPy array of no memory."""
    import cupy

    nowhere = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(0, 0, None, device_id=0), 0)
    return cupy.ndarray(like.shape, like.dtype, memptr=nowhere)


def cuda(text: cupy.Text, job: Job) -> str:
    """Return the CUDA source of a kernel for contiguous arrays, as CuPy makes it.

    CuPy's public kernel writes it when it is called on a device; hence the private names
    (CuPy 14.2).
    """
    from array_api_compat import cupy as xp
    from cupy import ndarray
    from cupy._core import _carray, _kernel, _scalar

    kernel = text.compiled(xp)
    *params, _ = kernel.params
    numbers = {*body_of(job).numbers, "length", "denominator"}
    dtype = job.arguments.result_dtype  # of the sum, the only parameter without its own
    infos = [
        _kernel._ArgInfo(3, _scalar.CScalar, one.dtype, 0, True, True)
        if one.name in numbers and not one.raw
        else _kernel._ArgInfo(1, ndarray, one.dtype or dtype, 1, True, True)
        for one in params
    ]
    infos.append(_kernel._ArgInfo(2, _carray.Indexer, None, 1, True, True))
    dtypes = [one.dtype or dtype for one in params]
    given, made = tuple(dtypes[: kernel.nin]), tuple(dtypes[kernel.nin :])
    *_, types = kernel._decide_params_type(given, made)
    parts = (kernel.params, kernel.operation, kernel.name, kernel.preamble)
    made_of = _kernel._get_elementwise_kernel_code
    head = "".join(f"#include <cupy/{name}.cuh>\n" for name in ("complex", "carray"))
    code: str = made_of(tuple(infos), types, *parts, **kernel.kwargs)
    return head + code


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
