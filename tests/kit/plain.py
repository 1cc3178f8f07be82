"""A binary cross-entropy with all keywords, right and plain, for the mutants to spoil."""

from __future__ import annotations

from typing import Any

import numpy as np


def times(mass: Any, value: Any) -> Any:
    """Multiply, so that no mass of an infinite loss is no loss."""
    return np.where((mass == 0) & np.isinf(value), 0.0, mass * value)


def check(
    logits: Any, targets: Any, reduction: Any, weight: Any, pos_weight: Any, where: Any
) -> None:
    if logits.dtype.kind != "f":
        raise TypeError("logits must be floats")
    if np.ndim(targets) > 0 and np.shape(targets) != logits.shape:
        raise ValueError("targets must have the shape of logits")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError("reduction is not known")
    if np.broadcast_shapes(logits.shape, np.shape(weight)) != logits.shape:
        raise ValueError("weight must broadcast to logits")
    if np.broadcast_shapes(logits.shape, np.shape(pos_weight)) != logits.shape:
        raise ValueError("pos_weight must broadcast to logits")
    if np.broadcast_shapes(logits.shape, np.shape(where)) != logits.shape:
        raise ValueError("where must broadcast to logits")


def compute(
    logits: Any,
    targets: Any,
    reduction: str = "mean",
    weight: Any = 1.0,
    pos_weight: Any = 1.0,
    where: Any = True,
    label_smoothing: float = 0.0,
) -> tuple[Any, Any, Any]:
    """Return the reduced loss, its gradient and its Hessian."""
    check(logits, targets, reduction, weight, pos_weight, where)
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    w, p = np.asarray(weight, dtype=np.float64), np.asarray(pos_weight, dtype=np.float64)
    s = label_smoothing
    keep = np.broadcast_to(where, x.shape)
    pulls = w * p * (y * (1 - s) + s / 2)
    pushes = w * ((1 - y) * (1 - s) + s / 2)
    e = np.exp(-np.abs(x))
    right, wrong = np.log1p(e), np.abs(x) + np.log1p(e)
    low, high = e / (1 + e), 1 / (1 + e)
    up = x >= 0
    of_one, of_zero = np.where(up, right, wrong), np.where(up, wrong, right)
    loss = times(pulls, of_one) + times(pushes, of_zero)
    grad = pushes * np.where(up, high, low) - pulls * np.where(up, low, high)
    hess = (pulls + pushes) * low * high
    loss = np.where(keep, loss, 0.0)
    grad = np.where(keep, grad, 0.0)
    hess = np.where(keep, hess, 0.0)
    if reduction == "sum":
        loss = np.sum(loss)
    if reduction == "mean":
        n = np.sum(keep)
        loss = np.sum(loss) / n
        grad = grad / max(n, 1)
        hess = hess / max(n, 1)
    dtype = logits.dtype
    loss = np.asarray(loss, dtype=dtype)
    grad = np.asarray(grad, dtype=dtype)
    hess = np.asarray(hess, dtype=dtype)
    return loss, grad, hess


def loss(logits: Any, targets: Any, **keywords: Any) -> Any:
    return compute(logits, targets, **keywords)[0]


def value_and_grad(logits: Any, targets: Any, **keywords: Any) -> tuple[Any, Any]:
    return compute(logits, targets, **keywords)[:2]


def hessian(logits: Any, targets: Any, **keywords: Any) -> Any:
    return compute(logits, targets, **keywords)[2]
