"""Draw docs/accuracy/errors.svg: errors against the logit, ours and others'.

python docs/accuracy/picture.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt

from portable_bce._verify.exact import FORMATS, Exact, Format, errors
from portable_bce._verify.peers import PEERS
from portable_bce._verify.points import Points
from portable_bce._verify.subjects import Spec, Subject, subject_of

BINS, EACH = 150, 400
REACH = {"float32": 100.0, "float64": 740.0}
# Okabe and Ito's colours, which the colour-blind can tell apart.
LOOK = {
    "portable_bce": ("#000000", 2.2),
    "torch": ("#D55E00", 1.2),
    "optax": ("#009E73", 1.2),
    "scikit-learn": ("#0072B2", 1.2),
    "published": ("#CC79A7", 1.2),
}


def curve(subject: Subject, form: Format, value: str, edges: Any) -> Any:
    """Return the largest error in each bin, with the worse of the two labels."""
    rng = np.random.default_rng(0)
    x = rng.uniform(edges[:-1, None], edges[1:, None], (BINS, EACH)).astype(form.carrier)
    lost = form.smallest_normal if subject.flushes else None
    worst = np.zeros(BINS)
    with np.errstate(all="ignore"), subject.opened():
        for label in (0, 1):
            y = np.full_like(x, label)
            got = subject.evaluate(Points(x, y))[value]
            parts = Exact.of(np, x.astype(form.wide))
            exact, _ = parts.values(np, y.astype(form.wide), None, None, form.wide(0))[value]
            off = errors(np, got, exact, None, form.smallest, form, lost)
            worst = np.maximum(worst, off.max(axis=1))
    return worst


def main() -> None:
    """Draw two dtypes below each other, loss beside gradient."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), sharex="row", layout="constrained")
    for row, (dtype, reach) in zip(axes, REACH.items(), strict=True):
        form = FORMATS[dtype]
        edges = np.linspace(-reach, reach, BINS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        for axis, value in zip(row, ("loss", "grad"), strict=True):
            for name, (colour, width) in LOOK.items():
                backend = "numpy" if name == "portable_bce" else PEERS[name]().backend
                off = curve(subject_of(Spec(name, backend, dtype)), form, value, edges)
                axis.plot(middle, np.maximum(off, 0.02), color=colour, lw=width, label=name)
            axis.axhline(1 / form.eps, color="grey", lw=0.8, ls=":")
            axis.set(yscale="log", title=f"{'gradient' if value == 'grad' else value}, {dtype}")
            axis.grid(alpha=0.25)
        row[0].set_ylabel("error in ULP")
    for axis in axes[1]:
        axis.set_xlabel("logit")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="center left")
    mpl.rcParams["svg.hashsalt"] = "portable_bce"
    figure.savefig(Path(__file__).parent / "errors.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
