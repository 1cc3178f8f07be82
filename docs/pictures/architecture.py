"""Draw docs/pictures/architecture.svg: the layers of the code, as a call goes through them.

python docs/pictures/architecture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
TEXT, LINE, FIRST, LAST = "#808080", "#808080", "#1F83C9", "#009E73"
GAP, HEIGHT, STEP = 0.02, 0.74, 1.0
# From the top: (what the row is for, its colour, (name, what it does) of each box)
ROWS = [
    (
        "for whom",
        FIRST,
        [
            ("torch", "drop-ins for\nPyTorch's"),
            ("boosting", "XGBoost,\nLightGBM"),
            ("testing", "laws for\nany loss"),
            ("__main__", "demo, verify,\nbench, source"),
        ],
    ),
    (
        "the public functions",
        FIRST,
        [("functional", "bce_with_logits, bce, …"), ("losses", "store the keywords")],
    ),
    (
        "what was asked, checked: one Job",
        LINE,
        [
            ("_arguments", "every error; nothing is cast or moved"),
            ("_reduction", "none, sum, mean, weighted_mean"),
        ],
    ),
    (
        "_evaluate: which of the _runners a library has",
        LINE,
        [
            ("NumPy", "compiled,\nor sliced"),
            ("PyTorch", "one node of\nautograd"),
            ("Dask", "one task\nper chunk"),
            ("CuPy", "one\nkernel"),
            ("any other", "plain\noperations"),
        ],
    ),
    (
        "how the formula reaches the machine",
        LINE,
        [
            ("trace", "straight-line code"),
            ("_kernels", "printed as C, compiled\nfor NumPy and PyTorch"),
            ("_runners.cupy", "printed as CUDA"),
        ],
    ),
    (
        "the mathematics, once: takes xp, imports nothing",
        LAST,
        [("_formula", "loss, gradient, Hessian, derivative with respect to targets")],
    ),
]


def draw(axis: Axes, top: float, colour: str, boxes: list[tuple[str, str]]) -> None:
    """Draw a row of boxes of one width."""
    width = 1 / len(boxes)
    for i, (name, what) in enumerate(boxes):
        left = i * width + GAP / 2
        box = FancyBboxPatch(
            (left, top - HEIGHT),
            width - GAP,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.02",
            mutation_aspect=5,
            edgecolor=colour,
            facecolor=(*mpl.colors.to_rgb(colour), 0.1),
        )
        axis.add_patch(box)
        middle = left + (width - GAP) / 2
        axis.text(middle, top - 0.2, name, ha="center", va="center", fontsize=8.5, color=colour)
        axis.text(middle, top - 0.5, what, ha="center", va="center", fontsize=6.8, color=TEXT)


def main() -> None:
    """Draw the rows below each other."""
    plt.style.use(HERE / "look.mplstyle")
    figure, axis = plt.subplots(figsize=(4.4, 5.8))
    for i, (title, colour, boxes) in enumerate(ROWS):
        top = -i * (STEP + 0.1)
        axis.text(GAP / 2, top + 0.1, title, fontsize=7.5, va="center")
        draw(axis, top, colour, boxes)
        if i:
            axis.annotate(
                "",
                (0.97, top + 0.02),
                (0.97, top + STEP + 0.1 - HEIGHT - 0.02),
                arrowprops={"arrowstyle": "->", "color": LINE},
            )
    axis.set(xlim=(0, 1), ylim=(-len(ROWS) * (STEP + 0.1) + 0.3, 0.25))
    axis.set_axis_off()
    figure.savefig(HERE / "architecture.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
