"""The demo's picture."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from portable_bce._backends import UnavailableError


def draw(file: Path, gaps: list[float]) -> None:
    """Draw how far above the optimum each step lies, on a logarithmic axis.

    Parameters
    ----------
    file : Path
        Its suffix says the format.
    gaps : list of float
        One a step. Those that are not positive are lost in rounding and drawn at the foot.

    Raises
    ------
    UnavailableError
        The file cannot be written.
    """
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    # One rounding of the first objective, which is the largest.
    foot = sys.float_info.epsilon * max(gaps)
    axes.semilogy([max(gap, foot) for gap in gaps], marker="." if len(gaps) < 50 else "")
    axes.set(xlabel="step", ylabel="objective above its optimum")
    axes.grid(alpha=0.3)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"cannot write {file}: {error}") from error
