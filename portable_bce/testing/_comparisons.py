"""What laws of the interface compare: right values, factors to pass, exceptions, NaN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from portable_bce.testing._interface import WAYS, Interface
from portable_bce.testing._law import Fault, Shapes, exact
from portable_bce.testing._library import Values
from portable_bce.testing.ulp import spacing

Faults: TypeAlias = Iterator[Fault]
# From small to large, so that the first shape that breaks a law is the smallest example.
SHAPES: Shapes = ((), (2,), (2, 3))
COLUMNS: Shapes = ((), (2,), (3, 1), (2, 3))
GRIDS: Shapes = ((2, 2), (2, 3))
FLAT: Shapes = ((2,),)
THREE: Shapes = ((3,),)
ANY: tuple[str, ...] = ("loss", "grad", "hess")
FACTORS = ("weight", "pos_weight", "where")


def expected(
    trial: Interface,
    kind: str,
    x: Values,
    y: Any,
    *,
    reduction: str = "none",
    weight: Any = 1.0,
    pos_weight: Any = 1.0,
    where: Any = True,
    label_smoothing: float = 0.0,
) -> tuple[Values, Values]:
    """Return the right values, and the sizes of what they are summed from."""
    y = np.asarray(y, dtype=np.float64)
    pulls = pos_weight * (y * (1 - label_smoothing) + label_smoothing / 2)
    pushes = (1 - y) * (1 - label_smoothing) + label_smoothing / 2
    right, wrong = (
        np.array([exact(kind, one, label).high for one in x.ravel().tolist()]).reshape(x.shape)
        for label in (1.0, 0.0)
    )
    values = weight * (pulls * right + pushes * wrong) * np.ones(x.shape)
    sizes = weight * (pulls + pushes) * (1 + np.abs(x) if kind == "loss" else np.ones(x.shape))
    kept = np.broadcast_to(where, x.shape)
    values, sizes = np.where(kept, values, 0.0), np.where(kept, sizes, 0.0)
    if reduction != "none" and kind == "loss":
        values, sizes = np.sum(values), np.sum(sizes)
    if reduction == "mean":
        counted = kept if trial.conventions["masked_mean_divides_by"] == "kept" else True
        by_weights = trial.conventions["mean_divides_by"] == "weights"
        shares = np.broadcast_to(weight if by_weights else 1.0, x.shape)
        denominator = np.sum(np.where(counted, shares, 0.0))
        values, sizes = values / denominator, sizes / denominator
    return np.asarray(values), np.asarray(sizes)


def unequal(
    trial: Interface,
    kinds: Sequence[str],
    x: Values,
    y: Any,
    reductions: Sequence[str] = (),
    **keywords: Any,
) -> Iterator[Fault]:
    """Yield where a result is further from the right one than rounding takes it.

    A rounding error is small compared with the terms of a sum, and a wrong factor is not: laws
    of the interface look for factors, and those of one value per element for digits.
    """
    for way in trial.ways(*kinds):
        for reduction in reductions or trial.reductions[:1]:
            asked: dict[str, Any] = {"reduction": reduction, **keywords}
            got = trial.values(way, x, y, **asked)
            wanted, sizes = expected(trial, WAYS[way][0], x, y, **asked)
            yield from apart(trial, way, x, y, got, wanted, sizes, asked)


def apart(
    trial: Interface,
    way: str,
    x: Values,
    y: Values,
    got: Values,
    wanted: Values,
    sizes: Values,
    keywords: Mapping[str, Any],
) -> Iterator[Fault]:
    """Yield where values differ by more than rounding errors of numbers of these sizes."""
    kind, word = WAYS[way]
    trial_of_one = trial.elementwise()
    roundings = 4 * trial_of_one.bound(kind) + 4 + np.sqrt(x.size)
    allowed = roundings * float(spacing(1.0, trial.dtype)) * sizes
    with np.errstate(invalid="ignore"):
        near = (np.abs(got - wanted) <= allowed) | (got == wanted)
    near |= np.isnan(got) & np.isnan(wanted)
    for i in np.flatnonzero(~near).tolist():
        at = f" at index {tuple(map(int, np.unravel_index(i, got.shape)))}" if got.size > 1 else ""
        required = trial_of_one.written(wanted.flat[i])
        text = f"{word} {trial_of_one.written(got.flat[i])}{at}"
        yield Fault(i, x, y, text, required, keywords)


def factors(shape: tuple[int, ...]) -> Values:
    """Return weights, of which neighbours differ."""
    return np.resize(np.array([0.5, 2.0, 3.0, 0.25, 1.5, 0.0, 4.0]), shape)


def mask(shape: tuple[int, ...]) -> Any:
    """Return a mask that keeps one element at least."""
    return np.resize(np.array([True, False, True, True, False]), shape)


def computed(t: Interface, x: Any, y: Any, required: str, **keywords: Any) -> Faults:
    """Yield that a call returns a result where an exception is required."""
    for way in t.functions:
        for reduction in t.reductions:
            asked = {"reduction": reduction, **keywords}
            try:
                shape = t.library.values(t.call(way, x, y, asked)).shape
            except Exception:
                continue
            got = f"{WAYS[way][1]} of shape {shape}"
            yield Fault(None, x, y, got, f"an exception: {required}", asked)


def not_nan(
    t: Interface, names: tuple[str, ...], x: Values, y: Values, keywords: dict[str, Any]
) -> Faults:
    """Yield where NaN at the first element is lost, or is at another element too."""
    keywords = {"reduction": t.reductions[0], **keywords}
    for name in names:
        given = {"logits": x, "targets": y, "weight": factors(x.shape), **keywords}
        given[name] = np.where(np.arange(x.size).reshape(x.shape) == 0, np.nan, given[name])
        asked = dict(keywords)
        if name == "weight" or "weight" in keywords:
            asked["weight"] = given["weight"]
        for way in t.ways("loss", "grad"):
            got = t.values(way, given["logits"], given["targets"], **asked)
            required = np.arange(got.size).reshape(got.shape) == 0
            if not np.array_equal(np.isnan(got), required):
                text = f"{WAYS[way][1]} {t.elementwise().written(got)}"
                where = "NaN at the first element alone" if got.ndim else "NaN"
                yield Fault(None, given["logits"], given["targets"], text, where, asked)
