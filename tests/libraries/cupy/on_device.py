"""CuPy's kernels as they are launched, on a device or on an emulated one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portable_bce import _contract as contract
from tests import backends

# Compilers contract products and sums in two kernels apart, so what both compute is only as
# near as each is to the exact, where nothing cancels.
APART = 2 * contract.bounds_for("float32", weighted=True, factors=2).hess


def arrays(cupy: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with NumPy's arrays brought to the device."""
    return {
        name: cupy.asarray(value) if isinstance(value, np.ndarray) else value
        for name, value in keywords.items()
    }


def launches(call: Callable[[], Any]) -> list[str]:
    """Return the kernels that a call launches, its second time: the first one compiles."""
    call()
    device = backends.emulated()
    if device is None:
        return profiled(call)
    device.take_launches()
    call()
    names: list[str] = device.take_launches()
    return names


def profiled(call: Callable[[], Any]) -> list[str]:
    """Return the kernels of a call as PyTorch's profiler sees them."""
    backends.skip_if_missing("torch-cuda")
    import torch

    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    names = [one.name for one in profile.events() if one.device_type == on_device]
    return [name for name in names if not name.startswith(("Memcpy", "Memset"))]


def sources(patch: pytest.MonkeyPatch, call: Callable[[], Any]) -> list[str]:
    """Return the CUDA source of every kernel that a call compiles, from nothing kept."""
    import cupy
    from cupy.cuda import compiler

    seen = []
    compile_kernel = compiler._compile_using_nvrtc_no_warning

    def noted(source: str, *others: Any) -> Any:
        seen.append(source)
        return compile_kernel(source, *others)

    with patch.context() as context:
        context.setenv("CUPY_CACHE_IN_MEMORY", "1")
        context.setattr(compiler, "_compile_using_nvrtc_no_warning", noted)
        cupy.clear_memo()
        call()
    return seen
