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
formulas: tuple[str, ...]
outputs: tuple[tuple[str, ...], ...]
try:
    from portable_bce._kernels._compiled import formulas, levels, outputs
except ModuleNotFoundError:
    levels, formulas, outputs = (), (), ()


def describe() -> str:
    """Name the row that NumPy's arrays take: "plain", or "compiled, AVX2" and the like."""
    return f"compiled, {levels[0].name}" if levels else "plain"
