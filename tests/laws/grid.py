"""Every special logit (or probability) with every special target, under every keyword.

hypothesis finds what nobody thought of; this holds what somebody did, whatever it draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_bce.testing.strategies import FORMATS, SOFT_EDGES, rounded
from tests.strategies import Case, normal

OPTIONS: dict[str, dict[str, float]] = {
    "plain": {},
    "weight": {"weight": 3.0},
    "pos_weight": {"pos_weight": 2.5},
    "smoothing": {"label_smoothing": 0.1},
    "weight, pos_weight": {"weight": 0.75, "pos_weight": 0.3},
    "weight, smoothing": {"weight": 5.0, "label_smoothing": 1e-6},
    "all": {"weight": 0.5, "pos_weight": 40.0, "label_smoothing": 0.3},
}


def of_logits(dtype: str, options: dict[str, float], *, as_arrays: bool) -> Case:
    """Return the grid of logits, with targets next to sigmoid(x) too."""
    largest, normal, subnormal, edge = FORMATS[dtype]
    sizes = [
        0.0,
        normal,
        subnormal,
        1e-3,
        0.3,
        1.0,
        3.5,
        12.0,
        17.0,
        37.0,
        -edge - 2,
        -edge,
        largest,
    ]
    x = np.asarray([sign * size for size in [*sizes, np.inf] for sign in (1, -1)])
    with np.errstate(over="ignore"):
        return _crossed(dtype, x, 1 / (1 + np.exp(-x)), options, as_arrays)


def of_probabilities(dtype: str, options: dict[str, float], *, as_arrays: bool) -> Case:
    """Return the grid of probabilities, with targets next to each."""
    small = [1e-30, 1e-7, 1e-3, 0.2, 0.35, 0.45]
    q = np.asarray([0.0, 1.0, 0.5, *small, *(1 - size for size in small[1:])])
    return _crossed(dtype, q, q, options, as_arrays)


def _crossed(dtype: str, x: Any, near: Any, options: dict[str, float], as_arrays: bool) -> Case:
    x = rounded(x, dtype)
    near = rounded(near, dtype)
    apart = [near, np.nextafter(near, near.dtype.type(0)), np.nextafter(near, near.dtype.type(1))]
    fixed = [np.full_like(x, y) for y in (0.0, 1.0, *SOFT_EDGES)]
    targets = [*apart, *fixed]
    logits, labels = np.concatenate([x] * len(targets)), np.concatenate(targets)
    if options:  # a factor times a subnormal target rounds it, even to nothing
        labels = normal(labels, dtype)
    chosen: dict[str, Any] = dict(options)
    for name in {"weight", "pos_weight"} & set(options):
        full = rounded(np.full(logits.shape, options[name]), dtype)
        chosen[name] = full if as_arrays else float(full[0])
    return Case(dtype, logits, labels, chosen)
