"""Where errors are looked for: classes of logit, classes of target, and every float there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from portable_bce._verify.exact import Format

# Logits evaluated in one call: it fits a core's cache, and JAX compiles for one shape.
BLOCK = 2**15
SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class Points:
    """Arguments of one call: arrays of the format's carrier, one shape; None where not passed."""

    x: Any
    y: Any
    w: Any = None
    p: Any = None
    u: float = 0.0

    def without_subnormals(self, form: Format) -> Points:
        """Return the points with zero for every subnormal number, as some libraries read them."""

        def normal(values: Any) -> Any:
            if values is None:
                return None
            return np.where(np.abs(values) < form.smallest_normal, values.dtype.type(0), values)

        return Points(normal(self.x), normal(self.y), normal(self.w), normal(self.p), self.u)

    def moved(self, xp: Any) -> Points:
        """Return the points as arrays of another library."""
        x, y, w, p = (
            None if one is None else xp.asarray(one) for one in (self.x, self.y, self.w, self.p)
        )
        return Points(x, y, w, p, self.u)


# (random numbers, format, logits) -> targets, weight, pos_weight, label smoothing
Draw: TypeAlias = Callable[[np.random.Generator, Format, Any], tuple[Any, Any, Any, float]]


@dataclass(frozen=True, slots=True)
class Targets:
    """A class of targets; whether weighted, and how many factors enter A + B: the contract asks."""

    draw: Draw
    hard: bool = False
    weighted: bool = False
    factors: int = 0


def rounded(values: Any, form: Format) -> Any:
    """Round float64 values to the format; bfloat16 by cutting a float32."""
    if form.name != "bfloat16":
        return values.astype(form.carrier)
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _hard(rng: np.random.Generator, form: Format, x: Any) -> Any:
    return rng.integers(0, 2, x.shape).astype(form.carrier)


def _uniform(rng: np.random.Generator, form: Format, x: Any) -> Any:
    return rounded(rng.random(x.shape), form)


def _beside(distance: float) -> Draw:
    """Targets at about a distance from 0 or from 1."""

    def draw(rng: np.random.Generator, form: Format, x: Any) -> tuple[Any, Any, Any, float]:
        small = distance * rng.uniform(0.5, 2, x.shape)
        y = np.where(rng.random(x.shape) < 0.5, small, 1 - small)
        return rounded(y, form), None, None, 0.0

    return draw


def _next_to_sigmoid(rng: np.random.Generator, form: Format, x: Any) -> tuple[Any, Any, Any, float]:
    """Within 4 ULP of sigmoid(x), where the gradient cancels."""
    e = np.exp(-np.abs(x).astype(np.float64))
    y = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    y *= 1 + form.eps * rng.integers(-4, 5, x.shape)
    return rounded(np.minimum(y, 1), form), None, None, 0.0


def _weighted(weight: bool, pos_weight: bool, smoothing: float) -> Draw:
    """Hard and uniform targets, weights from 1/1024 to 1024."""

    def draw(rng: np.random.Generator, form: Format, x: Any) -> tuple[Any, Any, Any, float]:
        def factor() -> Any:
            return rounded(2.0 ** rng.uniform(-10, 10, x.shape), form)

        y = np.where(rng.random(x.shape) < 0.5, _hard(rng, form, x), _uniform(rng, form, x))
        return y, factor() if weight else None, factor() if pos_weight else None, smoothing

    return draw


TARGETS = {
    "hard": Targets(lambda *a: (_hard(*a), None, None, 0.0), hard=True),
    "uniform": Targets(lambda *a: (_uniform(*a), None, None, 0.0)),
    "1e-3 from 0 or 1": Targets(_beside(1e-3)),
    "1e-7 from 0 or 1": Targets(_beside(1e-7)),
    "next to sigmoid(x)": Targets(_next_to_sigmoid),
    "weight": Targets(_weighted(True, False, 0.0), weighted=True),
    "pos_weight": Targets(_weighted(False, True, 0.0), factors=1),
    "weight, pos_weight, smoothing": Targets(
        _weighted(True, True, SMOOTHING), weighted=True, factors=2
    ),
}
PLAIN = tuple(TARGETS)[:5]
# Every logit with every target, for formats of 16 bits: the class that holds all plain ones.
EVERY = "every one in [0, 1]"


def regions(form: Format) -> dict[str, tuple[int, int]]:
    """Return classes of |logit| as ranges of bit patterns, which grow with the number."""
    edges = {
        "subnormal or 0": 0.0,
        "below eps": form.smallest_normal,
        "eps to 1": form.eps,
        "1 to -log eps": 1.0,
        "exp(-|x|) below eps": -math.log(form.eps),
        "exp(-|x|) subnormal or 0": -math.log(2.0) * form.least,
        "far beyond": -math.log(2.0) * (form.least - form.bits - 2),
    }
    starts = [pattern(value, form) for value in edges.values()]
    starts.append(pattern(form.largest, form) + 1)
    return dict(zip(edges, pairwise(starts), strict=True))


def pattern(value: float, form: Format) -> int:
    """Return the bits of a number that is not negative."""
    bits = np.asarray(value, dtype=form.carrier)
    if form.name == "bfloat16":
        return int(bits.view(np.uint32)) >> 16
    return int(bits.view(f"u{bits.itemsize}"))


def numbers(bits: Any, negative: Any, form: Format) -> Any:
    """Return the numbers of bit patterns, negated where asked."""
    if form.name == "bfloat16":
        return numbers(bits << np.uint64(16), negative, _SINGLE)
    size = np.dtype(form.carrier).itemsize
    signs = np.asarray(negative, dtype=np.uint64) << np.uint64(8 * size - 1)
    return (bits.astype(np.uint64) | signs).astype(f"u{size}").view(form.carrier)


_SINGLE = Format("float32", 24, -126, 127, "float32")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of work: logits of one class (bit patterns from start to stop), targets of one.

    ``kind`` is "sample" (``count`` random logits), "sweep" (one pattern in ``every``, of one
    sign; hard targets both ways, others drawn) or "pairs" (the same with each target).
    """

    kind: str
    targets: str
    region: str
    start: int
    stop: int
    count: int
    seed: int
    every: int = 1
    negative: bool = False

    def blocks(self, form: Format, size: int = BLOCK) -> Iterator[Points]:
        """Yield the points, in blocks of one shape, the last one filled up by its last logit."""
        rng = np.random.default_rng([self.seed, self.start, self.negative])
        size = min(size, max(BLOCK, self.count))
        if self.kind == "pairs":
            y = numbers(np.arange(pattern(1.0, form) + 1, dtype=np.uint64), False, form)
            for bits in self._patterns(rng, max(1, size // y.size)):
                yield Points(numbers(bits, self.negative, form)[:, None], y[None, :])
        elif self.kind == "sweep":
            both = np.asarray([[0], [1]], dtype=form.carrier)
            hard = TARGETS[self.targets].hard
            for bits in self._patterns(rng, size // 2 if hard else size):
                x = numbers(bits, self.negative, form)
                yield Points(x[None, :], both) if hard else self._drawn(rng, form, x)
        else:
            for _ in range(0, self.count, size):  # at least count, in whole blocks
                bits = rng.integers(self.start, self.stop, size, dtype=np.uint64)
                yield self._drawn(rng, form, numbers(bits, rng.integers(0, 2, size), form))

    def _patterns(self, rng: np.random.Generator, size: int) -> Iterator[Any]:
        """One pattern, drawn, of each ``every`` neighbours."""
        places = np.arange(size, dtype=np.uint64) * np.uint64(self.every)
        for first in range(self.start, self.stop, size * self.every):
            bits = places + np.uint64(first)
            if self.every > 1:
                bits += rng.integers(0, self.every, size, dtype=np.uint64)
            yield np.minimum(bits, self.stop - 1)

    def _drawn(self, rng: np.random.Generator, form: Format, x: Any) -> Points:
        return Points(x, *TARGETS[self.targets].draw(rng, form, x))
