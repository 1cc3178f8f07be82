"""Draw docs/accuracy/*.svg: errors of loss and gradient against the logit, ours and others'.

python benchmarks/accuracy_picture.py
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt
from pages import DOCS
from peers import PEERS, subject_of

from portable_bce._commands.exact import errors
from portable_bce._commands.subjects import Spec
from portable_bce._commands.sweep import Points, Subject
from portable_bce._contract import FORMATS, Format

BINS, EACH = 150, 400
REACH = {"float32": 100.0, "float64": 740.0}
# Nearly Okabe and Ito's colours, which the colour-blind can tell apart, on white and on black.
LOOK = {
    "torch": ("#D55E00", "-", 2.2, "PyTorch"),
    "published": ("#C76A9D", "--", 1.4, "published formula"),
    "scikit-learn": ("#A6761D", "-", 1.2, "scikit-learn"),
    "optax": ("#009E73", "-", 1.2, "optax"),
    "portable_bce": ("#1F83C9", "-", 2.6, "portable_bce"),
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
            points = Points(x, y)
            got, (exact, _) = subject.evaluate(points)[value], points.exact(np, form)[value]
            off = errors(np, got, exact, None, form.smallest, form, lost)
            worst = np.maximum(worst, off.max(axis=1))
    return worst


def draw(dtype: str, value: str) -> None:
    """Draw the errors of one result in one dtype."""
    form, reach = FORMATS[dtype], REACH[dtype]
    edges = np.linspace(-reach, reach, BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    figure, axis = plt.subplots()
    for name, (colour, line, width, label) in LOOK.items():
        backend = "numpy" if name == "portable_bce" else PEERS[name]().backend
        off = curve(subject_of(Spec(name, backend, dtype)), form, value, edges)
        axis.plot(middle, np.maximum(off, 0.02), line, color=colour, lw=width, label=label)
    axis.axhline(1 / form.eps, color="#808080", lw=0.8, ls=":")
    title = "gradient" if value == "grad" else value
    axis.set(yscale="log", title=f"{title}, {dtype}", xlabel="logit", ylabel="error in ULP")
    figure.legend(loc="outside lower center", ncols=3, handlelength=1.4)
    figure.savefig(DOCS / "accuracy" / f"{title}-{dtype}.svg", metadata={"Date": None})


def main() -> None:
    """Draw loss and gradient in two dtypes."""
    plt.style.use(DOCS / "pictures" / "look.mplstyle")
    for dtype in REACH:
        for value in ("loss", "grad"):
            draw(dtype, value)


if __name__ == "__main__":
    main()
