"""On what a run was made: accuracy depends on the kernels, and NumPy picks its exp by the CPU."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import portable_bce
from portable_bce import _kernels


def described() -> dict[str, Any]:
    """Return the date, the versions, the CPU and what NumPy computes exp and log1p with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "portable_bce": portable_bce.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "libc": " ".join(platform.libc_ver()),
        "kernels": _kernels.describe(),
        "numpy dispatch": dispatch(),
    }


def dispatch() -> dict[str, str]:
    """Return the instruction set that NumPy picked for exp and log1p, by their dtype."""
    try:
        from numpy.lib.introspect import opt_func_info  # noqa: PLC0415 (NumPy 2.1)
    except ImportError:
        return {}
    found = opt_func_info(func_name="^(exp|log1p)$")
    return {
        f"{function} {_types(signature)}": str(targets["current"])
        for function, signatures in found.items()
        for signature, targets in signatures.items()
        if _types(signature) in ("float32", "float64")
    }


def _types(signature: str) -> str:
    """Name the dtype of a loop, which NumPy gives by its characters ("ff")."""
    names = {"f": "float32", "d": "float64"}
    return names.get(signature[:1], signature) if len(set(signature)) == 1 else signature


def _cpu() -> str:
    """Return the CPU's name; platform.processor() is empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
