"""Score a Zarr file that is larger than the memory of the workers: loss, and gradient to Zarr.

    python docs/scale/score_zarr.py scores.zarr [--rows 20e6] [--memory-limit 400MiB]

Logits and labels of 10 classes are written to the file first, as a model would leave them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from portable_bce import bce_with_logits, bce_with_logits_value_and_grad

CLASSES = 10


def write(path: str, rows: int, chunk_rows: int) -> None:
    """Leave logits, and labels drawn from them, as a model and its data would."""
    shape, chunks = (rows, CLASSES), (chunk_rows, CLASSES)
    rng = da.random.default_rng(0)
    logits = 3 * rng.standard_normal(shape, chunks=chunks, dtype=np.float32)
    labels = logits > rng.logistic(size=shape, chunks=chunks)
    dask.compute(
        logits.to_zarr(path, component="logits", compute=False),
        labels.to_zarr(path, component="labels", compute=False),
    )


def score(path: str) -> tuple[Any, Any]:
    """Return the mean loss and that of each class; the gradient goes into the file."""
    logits = da.from_zarr(path, component="logits")
    labels = da.from_zarr(path, component="labels")
    loss, grad = bce_with_logits_value_and_grad(logits, labels)
    per_class = bce_with_logits(logits, labels, axis=0)
    written = grad.to_zarr(path, component="gradient", compute=False)
    # Together: each chunk is read once, used for everything and forgotten.
    loss, per_class, _ = dask.compute(loss, per_class, written)
    return loss, per_class


def peak() -> float:
    """Return the most memory that this process has had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@contextmanager
def cluster(limit: str) -> Iterator[Client]:
    """Start two workers that begin no chunk before the last one is used up."""
    with (
        dask.config.set({"distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=limit, dashboard_address="127.0.0.1:0"
        ) as workers,
        Client(workers) as client,
    ):
        yield client


def main() -> None:
    """Write, score with fresh workers, and say what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", help="a directory that is not there yet")
    parser.add_argument("--rows", type=float, default=20e6)
    parser.add_argument("--chunk-rows", type=float, default=5e5)
    parser.add_argument("--memory-limit", default="400MiB", help="of each worker")
    options = parser.parse_args()
    if Path(options.path).exists():
        parser.error(f"{options.path} is there already")
    with cluster(options.memory_limit):
        write(options.path, int(options.rows), int(options.chunk_rows))
    with cluster(options.memory_limit) as client:
        loss, per_class = score(options.path)
        peaks = client.run(peak)
    files = (Path(folder) / name for folder, _, names in os.walk(options.path) for name in names)
    lines = [
        f"data: {int(options.rows) * CLASSES * 5 / 2**20:.0f} MiB of logits and labels",
        f"file: {sum(file.stat().st_size for file in files) / 2**20:.0f} MiB with the gradient",
        f"loss: {loss!s}",
        f"loss of each class: {' '.join(map(str, per_class))}",
        f"peak memory of a worker: {max(peaks.values()):.0f} MiB of {options.memory_limit}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
