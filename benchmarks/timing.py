"""Times of calls beside each other, in one run: ratios outlive a noisy machine, times do not."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from contenders import OURS, Contender

# Seconds that one sample takes at least, by calling again: clocks tick, and calls vary.
_SAMPLE = 1e-3
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours to another's time, round by round: the median and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds a call, one for each round, in which everybody was called once."""

    contender: Contender
    seconds: list[float]

    def ratio(self, other: Timed) -> Ratio:
        """Return this one's time in units of another's."""
        low, median, high = statistics.quantiles(
            [mine / its for mine, its in zip(self.seconds, other.seconds, strict=True)], n=4
        )
        return Ratio(median, low, high)


def timed(
    found: Sequence[Contender],
    task: str,
    x: Any,
    y: Any,
    seconds: float,
    clock: Callable[[], float],
    seed: int = 0,
    rounds: int = ROUNDS,
) -> list[Timed]:
    """Time a task by all who can do it, in rounds of a random order, for about so long.

    However long one takes, there are ``rounds`` at least. NumPy's warnings are silenced once,
    around all calls: a formula of one line that silenced its own would be timed with that.
    """
    able = [one for one in found if task in one.calls]
    ready = [_bound(one, task, x, y) for one in able]
    times: list[list[float]] = [[] for _ in able]
    order, shuffled = list(range(len(able))), random.Random(seed)
    with np.errstate(all="ignore"):
        repeats = [_repeats(call, clock) for call in ready]
        end = time.perf_counter() + seconds
        while min(map(len, times), default=rounds) < rounds or time.perf_counter() < end:
            shuffled.shuffle(order)
            for index in order:
                times[index].append(_sample(ready[index], repeats[index], clock))
    return [Timed(one, each) for one, each in zip(able, times, strict=True)]


def ratios(results: Sequence[Timed]) -> list[tuple[Timed, Timed, Ratio]]:
    """Return ours beside each other of its group."""
    return [
        (mine, other, mine.ratio(other))
        for mine in results
        if mine.contender.name.startswith(OURS)
        for other in results
        if other.contender.group == mine.contender.group
        and not other.contender.name.startswith(OURS)
    ]


def _bound(one: Contender, task: str, x: Any, y: Any) -> Callable[[], Any]:
    arguments, call, wait = one.arrays(x, y), one.calls[task], one.wait
    return lambda: wait(call(*arguments))


def _repeats(call: Callable[[], Any], clock: Callable[[], float]) -> int:
    """Return how many calls fill a sample; the first ones compile, and warm caches."""
    call()
    once = max(_sample(call, 1, clock), 1e-7)
    return max(1, round(_SAMPLE / once))


def _sample(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats
