"""Measure what docs/scale.md publishes of Dask, into benchmarks/data/scale.json.

    python benchmarks/scale.py [--elements 1e9] [--rounds 4]

Loss and gradient of float32 logits that two worker processes generate, label, evaluate and
forget, beside the published formula written in Dask's own operations; the same again with a
worker killed halfway; and the same work in memory, without Dask. `scale_page.py` writes the
tables. It needs `distributed` and `rich`, and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import dask
import dask.array as da
import distributed
import numpy as np
from rich.console import Console

import portable_bce
from portable_bce._commands.machine import described

DATA = Path(__file__).parent / "data" / "scale.json"
OURS, HAND, ALONE = "portable_bce", "published formula", "logits and labels alone"
# What docs/scale.md recommends: no chunk is begun before the last one is used up, and NumPy's
# temporaries are not returned to the system and taken from it again.
RECOMMENDED = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**22,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**24,
}
SETTINGS: dict[str, dict[str, Any]] = {"recommended": RECOMMENDED, "as Dask comes": {}}
Lazy: TypeAlias = tuple[Any, ...]


def logits(number: Any, size: int) -> Any:
    """Generate a chunk, uniform between -8 and 8, from its number."""
    generator = np.random.Generator(np.random.SFC64(int(number[0])))
    x = generator.random(size, dtype=np.float32)
    x -= np.float32(0.5)
    x *= np.float32(16)
    return x


def data(elements: int, size: int) -> tuple[Any, Any]:
    pieces = elements // size
    numbers = da.arange(pieces, chunks=1)
    empty = np.empty(0, dtype=np.float32)
    x = numbers.map_blocks(logits, size, chunks=((size,) * pieces,), meta=empty)
    return x, x > 0.5


def ours(x: Any, y: Any) -> Lazy:
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y)
    return loss, abs(grad).max()


def hand(x: Any, y: Any) -> Lazy:
    loss = (da.maximum(x, 0) - x * y + da.log1p(da.exp(-abs(x)))).mean()
    grad = (1 / (1 + da.exp(-x)) - y) / x.size
    return loss, abs(grad).max()


def alone(x: Any, y: Any) -> Lazy:
    return x.max(), y.sum()


CONTENDERS: dict[str, Callable[[Any, Any], Lazy]] = {OURS: ours, HAND: hand, ALONE: alone}


def in_memory(elements: int) -> float:
    """Return the seconds of the same work by NumPy alone, in one piece."""
    begun = time.perf_counter()
    x = logits([0], elements)
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, x > 0.5)
    abs(grad).max()
    return time.perf_counter() - begun


def memory(reset: bool = False) -> dict[str, int]:
    """Return a process's memory and its peak, in bytes; Linux forgets the peak when told so."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    names = {"now": "VmRSS", "peak": "VmHWM"}
    return {name: 1024 * int(found[row].split()[0]) for name, row in names.items()}


def timed(client: Any, lazy: Lazy) -> dict[str, Any]:
    """Compute, and return how long it took and what each worker held beside its libraries."""
    before = client.run(memory, reset=True)
    begun = time.perf_counter()
    results = dask.compute(*lazy, scheduler=client.get)
    seconds = time.perf_counter() - begun
    after = client.run(memory)
    # A worker that was replaced in between has no figure.
    held = [after[worker]["peak"] - before[worker]["now"] for worker in before if worker in after]
    return {
        "seconds": seconds,
        "held": held,
        "peak": [one["peak"] for one in after.values()],
        "bits": [np.asarray(one).tobytes().hex() for one in results],
    }


def killed(client: Any, lazy: Lazy, delay: float) -> dict[str, Any]:
    """Compute while one worker is killed after a delay."""
    victim = min(client.run(os.getpid).values())
    timer = threading.Timer(delay, os.kill, (victim, signal.SIGKILL))
    timer.start()
    found = timed(client, lazy)
    if found["seconds"] <= delay:
        raise RuntimeError("nothing was killed: everything was computed before; take more elements")
    client.wait_for_workers(2, timeout=60)
    if victim in client.run(os.getpid).values():
        raise RuntimeError(f"worker {victim} survived")
    return {**found, "killed after": delay}


@contextmanager
def cluster(settings: dict[str, Any], limit: str) -> Iterator[Any]:
    """Start two workers; the next cluster shall not inherit what Dask sets for their malloc."""
    environment = dict(os.environ)
    try:
        yield from started(settings, limit)
    finally:
        os.environ.clear()
        os.environ.update(environment)


def started(settings: dict[str, Any], limit: str) -> Iterator[Any]:
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=limit,
            dashboard_address="127.0.0.1:0",
        ) as opened,
        distributed.Client(opened) as client,
    ):
        yield client


def rounds(
    client: Any, number: int, elements: int, request: dict[str, Any], console: Console
) -> dict[str, Any]:
    """Time the contenders, and NumPy in memory, in rounds of a random order."""
    lazy = {name: make(*data(elements, request["chunk"])) for name, make in CONTENDERS.items()}
    for make in CONTENDERS.values():  # what is imported at first use belongs to no one
        dask.compute(*make(*data(4 * request["chunk"], request["chunk"])), scheduler=client.get)
    in_memory(request["in memory"] // 10)
    runs: dict[str, list[Any]] = {name: [] for name in lazy}
    alongside: list[float] = []
    order = [*lazy, ""]
    for index in range(number):
        random.shuffle(order)
        for name in order:
            if name:
                runs[name].append(timed(client, lazy[name]))
                console.print(f"{index + 1}: {name}: {runs[name][-1]['seconds']:.2f} s")
            else:
                alongside.append(in_memory(request["in memory"]))
    found: dict[str, Any] = {"elements": elements, "runs": runs, "in memory": alongside}
    if request["kill"]:
        half = statistics.median(one["seconds"] for one in runs[OURS]) / 2
        found["killed"] = killed(client, lazy[OURS], half)
        console.print(f"a worker killed: {found['killed']['seconds']:.2f} s")
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--elements", type=float, default=1e9)
    parser.add_argument("--chunk", type=float, default=5e6, help="elements")
    parser.add_argument("--in-memory", type=float, default=1e8, help="elements without Dask")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memory-limit", default="512MiB", help="of each worker")
    parser.add_argument("--json", type=Path, default=DATA)
    return parser.parse_args()


def main() -> None:
    """Run everything, the settings of Dask itself at a tenth of the size."""
    options, console = parsed(), Console()
    request: dict[str, Any] = {
        "elements": int(options.elements),
        "chunk": int(options.chunk),
        "in memory": int(options.in_memory),
        "rounds": options.rounds,
        "memory limit": options.memory_limit,
    }
    found: dict[str, Any] = {
        "machine": described(),
        "versions": {one.__name__: one.__version__ for one in (dask, distributed)},
        "request": dict(request),
    }
    for name, settings in SETTINGS.items():
        console.rule(name)
        elements = request["elements"] // (10 if not settings else 1)
        request["kill"] = bool(settings)
        with cluster(settings, options.memory_limit) as client:
            found[name] = rounds(client, options.rounds, elements, request, console)
        found[name]["settings"] = settings
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written: {options.json}; python benchmarks/scale_page.py shows it")


if __name__ == "__main__":
    main()
