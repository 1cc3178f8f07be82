"""Right implementations with one line changed, and what `check_interface` says of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from portable_bce.testing import INTERFACE_LAWS, Report, check_interface
from tests.kit import plain

SOURCE = Path(plain.__file__).read_text()
LOSS = "    loss = times(pulls, of_one) + times(pushes, of_zero)"
SQUARE = "if w.ndim == 1 and x.ndim == 2 and x.shape[0] == x.shape[1]"
GRAD = "    grad = pushes * np.where(up, high, low) - pulls * np.where(up, low, high)"
HESS = "    hess = (pulls + pushes) * low * high"
PULLS = "    pulls = w * p * (y * (1 - s) + s / 2)"
PUSHES = "    pushes = w * ((1 - y) * (1 - s) + s / 2)"
SUM = "        loss = np.sum(loss)\n    if"
MEAN = "        loss = np.sum(loss) / n"
MEAN_GRAD = "        grad = grad / max(n, 1)"
MEAN_HESS = "        hess = hess / max(n, 1)"
COUNT = "        n = np.sum(keep)"
KEEP = "    keep = np.broadcast_to(where, x.shape)"
KEPT = "    loss = np.where(keep, loss, 0.0)"
KEPT_GRAD = "    grad = np.where(keep, grad, 0.0)"
KEPT_HESS = "    hess = np.where(keep, hess, 0.0)"
E = "    e = np.exp(-np.abs(x))"
X = "    x, y = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)"
W = "    w, p = np.asarray(weight, dtype=np.float64), np.asarray(pos_weight, dtype=np.float64)"
S = "    s = label_smoothing"
CHECK = "    check(logits, targets, reduction, weight, pos_weight, where)"
DTYPE = "    dtype = logits.dtype"
ROUND = "    loss = np.asarray(loss, dtype=dtype)"
ROUND_GRAD = "    grad = np.asarray(grad, dtype=dtype)"
RETURN = "    return loss, grad, hess"
RIGHT = "    right, wrong = np.log1p(e), np.abs(x) + np.log1p(e)"
LOW = "    low, high = e / (1 + e), 1 / (1 + e)"
UP = "    up = x >= 0"


def spoilt(line: str, other: str) -> SimpleNamespace:
    """Return the plain implementation with one line changed."""
    assert SOURCE.count(line) == 1, line
    namespace: dict[str, Any] = {"__name__": "spoilt"}
    exec(compile(SOURCE.replace(line, other), "spoilt", "exec"), namespace)
    return SimpleNamespace(**namespace)


def reported(implementation: Any, **keywords: Any) -> Report:
    return check_interface(
        implementation.loss,
        xp=np,
        value_and_grad=implementation.value_and_grad,
        hessian=implementation.hessian,
        **{"dtypes": ["float32"], "examples": 2, "laws": INTERFACE_LAWS, **keywords},
    )


def breaks(line: str, other: str, law: str) -> bool:
    """Tell whether a law breaks if one line of the plain implementation is another."""
    return not reported(spoilt(line, other), laws=[law]).ok
