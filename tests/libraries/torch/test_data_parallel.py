"""PyTorch data parallel: a sum over the global count is the mean over the global batch.

Two gloo processes, which meet by a file, train on parts of each batch (data_parallel.py).
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.autodiff import apart
from tests.pages import ROOT

pytest.importorskip("torch")
pytest.importorskip("sklearn")  # for the example

import torch

from tests.libraries.torch.data_parallel import CUTS, LOSSES, PROCESSES, alone

EXAMPLE = ROOT / "docs/scale/train_torch.py"
# In ULP of the largest parameter, or of the loss: 20 steps of sums that are rounded at other
# places (measured: 2).
TRAINED = 8.0
# The same in the 13 decimals that the example prints.
PRINTED = 2e-13
RECIPES = [*LOSSES, "by hand"]
# Warnings are errors in the processes that torchrun starts, too; one thread each is enough.
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what each process found."""
    store = tmp_path_factory.mktemp("gloo") / "store"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.libraries.torch.data_parallel", str(rank), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        for rank in range(PROCESSES)
    ]
    try:
        said = [one.communicate(timeout=300) for one in started]
    finally:
        for one in started:
            one.kill()
            one.communicate()
    assert [one.returncode for one in started] == [0] * PROCESSES, said
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def parameters(found: dict[str, list[float]]) -> Any:
    return np.asarray(found["parameters"])


def distance(found: dict[str, list[float]], wanted: dict[str, list[float]]) -> float:
    """Return how far apart parameters are, in ULP of the largest."""
    scale = np.abs(parameters(wanted)).max()
    return apart(parameters(found), parameters(wanted), scale)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("cut", CUTS)
def test_training_on_parts_ends_where_training_on_the_whole_ends(
    processes: Any, cut: str, recipe: str
) -> None:
    """Masks and weights included, a process without a row included."""
    wanted = alone("function" if recipe == "by hand" else recipe)
    found = processes[0][cut][recipe]
    assert distance(found, wanted) <= TRAINED
    assert apart(np.asarray(found["losses"]), np.asarray(wanted["losses"])) <= TRAINED


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("cut", CUTS)
def test_every_process_ends_with_the_same_parameters(processes: Any, cut: str, recipe: str) -> None:
    one, other = (found[cut][recipe] for found in processes)
    assert one == other


@pytest.mark.parametrize("cut", CUTS)
def test_mean_of_means_is_the_mean_of_equal_parts_only(processes: Any, cut: str) -> None:
    """Silently so: where a process has no row the gradient is halved."""
    found, wanted = processes[0][cut]["naive"], alone("module")
    assert np.all(np.isfinite(found["parameters"]))
    if cut == "even":
        assert distance(found, wanted) <= TRAINED
    else:
        assert np.abs(parameters(found) - parameters(wanted)).max() > 0.1


def printed(out: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?\d+\.\d+", out)]


@pytest.fixture
def group() -> Iterator[None]:
    """Leave no process group behind."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_example_prints_the_same_under_torchrun(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    one = capsys.readouterr().out
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for _ in range(3):
        done = subprocess.run(
            [*launcher, str(EXAMPLE)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        # Gloo now and then aborts a process that is leaving, with this and nothing else.
        if "terminate called without an active exception" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert one.startswith("1 process(es)")
    assert done.stdout.startswith("2 process(es)")
    assert len(printed(one)) == 4
    assert printed(done.stdout) == pytest.approx(printed(one), rel=0, abs=PRINTED)
