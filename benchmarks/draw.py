"""Draw docs/speed-*.svg: our time in units of each peer's, against the number of elements.

On a GPU, everybody's time in units of the floor's.

python benchmarks/draw.py
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from pages import DOCS, load
from speed_page import FLOOR, default, medians

# Nearly Okabe and Ito's colours, which the colour-blind can tell apart, on white and on black;
# (group, ours, other) -> look
LOOK = {
    ("numpy", "portable_bce", "shortest formula"): (
        "NumPy / shortest formula, 1/(1 + exp(-x))",
        "#1F83C9",
    ),
    ("numpy", "portable_bce", "published formula"): (
        "NumPy / published formula, sigmoid by where",
        "#808080",
    ),
    ("numpy", "portable_bce", "scikit-learn"): ("NumPy / scikit-learn", "#A6761D"),
    ("torch", "portable_bce, by autograd", "PyTorch"): ("PyTorch / its own, eager", "#D55E00"),
    ("torch.compile", "portable_bce, by autograd", "PyTorch"): (
        "PyTorch / its own, compiled",
        "#C76A9D",
    ),
    ("jax", "portable_bce", "optax"): ("JAX / optax, jit", "#009E73"),
}


ON_A_GPU = {
    "portable_bce, CuPy": ("ours, CuPy", "#1F83C9"),
    "the same, not fused, CuPy": ("ours, not fused", "#808080"),
    "PyTorch, PyTorch": ("PyTorch", "#D55E00"),
    "PyTorch, compiled PyTorch": ("PyTorch, compiled", "#C76A9D"),
    "portable_bce, by autograd, compiled PyTorch": ("ours, compiled PyTorch", "#A6761D"),
    "portable_bce, JAX": ("ours, JAX", "#009E73"),
}


def draw(results: list[dict[str, Any]], dtype: str) -> None:
    """Draw the ratios of one dtype, with their quartiles."""
    figure, axis = plt.subplots()
    for pair, (label, colour) in LOOK.items():
        found = [
            one
            for one in results
            if (one["group"], one["ours"], one["other"]) == pair
            and (one["task"], one["dtype"]) == ("value_and_grad", dtype)
        ]
        sizes = [one["size"] for one in found]
        ratio = {key: [one["ratio"][key] for one in found] for key in ("low", "median", "high")}
        if not found:
            continue
        axis.plot(sizes, ratio["median"], color=colour, marker=".", label=label)
        axis.fill_between(sizes, ratio["low"], ratio["high"], color=colour, alpha=0.15, lw=0)
    axis.axhline(1, color="#808080", lw=1.2, ls=":")
    axis.set(xscale="log", yscale="log", xlabel="elements", title=f"loss and gradient, {dtype}")
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 4]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_ylabel("our time / the other's")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(DOCS / f"speed-{dtype}.svg", metadata={"Date": None})


def draw_gpu(run: dict[str, Any]) -> None:
    """Draw what a call takes on a GPU, by the medians of one run."""
    figure, axis = plt.subplots()
    found = medians(run["results"], "float32")
    floor = found[f"gpu: {FLOOR}"]
    for name, (label, colour) in ON_A_GPU.items():
        cells = found.get(f"gpu: {name}", {})
        times = [value / floor[size] for size, value in cells.items()]
        axis.plot(list(cells), times, color=colour, marker=".", label=label)
    axis.axhline(1, color="#808080", lw=1.2, ls=":")
    axis.set(xscale="log", yscale="log", xlabel="elements", title="loss and gradient, float32")
    axis.set_ylabel("time / the floor's")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(DOCS / "speed-gpu.svg", metadata={"Date": None})


def main() -> None:
    """Draw each dtype."""
    plt.style.use(DOCS / "pictures" / "look.mplstyle")
    on_a_gpu = load("gpu")
    if on_a_gpu is not None:
        draw_gpu(on_a_gpu)
    run = load("speed")
    assert run is not None
    for dtype in run["request"]["dtypes"]:
        draw(default(run), dtype)


if __name__ == "__main__":
    main()
