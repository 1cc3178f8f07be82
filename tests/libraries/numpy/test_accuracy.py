"""The compiled kernels round once: a sample of what docs/accuracy.md enumerates, on each level.

The exact values are those of `_commands.exact`, from the definition in a wider format: float64
for float32 results, whose own error is 2^-29 of their ULP, and x86's long double for float64
results. That has 11 more bits, so it is within 0.003 ULP of a float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce._commands.exact import Exact, errors, has_reference
from portable_bce._contract import FORMATS, Format
from tests import rows

# Each level and session takes the same logits; another offset takes others.
STRIDE, OFFSET = 256, 77
BLOCK = 2**17
KEYWORDS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "weight": ("weight",),
    "pos_weight": ("pos_weight",),
    "smoothing": ("label_smoothing",),
    "all": ("weight", "pos_weight", "label_smoothing"),
}


def kernels(x: Any, y: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return loss, gradient and Hessian of each element."""
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none", **keywords)
    slope, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none", **keywords)
    np.testing.assert_array_equal(grad, slope)
    return {"loss": loss, "grad": grad, "hess": hess}


def drawn(names: tuple[str, ...], size: int, dtype: str) -> dict[str, Any]:
    """Return weights of 2^-8 to 2^8, and a smoothing."""
    rng = np.random.default_rng(size)

    def factor() -> Any:
        return np.exp2(rng.uniform(-8, 8, size)).astype(dtype)

    keywords = {name: factor() for name in ("weight", "pos_weight") if name in names}
    return keywords | ({"label_smoothing": 0.1} if "label_smoothing" in names else {})


def worst(x: Any, form: Format, names: tuple[str, ...]) -> dict[str, float]:
    """Return the largest errors in ULP, with targets of 0, 1 and random soft ones."""
    found = {"loss": 0.0, "grad": 0.0, "hess": 0.0}
    rng = np.random.default_rng(11)
    with np.errstate(all="ignore"):
        for start in range(0, x.size, BLOCK):
            part = x[start : start + BLOCK]
            keywords = drawn(names, part.size, form.name)
            exact_of_x = Exact.of(np, part.astype(form.wide))
            w, p = (
                keywords[name].astype(form.wide) if name in keywords else None
                for name in ("weight", "pos_weight")
            )
            u = form.wide(keywords.get("label_smoothing", 0.0))
            floor = form.smallest
            if form.name == "float64":
                # There is no wider format: a weight scales what a subnormal number lost.
                floor *= np.maximum(1, (1 if w is None else w) * (1 + (0 if p is None else p)))
            for label in (0.0, 1.0, None):
                soft = rng.random(part.size) if label is None else np.full(part.size, label)
                y = soft.astype(form.name)
                exact = exact_of_x.values(np, y.astype(form.wide), w, p, u)
                for name, got in kernels(part, y, keywords).items():
                    value, scale = exact[name]
                    if label is not None and not names:
                        scale = None  # a hard label cancels nothing
                    off = errors(np, got, value, scale, floor, form, None)
                    found[name] = max(found[name], float(off.max()))
    return found


@rows.every_level
@pytest.mark.parametrize("keywords", KEYWORDS)
def test_one_float32_logit_in_256_is_rounded_once(level: str, keywords: str) -> None:
    x = np.arange(OFFSET, 2**32, STRIDE, dtype=np.uint32).view(np.float32)
    with rows.in_use(rows.COMPILED[level]):
        found = worst(x[np.isfinite(x)], FORMATS["float32"], KEYWORDS[keywords])
    assert max(found.values()) <= contract.ROUNDED_ONCE, found


@rows.every_level
@pytest.mark.parametrize("keywords", KEYWORDS)
def test_every_float16_logit_is_rounded_once(level: str, keywords: str) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with rows.in_use(rows.COMPILED[level]):
        found = worst(x[np.isfinite(x)], FORMATS["float16"], KEYWORDS[keywords])
    assert max(found.values()) <= contract.ROUNDED_ONCE, found


TAILS = ("of the tail", "of subnormal results", "of all exponents")


def classes() -> Iterator[tuple[str, Any]]:
    """Return float64 logits of each size at which the formula takes another way."""
    rng = np.random.default_rng(3)
    size = 100_000
    sign = rng.choice([-1.0, 1.0], size)
    yield "below one", rng.uniform(-1, 1, size)
    yield "of a few", rng.uniform(-40, 40, size)
    yield "of the tail", sign * rng.uniform(40, 708, size)
    yield "of subnormal results", sign * rng.uniform(707, 746, size)
    yield "of all exponents", sign * np.exp2(rng.uniform(-1074, 1024, size))
    yield "of any bits", rng.integers(0, 2**64, size, dtype=np.uint64).view(np.float64)


@rows.every_level
@pytest.mark.skipif(not has_reference(FORMATS["float64"]), reason="long double is no wider")
@pytest.mark.parametrize("keywords", KEYWORDS)
@pytest.mark.parametrize("kind", [name for name, _ in classes()])
def test_float64_is_faithful(level: str, kind: str, keywords: str) -> None:
    x = dict(classes())[kind]
    x = x[np.isfinite(x)]
    if keywords != "plain":
        # A weight that lifts e^-|x| out of the subnormal numbers lifts its rounding, too.
        x = x[np.abs(x) < contract.NORMAL]
    with rows.in_use(rows.COMPILED[level]):
        found = worst(x, FORMATS["float64"], KEYWORDS[keywords])
    assert max(found.values()) <= contract.FAITHFUL, found
