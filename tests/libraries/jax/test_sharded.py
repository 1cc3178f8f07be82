"""Sharded JAX arrays: what is computed stays where it is, and what travels are the sums.

Eight virtual devices are in a process of their own (sharded.py), because JAX settles
their number when it starts, and every other test is to see one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from portable_bce import _contract as contract
from tests import pages
from tests.libraries.jax.sharded import EXAMPLE
from tests.libraries.jax.sharded_cases import ALL_CALLS, CASES, LAYOUTS

pytest.importorskip("jax")
pytest.importorskip("sklearn")  # for the example

DEVICES = 8
# Without float64 XLA on a CPU adds what it does not cut, up to 32 terms along each axis, one by
# one: 10 ULP from 31 x 31 terms on one device (measured, jaxlib 0.10.2). Cut, they are fewer.
ONE_BY_ONE = 10.0
# Of the largest parameter: 200 steps, in which X^T g is rounded at other places (measured: 3).
TRAINED = 32.0


def on_devices(*command: str) -> str:
    """Run Python on virtual devices, and return what it printed."""
    flag = f"--xla_force_host_platform_device_count={DEVICES}"
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=pages.ROOT,
        env={**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found() -> Any:
    return json.loads(on_devices("-m", "tests.libraries.jax.sharded").splitlines()[-1])


def test_what_lies_on_other_devices_is_seen_to_travel(found: Any) -> None:
    """Else the counts of the other laws say nothing."""
    assert found["gathered"] == {"all-gather": [960]}


@pytest.mark.parametrize(("layout", "call"), CASES)
def test_derivatives_and_losses_of_elements_keep_the_sharding(
    found: Any, layout: str, call: str
) -> None:
    kept = found[layout][call]["kept"]
    assert kept
    assert all(kept)


@pytest.mark.parametrize(("layout", "call"), CASES)
def test_reduced_losses_are_on_every_device(found: Any, layout: str, call: str) -> None:
    results = ALL_CALLS[call].results
    assert found[layout][call]["everywhere"] == [True] * ("loss" in results)


@pytest.mark.parametrize(("layout", "call"), CASES)
def test_one_all_reduce_sums_loss_and_count_and_nothing_else_travels(
    found: Any, layout: str, call: str
) -> None:
    """One for each axis of the array that is cut: so XLA sums any array. None for a gradient."""
    moved = ALL_CALLS[call].moved
    sums = [moved] * LAYOUTS[layout].sums if moved else []
    assert found[layout][call]["collectives"] == ({"all-reduce": sums} if sums else {})


def test_mean_along_an_axis_travels_only_across_the_cut(found: Any) -> None:
    (across, moved), (within, nothing) = found["along an axis"]
    assert (across, moved) == ("P(None,)", [24])
    assert (within, nothing) == ("P('a',)", [])


def test_nothing_is_moved_without_jit(found: Any) -> None:
    assert found["eager"] == [True, True]


def test_values_are_checked_however_they_are_cut(found: Any) -> None:
    message = "`targets` must lie in [0, 1]; 2 of 960 do not, the first is 7.0 at index (1, 1)"
    assert found["checked"] == [message] * len(LAYOUTS)


@pytest.mark.parametrize(("layout", "call"), CASES)
def test_sharded_losses_are_as_right_as_others(found: Any, layout: str, call: str) -> None:
    summed = contract.SUM if LAYOUTS[layout].x64 else contract.NARROW_SUM
    if LAYOUTS[layout].sums == 0 and not LAYOUTS[layout].x64:
        summed = ONE_BY_ONE
    assert found[layout][call]["error"] <= contract.PROBABILITY + summed


@pytest.mark.parametrize(("layout", "call"), CASES)
def test_sharded_results_are_those_of_one_device(found: Any, layout: str, call: str) -> None:
    """The same compiled formula, divided by a sum that is added up in another order."""
    settings = ALL_CALLS[call]
    summed = contract.SUM if LAYOUTS[layout].x64 else ONE_BY_ONE
    weights = settings.reduction == "weighted_mean"  # a count is exact
    for name, apart in found[layout][call]["apart"].items():
        sums = weights + (name == "loss")
        assert apart <= contract.CONTRACTED + sums * summed, name


def test_sums_by_hand_in_shard_map_are_the_masked_mean_for_one_all_reduce(found: Any) -> None:
    """One even where both axes are cut."""
    travelled, (loss, grad) = found["by hand"]
    assert travelled == {"all-reduce": [2]}
    assert loss <= contract.CONTRACTED + ONE_BY_ONE
    assert grad <= contract.CONTRACTED + contract.AUTODIFF  # divided after it was rounded


def test_training_on_all_devices_ends_where_training_on_one_ends(found: Any) -> None:
    assert found["example"] <= TRAINED


def test_example_runs_as_its_reader_runs_it() -> None:
    lines = on_devices(str(EXAMPLE)).splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["1 device(s)", "8 device(s)"]
    (units,) = re.findall(r"parameters differ by (\d+) ULP of the largest", lines[2])
    assert int(units) <= TRAINED


def test_page_runs_on_many_devices_too() -> None:
    """On one it runs with all pages."""
    on_devices("-c", "\n".join(str(one.parsed) for one in pages.parsed("docs/sharded-jax.md")))
