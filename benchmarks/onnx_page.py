"""Measure what ONNX models return in the tail, and write it into docs/onnx.md.

    python benchmarks/onnx_page.py

Needs PyTorch, onnxscript, ndonnx and onnxruntime.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ndonnx
import numpy as np
import onnxruntime
import torch
from pages import DOCS, fill, table

from portable_bce import bce_with_logits
from portable_bce._commands.machine import described, version

LOGITS = (15, 17, 20, 50)
DIGITS = 5


class Loss(torch.nn.Module):  # type: ignore[misc]
    """The loss of label 1, which an exporter takes as a module alone."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, logits: Any) -> Any:
        """Return the losses."""
        return self.function(logits)


def ours(logits: Any) -> Any:
    return bce_with_logits(logits, 1.0, reduction="none")


def native(logits: Any) -> Any:
    labels = torch.ones_like(logits)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(logits, labels, reduction="none")


def softplus(logits: Any) -> Any:
    return torch.nn.functional.softplus(-logits)


def run(model: bytes) -> list[float]:
    session = onnxruntime.InferenceSession(model)
    (name,) = (one.name for one in session.get_inputs())
    (losses,) = session.run(None, {name: np.asarray(LOGITS, np.float32)})
    return [float(one) for one in losses]


def exported(function: Callable[[Any], Any], *, dynamo: bool) -> list[float]:
    """Return the losses of a model that PyTorch's exporter writes."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        logits = torch.asarray(LOGITS, dtype=torch.float32)
        torch.onnx.export(Loss(function), (logits,), str(path), dynamo=dynamo, verbose=False)
        return run(path.read_bytes())


def traced() -> list[float]:
    """Return the losses of a model that ndonnx writes."""
    logits = ndonnx.argument(shape=("n",), dtype=ndonnx.float32)
    return run(ndonnx.build({"logits": logits}, {"loss": ours(logits)}).SerializeToString())


def cell(values: Sequence[float]) -> str:
    """Write what the two exporters give, once if it is the same."""
    exact = [f"{value:.{DIGITS - 1}e}" if value else f"**{value:g}**" for value in values]
    return ", or ".join(dict.fromkeys("NaN" if "nan" in one else one for one in exact))


def measured() -> str:
    """Return the table of losses, and with what it was measured."""
    columns = {
        "exact": [[math.log1p(math.exp(-x)) for x in LOGITS]],
        "`bce_with_logits` of a tensor, exported": both(ours),
        "PyTorch's own loss, exported": both(native),
        "`softplus`, exported": both(softplus),
        "through ndonnx": [traced()],
    }
    rows = [
        [str(x), *(cell([values[i] for values in found]) for found in columns.values())]
        for i, x in enumerate(LOGITS)
    ]
    packages = ("torch", "onnxscript", "ndonnx", "onnxruntime")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{table(['logit', *columns], rows)}\n\n{versions}; {described()['date']}."


def both(function: Callable[[Any], Any]) -> list[list[float]]:
    return [exported(function, dynamo=dynamo) for dynamo in (True, False)]


def main() -> None:
    """Measure, and write the page."""
    fill(DOCS / "onnx.md", {"exported": measured})


if __name__ == "__main__":
    main()
