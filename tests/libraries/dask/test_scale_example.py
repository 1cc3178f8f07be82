"""The example that scores a Zarr file gives what memory gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp

zarr = pytest.importorskip("zarr")
pytest.importorskip("dask.array")
pytest.importorskip("distributed")

SCRIPT = Path(__file__).parents[3] / "docs" / "scale" / "score_zarr.py"


def test_a_scored_file_has_the_loss_and_gradient_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "scores.zarr"
    command = [sys.executable, str(SCRIPT), str(path), "--rows", "9500", "--chunk-rows", "2000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    group = zarr.open_group(path, mode="r")
    x, y, grad = (np.asarray(group[name][...]) for name in ("logits", "labels", "gradient"))
    assert x.shape == (9500, 10)
    loss, exact = portable_bce.bce_with_logits_value_and_grad(x, y)
    np.testing.assert_array_equal(grad, exact)
    assert ulp.distance(np.float32(said["loss"]), loss).max() <= contract.SUM
    per_class = np.asarray(said["loss of each class"].split(), dtype=np.float32)
    wanted = portable_bce.bce_with_logits(x, y, axis=0)
    assert ulp.distance(per_class, wanted).max() <= contract.SUM
    assert said["peak memory of a worker"].endswith("of 400MiB")
