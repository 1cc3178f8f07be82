"""Chunks measured on all the cores that are given."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeAlias

from portable_bce._verify.measure import Cell, Worst, measure
from portable_bce._verify.points import Chunk
from portable_bce._verify.subjects import Spec, subject_of

# number in the plan, what is measured, where
Task: TypeAlias = tuple[int, Spec, Chunk]
Result: TypeAlias = tuple[Task, dict[Cell, Worst]]

# Read by glibc when a worker starts: temporaries of a few hundred KiB are kept and used
# again. Giving them back to the system costs half of the time, in page faults. And one
# thread of a library in each worker is enough.
_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "OMP_NUM_THREADS": "1",
}


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def results(tasks: Sequence[Task], jobs: int) -> Generator[Result, None, None]:
    """Yield the worst cases of each task, as they come; what runs on a GPU, in this process."""
    alone = [task for task in tasks if jobs == 1 or _on_gpu(task[1])]
    for task in alone:
        yield task, _measured(task[1], task[2])
    shared = [task for task in tasks if jobs > 1 and not _on_gpu(task[1])]
    if shared:
        yield from _spread_out(shared, jobs)


def _spread_out(tasks: Sequence[Task], jobs: int) -> Generator[Result, None, None]:
    waiting = list(reversed(tasks))
    running: dict[Future[dict[Cell, Worst]], Task] = {}
    with _pool(jobs) as pool:
        try:
            while waiting or running:
                # A few ahead, so that an interrupt finds little under way.
                while waiting and len(running) < 2 * jobs:
                    task = waiting.pop()
                    running[pool.submit(_measured, task[1], task[2])] = task
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_gpu(spec: Spec) -> bool:
    return not spec.device.startswith("cpu") and spec.device != ""


def _pool(jobs: int) -> ProcessPoolExecutor:
    os.environ |= {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts
    )


def _leave_interrupts() -> None:
    """Let the parent alone answer Ctrl-C, which the terminal sends to all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _measured(spec: Spec, chunk: Chunk) -> dict[Cell, Worst]:
    return measure(subject_of(spec), chunk)
