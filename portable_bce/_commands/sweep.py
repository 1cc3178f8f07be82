"""Where errors are looked for, and the worst of them: classes of logit, classes of target.

A plan is a list of chunks, in an order that depends on nothing but what was asked for. A chunk
is measured in blocks, and leaves the worst case of each value with its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from portable_bce._commands.exact import Exact, errors, exactly
from portable_bce._contract import FORMATS, Format

VALUES = ("loss", "grad", "hess")
# Logits evaluated in one call: they fit a core's cache, and JAX compiles for one shape. A GPU
# needs more to be busy.
BLOCK, GPU_BLOCK = 2**15, 2**22
# Logits of a chunk: a second or so each, so that little is lost when a run is stopped.
_SWEEP, _PAIRS, _SAMPLE = 2**22, 64, 2**21


class Points(NamedTuple):
    """Arguments of one call: arrays of the format's carrier, one shape; None where not passed."""

    x: Any
    y: Any
    w: Any = None
    p: Any = None
    u: float = 0.0

    def mapped(self, function: Callable[[Any], Any]) -> Points:
        """Return the points with a function of each array."""
        x, y, w, p = (None if one is None else function(one) for one in self[:4])
        return Points(x, y, w, p, self.u)

    def without_subnormals(self, form: Format) -> Points:
        """Return the points with zero for every subnormal number, as some libraries read them."""
        normal = form.smallest_normal
        return self.mapped(lambda one: np.where(np.abs(one) < normal, one.dtype.type(0), one))

    def exact(self, xp: Any, form: Format) -> dict[str, tuple[Any, Any]]:
        """Return (exact value, what it cancels from or None) for loss, grad and hess."""
        x, y, w, p, u = self.mapped(lambda one: one.astype(form.wide))
        return Exact.of(xp, x).values(xp, y, w, p, np.dtype(form.wide).type(u))


@dataclass(frozen=True, slots=True)
class Targets:
    """A class of targets: how far they are from 0 or 1, and the factors beside them."""

    hard: bool = False
    distance: float | None = None
    near_sigmoid: bool = False
    weighted: bool = False
    pos_weighted: bool = False
    smoothing: float = 0.0

    @property
    def factors(self) -> int:
        """How many factors enter A + B, which the contract asks."""
        return self.pos_weighted + bool(self.smoothing)

    def drawn(self, rng: np.random.Generator, form: Format, x: Any) -> Points:
        """Draw targets, and weights from 1/1024 to 1024, for logits."""

        def factor() -> Any:
            return rounded(2.0 ** rng.uniform(-10, 10, x.shape), form)

        hard, y = rng.integers(0, 2, x.shape), rng.random(x.shape)
        if self.hard:
            y = hard.astype(np.float64)
        elif self.distance is not None:
            y = np.abs(hard - self.distance * (0.5 + 1.5 * y))
        elif self.near_sigmoid:  # within 4 ULP, where the gradient cancels
            y = Exact.of(np, x.astype(np.float64)).sigmoid
            y = np.minimum(y * (1 + form.eps * rng.integers(-4, 5, x.shape)), 1)
        elif self.weighted or self.factors:
            y = np.where(rng.random(x.shape) < 0.5, hard, y)
        w, p = (factor() if one else None for one in (self.weighted, self.pos_weighted))
        return Points(x, rounded(y, form), w, p, self.smoothing)


TARGETS = {
    "hard": Targets(hard=True),
    "uniform": Targets(),
    "1e-3 from 0 or 1": Targets(distance=1e-3),
    "1e-7 from 0 or 1": Targets(distance=1e-7),
    "next to sigmoid(x)": Targets(near_sigmoid=True),
    "weight": Targets(weighted=True),
    "pos_weight": Targets(pos_weighted=True),
    "weight, pos_weight, smoothing": Targets(weighted=True, pos_weighted=True, smoothing=0.1),
}
PLAIN = tuple(TARGETS)[:5]
# Every logit with every target, for formats of 16 bits: the class that holds all plain ones.
EVERY = "every one in [0, 1]"


def rounded(values: Any, form: Format) -> Any:
    """Round float64 values to the format; bfloat16 by cutting a float32."""
    if form.name != "bfloat16":
        return values.astype(form.carrier)
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


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
        return numbers(bits << np.uint64(16), negative, FORMATS["float32"])
    size = np.dtype(form.carrier).itemsize
    signs = np.asarray(negative, dtype=np.uint64) << np.uint64(8 * size - 1)
    return (bits.astype(np.uint64) | signs).astype(f"u{size}").view(form.carrier)


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
            targets = TARGETS[self.targets]
            hard = targets.hard
            for bits in self._patterns(rng, size // 2 if hard else size):
                x = numbers(bits, self.negative, form)
                yield Points(x[None, :], both) if hard else targets.drawn(rng, form, x)
        else:
            targets = TARGETS[self.targets]
            for _ in range(0, self.count, size):  # at least count, in whole blocks
                bits = rng.integers(self.start, self.stop, size, dtype=np.uint64)
                x = numbers(bits, rng.integers(0, 2, size), form)
                yield targets.drawn(rng, form, x)

    def _patterns(self, rng: np.random.Generator, size: int) -> Iterator[Any]:
        """Yield one pattern, drawn, of each ``every`` neighbours."""
        firsts = np.arange(size, dtype=np.uint64) * np.uint64(self.every)
        for first in range(self.start, self.stop, size * self.every):
            bits = firsts + np.uint64(first)
            if self.every > 1:
                bits += rng.integers(0, self.every, size, dtype=np.uint64)
            yield np.minimum(bits, self.stop - 1)


def sampled(form: Format, targets: Iterable[str], points: int, seed: int) -> Iterator[Chunk]:
    """Plan ``points`` random logits for each class of logit and target."""
    for name in targets:
        for region, (start, stop) in regions(form).items():
            if start == stop:
                continue
            for number, first in enumerate(range(0, points, _SAMPLE)):
                count = min(_SAMPLE, points - first)
                yield Chunk("sample", name, region, start, stop, count, seed + number)


def exhaustive(form: Format, targets: Iterable[str], every: int, seed: int) -> Iterator[Chunk]:
    """Plan every finite logit of both signs, or one bit pattern in ``every``.

    For formats of 16 bits with every target in [0, 1], for others with the given classes.
    """
    pairs = form.bits < 16
    span = (_PAIRS if pairs else _SWEEP) * every
    for name in (EVERY,) if pairs else targets:
        labels = pattern(1.0, form) + 1 if pairs else 2 if TARGETS[name].hard else 1
        for region, (start, stop) in regions(form).items():
            for negative in (False, True):
                for first in range(start, stop, span):
                    last = min(first + span, stop)
                    count = -(-(last - first) // every) * labels
                    kind = "pairs" if pairs else "sweep"
                    yield Chunk(kind, name, region, first, last, count, seed, every, negative)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: points in arrays of ``xp`` in, values in arrays of ``xp`` out.

    ``xp`` is where errors are judged: NumPy, or CuPy for what it computes in float32, because
    a GPU does in seconds what a core does in minutes. ``opened`` is entered around calls of
    ``evaluate``; ``flushes`` says whether the library takes subnormal numbers for zero.
    """

    form: Format
    version: str
    evaluate: Callable[[Points], dict[str, Any]]
    opened: Callable[[], AbstractContextManager[Any]] = nullcontext
    flushes: bool = False
    xp: Any = np


# class of target, class of logit, value
Cell: TypeAlias = tuple[str, str, str]


class Worst(NamedTuple):
    """The largest error of a cell, the arguments that gave it, and how many were tried."""

    ulps: float
    points: int
    x: float
    y: float
    w: float | None
    p: float | None
    u: float
    got: float

    def merged(self, other: Worst) -> Worst:
        """Return the worse of two, over the points of both."""
        worse = max(self, other, key=lambda one: one.ulps)
        return worse._replace(points=self.points + other.points)


def merge(into: dict[Cell, Worst], cells: dict[Cell, Worst]) -> None:
    """Add the worst cases of a chunk to those of a run."""
    for cell, worst in cells.items():
        into[cell] = into[cell].merged(worst) if cell in into else worst


def measure(subject: Subject, chunk: Chunk) -> dict[Cell, Worst]:
    """Return the worst case of each value over a chunk."""
    cells: dict[Cell, Worst] = {}
    size = BLOCK if subject.xp is np else GPU_BLOCK
    with np.errstate(all="ignore"), subject.opened():
        for points in chunk.blocks(subject.form, size):
            for name, worst in _of_block(subject, points).items():
                merge(cells, {(chunk.targets, chunk.region, name): worst})
    # Not what was evaluated: a block may repeat its last logit.
    return {cell: worst._replace(points=chunk.count) for cell, worst in cells.items()}


def _of_block(subject: Subject, points: Points) -> dict[str, Worst]:
    form, xp = subject.form, subject.xp
    if subject.flushes:
        points = points.without_subnormals(form)
    if xp is not np:
        points = points.mapped(xp.asarray)
    got = subject.evaluate(points)
    exact = points.exact(xp, form)
    # What the smallest subnormal is multiplied by on the way: a weight, and the logit if
    # the target was scaled before.
    lift: Any = 1.0
    if points.w is not None or points.p is not None:
        x, _, w, p, _ = points.mapped(lambda one: one.astype(form.wide))
        w, p = (1.0 if factor is None else factor for factor in (w, p))
        lift = xp.maximum(w * (1 + p) * xp.maximum(xp.abs(x), 1), 1)
    lost = form.smallest_normal * lift if subject.flushes else None
    floor = form.smallest * lift
    return {
        name: _worst(xp, points, value, errors(xp, value, *exact[name], floor, form, lost))
        for name, value in got.items()
    }


def _worst(xp: Any, points: Points, got: Any, off: Any) -> Worst:
    index = np.unravel_index(int(xp.argmax(off)), off.shape)
    arguments = points.mapped(lambda one: float(xp.broadcast_to(one, off.shape)[index]))
    return Worst(float(off[index]), 0, *arguments, float(got[index]))


def distance_from_mpmath(form: Format, points: int = 12, seed: int = 0) -> float:
    """Return the largest error of the exact values over random points of every class."""
    from mpmath import mp  # noqa: PLC0415 (an extra; sweeps work without it)

    from portable_bce.testing import reference, ulp  # noqa: PLC0415

    functions: dict[str, Any] = {
        "loss": reference.logit_loss,
        "grad": reference.logit_grad,
        "hess": reference.logit_hess,
    }
    rng, worst = np.random.default_rng(seed), 0.0
    for targets in TARGETS.values():
        for start, stop in regions(form).values():
            bits = rng.integers(start, stop, points, dtype=np.uint64)
            logits = numbers(bits, rng.integers(0, 2, points), form)
            given = targets.drawn(rng, form, logits)
            with np.errstate(all="ignore"):
                values = given.exact(np, form)
            for name, (got, scales) in values.items():
                for i in range(points):
                    x, y, w, p = (1 if one is None else one[i] for one in given[:4])
                    with mp.workprec(reference.BITS):
                        exact = functions[name](x, y, w, p, given.u)
                        reach = max(abs(exact), 0 if scales is None else exactly(scales[i]))
                        off = abs(exactly(got[i]) - exact) / ulp.spacing(reach, form.name)
                        worst = max(worst, float(off))
    return worst
