"""Dask arrays, small ones in many chunks, for the laws of chunks."""

from __future__ import annotations

from typing import Any

import numpy as np

HOST = np.linspace(-4, 4, 60, dtype=np.float32)
KEEP = np.arange(60) % 3 > 0

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "mean": {},
    "masked": {"where": KEEP},
    "weighted": {"weight": np.abs(HOST), "reduction": "weighted_mean"},
}


def chunked(value: Any, chunks: Any = 6) -> Any:
    import dask.array as da

    return da.from_array(value, chunks=chunks) if isinstance(value, np.ndarray) else value


def made(option: str, chunks: Any = 6) -> tuple[Any, Any, dict[str, Any]]:
    given = {key: chunked(value, chunks) for key, value in OPTIONS[option].items()}
    return chunked(HOST, chunks), chunked(HOST > 1, chunks), given
