"""Measure what Dask spends on tasks and graphs, whatever is in the chunks: docs/scale.md.

    python benchmarks/scale_tasks.py [chunks]

Chunks of a hundred elements on two worker processes; then graphs for 10^12 elements, which are
built and optimised, and not computed. It needs `distributed`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from scale import cluster, hand, ours

from portable_bce import bce_with_logits, bce_with_logits_value_and_grad

CALLS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "x.sum()": lambda x: (x.sum(),),
    "our loss": lambda x: (bce_with_logits(x, 1),),
    "our loss and largest gradient": lambda x: ours(x, 1),
    "the published formula's": lambda x: hand(x, 1),
}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def tasks(chunks: int) -> None:
    """Print milliseconds per chunk; the first pass imports on the workers."""
    x = da.zeros(100 * chunks, chunks=100, dtype=np.float32)
    for name, call in CALLS.items():
        dask.compute(*call(x[:1000]))
        found = seconds(partial(dask.compute, *call(x)))
        sys.stdout.write(f"{name}: {1e3 * found / chunks:.1f} ms per chunk\n")


def graphs(chunk: int) -> None:
    """Print medians of five."""
    build, optimise = [], []
    for _ in range(5):
        x, y = (da.zeros(10**12, chunks=chunk, dtype=one) for one in (np.float32, np.int8))
        build.append(seconds(partial(bce_with_logits_value_and_grad, x, y)))
        loss = bce_with_logits(x, y)
        optimise.append(seconds(partial(dask.optimize, loss)))
    first, second = statistics.median(build), statistics.median(optimise)
    sys.stdout.write(f"chunks of {chunk:,}: built in {first:.2f} s, optimised in {second:.1f} s\n")


if __name__ == "__main__":
    with cluster({}, "auto"):
        tasks(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    for chunk in (10**8, 10**7):
        graphs(chunk)
