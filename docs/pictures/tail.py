"""Draw docs/pictures/tail.svg: the gradient of label 1 in the tail, ours and PyTorch's.

python docs/pictures/tail.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import torch
from matplotlib import pyplot as plt

from portable_bce import bce_with_logits

HERE = Path(__file__).parent
REACH, STEPS = 60.0, 6001
LOOK = {"portable_bce": ("#1F83C9", 2.6), "PyTorch": ("#D55E00", 1.4)}


def gradient(loss: Any, logits: Any) -> Any:
    """Return minus the derivative with respect to the logits, which is positive for label 1."""
    (slope,) = torch.autograd.grad(loss, logits)
    return -slope.numpy()


def main() -> None:
    """Draw both on one logarithmic axis, where 0 is nowhere."""
    plt.style.use(HERE / "look.mplstyle")
    logits = torch.linspace(0, REACH, STEPS, requires_grad=True)
    ones = torch.ones_like(logits)
    native = torch.nn.functional.binary_cross_entropy_with_logits
    found = {
        "portable_bce": gradient(bce_with_logits(logits, ones, reduction="sum"), logits),
        "PyTorch": gradient(native(logits, ones, reduction="sum"), logits),
    }
    x = logits.detach().numpy()
    last = x[np.flatnonzero(found["PyTorch"])[-1]]
    figure, axis = plt.subplots()
    for name, (colour, width) in LOOK.items():
        axis.plot(x, np.where(found[name] > 0, found[name], np.nan), colour, lw=width, label=name)
    axis.axvline(last, color=LOOK["PyTorch"][0], lw=0.8, ls=":")
    axis.annotate(f" 0 beyond {last:.1f}", (last, 0.1), color=LOOK["PyTorch"][0])
    axis.set(yscale="log", xlabel="logit", title="gradient of label 1, float32")
    axis.set_ylabel("minus the gradient")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(HERE / "tail.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
