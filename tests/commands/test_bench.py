"""What bench compares computes the same, and ratios are formed round by round."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich")

import bench
import device
import timing
from contenders import FORMULAS, OURS, TASKS, Contender, contenders
from timing import Ratio, Timed, ratios, timed

from portable_bce import bce_with_logits_value_and_grad
from portable_bce._commands import machine
from portable_bce._commands.machine import open_backend
from tests.backends import no_gpu

# Peers lose the tails; between -3 and 3 each is right to a few dozen roundings of float32.
AGREE = 64 * np.finfo(np.float32).eps


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave functions as they are: tests/libraries/torch compile them, which takes a minute."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def flat(result: Any) -> list[np.ndarray]:
    values = result if isinstance(result, tuple) else (result,)
    return [np.asarray(one.detach() if hasattr(one, "detach") else one) for one in values]


@pytest.mark.parametrize("group", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings(
    "ignore:.*Function.> should not be instantiated"
)  # by PyTorch's compiler
def test_everybody_computes_the_same(group: str, task: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip(group)
    if group == "torch":
        request.getfixturevalue("quick_compiler")
    x = np.linspace(-3, 3, 41, dtype=np.float32)
    y = (x > -1).astype(np.float32)
    wanted: dict[str, Callable[..., Any]] = {
        one.name: one.calls[task] for one in contenders("numpy") if task in one.calls
    }
    exact = flat(wanted[OURS](x, y))
    with open_backend(group):
        for one in contenders(group):
            if task not in one.calls or one.name.startswith("floor"):
                continue
            got = flat(one.wait(one.calls[task](*one.arrays(x, y))))
            assert len(got) == len(exact), one.name
            for mine, theirs in zip(exact, got, strict=True):
                assert np.all(np.abs(mine - theirs) <= AGREE * np.maximum(np.abs(mine), 1)), (
                    one.name
                )


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.filterwarnings(
    "ignore:.*Function.> should not be instantiated"
)  # by PyTorch's compiler
def test_everybody_on_a_device_computes_the_same() -> None:
    """On the CPU, with NumPy in CuPy's place: what is timed is told by where arrays are made."""
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    x = np.linspace(-3, 3, 41, dtype=np.float32)
    y = (x > -1).astype(np.float32)
    exact = flat(bce_with_logits_value_and_grad(x, y))
    with open_backend("jax"):
        found = list(device.members(np, "cpu"))
        assert len({one.name for one in found}) == len(found) > 8
        for one in found:
            if not one.name.startswith("floor"):
                got = flat(one.wait(one.calls["value_and_grad"](*one.arrays(x, y))))
                for mine, theirs in zip(exact, got, strict=True):
                    apart = np.abs(mine - theirs)
                    assert np.all(apart <= AGREE * np.maximum(np.abs(mine), 1)), one.name


def test_a_device_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if no_gpu() is None:
        pytest.skip("there is a GPU")
    assert bench.main(["--backend", "gpu"]) == 2
    assert "cupy" in capsys.readouterr().err.lower()


def fake(name: str, group: str, called: list[str]) -> Contender:
    def call(x: Any, y: Any) -> None:
        called.append(name)

    return Contender(name, group, {"loss": call}, lambda x, y: (x, y), lambda result: result)


def test_each_round_has_everybody_once_and_in_changing_order() -> None:
    called: list[str] = []
    found = [fake(name, "numpy", called) for name in ("a", "b", "c")]
    ticks = iter(range(10**6))
    results = timed(found, "loss", 0, 0, 0.0, lambda: next(ticks))
    assert {len(one.seconds) for one in results} == {5}
    rounds = [tuple(called[6 + 3 * i : 9 + 3 * i]) for i in range(5)]  # after two of each
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 1


def test_there_are_as_many_rounds_as_asked() -> None:
    found = [fake("a", "numpy", [])]
    (result,) = timed(found, "loss", 0, 0, 0.0, lambda: 0.0, rounds=9)
    assert len(result.seconds) == 9


def test_a_formula_that_overflows_is_timed_without_a_warning() -> None:
    found = [one for one in contenders("numpy") if one.name == "shortest formula"]
    x = np.asarray([-100], np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        found[0].calls["grad"](x, x)
    assert timed(found, "grad", x, x, 0.0, lambda: 0.0)


def test_data_are_of_one_kind_in_every_piece() -> None:
    """Labels are drawn from the sigmoid of their logits, in the last piece as in the first."""
    size = 3 * bench._PIECE + 5
    x, y = bench.data(size, "float32")
    assert x.shape == y.shape == (size,)
    assert set(np.unique(y)) == {0, 1}
    for part in (slice(bench._PIECE), slice(2 * bench._PIECE, None)):
        assert abs(x[part].std() - 3) < 0.1
        assert abs(np.mean(y[part] - 1 / (1 + np.exp(-x[part])))) < 0.02


def test_who_cannot_do_a_task_is_left_out() -> None:
    found = [fake("a", "numpy", [])]
    assert timed(found, "grad", 0, 0, 0.0, lambda: 0.0) == []


def test_short_calls_are_repeated_until_a_clock_can_tell() -> None:
    now = [0.0]

    def call() -> None:
        now[0] += 1e-5

    assert timing._repeats(call, lambda: now[0]) == 100


def test_ratio_is_formed_round_by_round() -> None:
    """A machine that is ten times slower in one round is so for both."""
    one = Timed(fake("a", "numpy", []), [1.0, 10.0, 1.0, 1.0])
    other = Timed(fake("b", "numpy", []), [2.0, 20.0, 2.0, 2.0])
    assert one.ratio(other) == Ratio(0.5, 0.5, 0.5)


def test_ratios_are_of_ours_to_others_on_the_same_arrays() -> None:
    names = [(OURS, "numpy"), ("peer", "numpy"), (OURS, "jax"), ("optax", "jax")]
    found = [Timed(fake(name, group, []), [1.0, 1.0]) for name, group in names]
    pairs = [(mine.contender.group, other.contender.name) for mine, other, _ in ratios(found)]
    assert pairs == [("numpy", "peer"), ("jax", "optax")]


def here(script: str, **cell: Any) -> Any:
    """Measure a cell in this process, which is quicker than to start one."""
    return bench.measured(argparse.Namespace(**cell))


def test_bench_prints_and_writes_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "apart", here)
    monkeypatch.setattr(machine, "PAUSE", 0.0)
    path = tmp_path / "bench.json"
    sizes = ["--size", "3", "50", "--dtype", "float32", "--backend", "numpy"]
    assert bench.main([*sizes, "--seconds", "0.001", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    for name, formula in FORMULAS.items():
        assert f"numpy: portable_bce / {name}" in " ".join(out.split())
        assert f"{name}: its sigmoid is {formula}" in " ".join(out.split())
    assert "50% of 2 measurements, " in err
    found = json.loads(path.read_text())
    assert {one["size"] for one in found["results"]} == {3, 50}
    for one in found["results"]:
        assert one["ratio"]["low"] <= one["ratio"]["median"] <= one["ratio"]["high"]
    assert found["machine"]["cpu"]
    assert found["versions"]["numpy"] == np.__version__


def test_each_size_and_dtype_has_a_process_of_its_own() -> None:
    cell = {"group": "numpy", "tasks": ["loss"], "seconds": 1e-3, "threads": 1}
    found = bench.apart(bench.__file__, **cell, size=3, dtype="float64")
    assert {(one["task"], one["size"]) for one in found["records"]} == {("loss", 3)}


def test_an_interrupted_measurement_ends_bench_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "apart", interrupted)
    assert bench.main(["--backend", "numpy"]) == 130
    assert capsys.readouterr() == ("", "nox -s bench --: stopped\n")


def test_a_hundred_thousand_elements_are_timed_by_default() -> None:
    """Between 20,000 and 150,000 glibc returns every temporary to the system."""
    assert 10**5 in bench.parsed([]).size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "`--size` must be at least 1; got 0"),
        (["--threads", "0"], "`--threads` must be at least 1; got 0"),
        (["--seconds", "0"], "`--seconds` must be positive and finite; got 0.0"),
        (["--seconds", "inf"], "`--seconds` must be positive and finite; got inf"),
        (
            ["--json", "nowhere/found.json"],
            "`--json` must be a file in a folder that exists; nowhere does not",
        ),
        (
            ["--backend", "gpu", "numpy"],
            "`--backend gpu` must be timed alone: it has a clock of its own",
        ),
        (["--dtype", "float16"], "`--dtype float16` must be timed with `--backend gpu`"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "apart", None)
    assert bench.main(arguments) == 2
    assert capsys.readouterr().err == f"nox -s bench --: {message}\n"
