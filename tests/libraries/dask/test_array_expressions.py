"""Dask's array expressions (`array.query-planning: True`) give what its arrays give.

They are chosen before `dask.array` is imported, so a process of its own uses them.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import itertools

import dask
dask.config.set({"array.query-planning": True, "scheduler": "synchronous"})
import dask.array as da
import numpy as np

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp

assert type(da.zeros(3)).__module__ == "dask.array._array_expr._collection", "no expressions"
x = np.linspace(-9, 9, 60, dtype=np.float32).reshape(5, 4, 3)
mask, weight = x < 8, np.linspace(0.5, 2, 3, dtype=np.float32)


def lazy(value, chunks):
    is_array = isinstance(value, np.ndarray)
    return da.from_array(value, chunks=chunks[-value.ndim :]) if is_array else value


def results(name, x, y, keywords):
    loss, pullback = getattr(portable_bce, f"{name}_vjp")(x, y, **keywords)
    return [
        *getattr(portable_bce, f"{name}_value_and_grad")(x, y, **keywords),
        *getattr(portable_bce, f"{name}_grad_and_hess")(x, y, **keywords),
        loss,
        *pullback(2.0),
    ]


options = [
    {"reduction": "none"},
    *({"reduction": name, "axis": axis} for name in ("sum", "mean") for axis in (None, 0, (0, 2))),
    {"where": mask},
    {"where": mask, "axis": 1, "weight": weight, "reduction": "weighted_mean"},
    {"pos_weight": weight, "label_smoothing": 0.1},
]
for name, keywords in itertools.product(("bce_with_logits", "bce"), options):
    first = x if name == "bce_with_logits" else portable_bce.sigmoid(x)
    memory = results(name, first, x > 1, keywords)
    for chunks in ((5, 4, 3), (2, 3, 1)):
        given = {key: lazy(value, chunks) for key, value in keywords.items()}
        computed = results(name, lazy(first, chunks), lazy(x > 1, chunks), given)
        for got, wanted in zip(computed, memory):
            assert got.dtype == wanted.dtype, (name, keywords)
            assert got.shape == wanted.shape, (name, keywords)
            far = ulp.distance(np.ravel(got.compute()), np.ravel(wanted)).max()
            assert far <= contract.COUNTED + contract.SUM, (name, keywords, chunks, far)
arrays = lazy(x, (2, 3, 1)), lazy(x > 1, (2, 3, 1))
for function in ("sigmoid", "log_sigmoid", "softplus"):
    got = getattr(portable_bce, function)(arrays[0]).compute()
    np.testing.assert_array_equal(got, getattr(portable_bce, function)(x))
portable_bce.check_inputs(*arrays)
try:
    portable_bce.check_inputs(arrays[0], 2.0 * arrays[1])
except ValueError as error:
    print(error)
"""


def test_array_expressions_give_what_arrays_in_memory_give() -> None:
    """https://github.com/dask/dask/issues/11922: sums were an IndexError, squeeze is missing."""
    pytest.importorskip("dask.array._array_expr", reason="this Dask has no array expressions")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("`targets` must lie in [0, 1]; 27 of 60 do not")
