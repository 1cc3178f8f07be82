"""Who is timed on a GPU, and by what clock: all libraries beside each other, by one device."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import contenders
import numpy as np
from contenders import Call, Contender

from portable_bce._arguments import check_arguments
from portable_bce._formula import with_logits
from portable_bce._job import Job
from portable_bce._reduction import library_total, reduction_of
from portable_bce._runners.plain import Plain

GROUP = "gpu"


def members(cupy: Any, label: str = "cuda") -> Iterator[Contender]:
    """Yield everyone who is installed; ``cupy`` and ``label`` say where arrays are made."""

    def member(name: str, calls: dict[str, Call]) -> Contender:
        def arrays(x: Any, y: Any) -> tuple[Any, Any]:
            return cupy.asarray(x), cupy.asarray(y)

        return Contender(f"{name}, CuPy", GROUP, calls, arrays, lambda result: result)

    yield member(contenders.OURS, contenders.ours())
    yield member("the same, not fused", _not_fused())
    yield member("published formula", contenders.published())
    yield member("floor: read x, y, write one", contenders.stream())
    if importlib.util.find_spec("torch"):
        for one in contenders.on_torch(label):
            yield replace(one, name=f"{one.name}, PyTorch", group=GROUP)
        for one in contenders.on_compiled_torch(label):
            yield replace(one, name=f"{one.name}, compiled PyTorch", group=GROUP)
    if importlib.util.find_spec("jax"):
        for one in contenders.on_jax():
            yield replace(one, name=f"{one.name}, JAX", group=GROUP)


def _not_fused() -> dict[str, Call]:
    """Return our formula operation by operation, as CuPy would run it without our kernels."""

    def both(x: Any, y: Any) -> Any:
        arguments, reduction = check_arguments("logits", x, y), reduction_of("mean", None, x.ndim)
        return Plain(library_total).evaluate(
            Job(with_logits, arguments, reduction, ("loss", "grad"))
        )

    return {"value_and_grad": both}


def clock(cupy: Any) -> Callable[[], float]:
    """Return a clock that waits for all that was launched, in whatever stream.

    Between two readings lie many calls: the time is the device's, unless launching a call
    takes longer than running it, which is then what its user waits for.
    """

    def read() -> float:
        cupy.cuda.runtime.deviceSynchronize()
        return time.perf_counter()

    return read


def described(cupy: Any) -> dict[str, Any]:
    """Return what the device is."""
    runtime = cupy.cuda.runtime
    found = runtime.getDeviceProperties(runtime.getDevice())
    return {
        "name": found["name"].decode(),
        "memory, GiB": round(found["totalGlobalMem"] / 2**30, 1),
        "driver's CUDA": runtime.driverGetVersion(),
        "CuPy's CUDA": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
    }
