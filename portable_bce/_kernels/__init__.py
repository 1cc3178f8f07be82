"""The formula compiled for the CPU, where the package was installed with a C compiler.

Without the compiled module `levels` is empty, and NumPy computes operation by operation. A module
that is installed but cannot be loaded raises its ImportError: it must not pass for a package
without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portable_bce._kernels._compiled import Level

levels: tuple[Level, ...]
try:
    from portable_bce._kernels._compiled import levels
except ModuleNotFoundError:
    levels = ()

_TITLES = {"avx2": "AVX2", "avx512": "AVX-512", "neon": "NEON"}


def describe() -> str:
    """Name the row that NumPy's arrays take: "plain", or "compiled, AVX2" and the like."""
    return f"compiled, {_TITLES[levels[0].name]}" if levels else "plain"
