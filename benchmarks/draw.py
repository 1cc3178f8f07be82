"""Draw docs/speed.svg: our time in units of each peer's, against the number of elements.

python benchmarks/draw.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
# Okabe and Ito's colours, which the colour-blind can tell apart; (group, ours, other) -> look
LOOK = {
    ("numpy", "portable_bce", "published formula"): ("NumPy / published formula", "#000000"),
    ("numpy", "portable_bce", "scikit-learn"): ("NumPy / scikit-learn", "#0072B2"),
    ("numpy", "portable_bce", "scipy.special"): ("NumPy / scipy.special", "#56B4E9"),
    ("torch", "portable_bce, by autograd", "PyTorch"): ("PyTorch / its own, eager", "#D55E00"),
    ("torch.compile", "portable_bce, by autograd", "PyTorch"): (
        "PyTorch / its own, compiled",
        "#CC79A7",
    ),
    ("jax", "portable_bce", "optax"): ("JAX / optax, jit", "#009E73"),
}


def main() -> None:
    """Draw both dtypes beside each other, with quartiles."""
    run = json.loads((HERE / "data" / "one-thread.json").read_text())
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, dtype in zip(axes, run["request"]["dtypes"], strict=True):
        for pair, (label, colour) in LOOK.items():
            found = [
                one
                for one in run["results"]
                if (one["group"], one["ours"], one["other"]) == pair
                and (one["task"], one["dtype"]) == ("value_and_grad", dtype)
            ]
            sizes = [one["size"] for one in found]
            ratio = {key: [one["ratio"][key] for one in found] for key in ("low", "median", "high")}
            axis.plot(sizes, ratio["median"], color=colour, marker=".", label=label)
            axis.fill_between(sizes, ratio["low"], ratio["high"], color=colour, alpha=0.15, lw=0)
        axis.axhline(1, color="grey", lw=0.8, ls=":")
        axis.set(xscale="log", yscale="log", xlabel="elements", title=dtype)
        axis.set_yticks([0.1, 0.2, 0.5, 1, 2, 4], ["0.1", "0.2", "0.5", "1", "2", "4"])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("our time / the other's")
    axes[1].legend(frameon=False, fontsize=8)
    mpl.rcParams["svg.hashsalt"] = "portable_bce"
    figure.savefig(HERE.parent / "docs" / "speed.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
