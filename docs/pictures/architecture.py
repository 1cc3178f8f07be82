"""Draw docs/pictures/architecture.svg: the modules, in rows that import downwards.

python docs/pictures/architecture.py
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
TEXT, FIRST, LAST = "#808080", "#1F83C9", "#009E73"
GAP, HEIGHT, STEP = 0.02, 0.5, 1.0
TABLE = (HERE.parent / "architecture.md").read_text().split("| modules |")[1]
# From the top: the modules of a row, and what they are for.
ROWS = [
    (re.findall("`(.*?)`", modules), purpose)
    for modules, purpose in re.findall(r"^\| (`[_a-z][^|]*`) \| (.*) \|$", TABLE, re.M)
]


def draw(axis: Axes, top: float, colour: str, names: list[str]) -> None:
    """Draw a row of boxes of one width."""
    width = 1 / len(names)
    for i, name in enumerate(names):
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
        middle = (left + (width - GAP) / 2, top - HEIGHT / 2)
        axis.text(*middle, name, ha="center", va="center", fontsize=7, color=colour)


def main() -> None:
    """Draw the rows below each other."""
    plt.style.use(HERE / "look.mplstyle")
    figure, axis = plt.subplots(figsize=(5.2, 0.5 * len(ROWS)))
    for i, (names, purpose) in enumerate(ROWS):
        top = -i * STEP
        axis.text(GAP / 2, top + 0.16, purpose, fontsize=6.8, va="center", color=TEXT)
        draw(axis, top, LAST if "_formula" in names else FIRST, names)
    axis.set(xlim=(0, 1), ylim=(-len(ROWS) * STEP + 0.3, 0.35))
    axis.set_axis_off()
    figure.savefig(HERE / "architecture.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
