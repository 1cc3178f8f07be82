"""The demo command: what it finds, prints, draws and refuses."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_bce import __main__ as command
from portable_bce import _kernels
from portable_bce._backends import BACKENDS, open_backend
from portable_bce._demo.solvers import SOLVERS, Problem, Step, newton
from tests.backends import emulated, no_gpu, parameters, skip_if_missing

for package in ("rich", "sklearn"):
    pytest.importorskip(package, reason=f"the demo needs {package}")

from portable_bce._demo import report  # noqa: E402 (it imports both)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", params=parameters(command.DEMO))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    skip_if_missing(name)
    return name


def objective(params: Any, sample: report.Sample) -> float:
    """scikit-learn's objective, without this library."""
    design, targets = sample
    logits = design @ params
    losses = np.logaddexp(0, np.where(targets, -logits, logits))
    return float(losses.sum() + 0.5 * (params[:-1] ** 2).sum())


@cache
def solved(backend: str, solver: str) -> tuple[report.Sample, list[Step], Any]:
    sample, _ = report.load()
    if backend == "cupy" and emulated():
        pytest.skip("the emulated device has no cuBLAS")
    with open_backend(backend) as xp:
        steps = list(SOLVERS[solver][0](report.pose(xp, sample)))
        params = steps[-1].params
        assert str(params.dtype).endswith("float64")
        return sample, steps, np.asarray(params.get() if backend == "cupy" else params)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_reaches_the_optimum_of_scikit_learn(backend: str, solver: str) -> None:
    sample, steps, params = solved(backend, solver)
    optimum = objective(report.peer(sample), sample)
    assert steps[-1].objective == pytest.approx(optimum, rel=0, abs=1e-6)
    assert objective(params, sample) == pytest.approx(optimum, rel=0, abs=1e-6)


def test_objective_of_newton_never_rises(backend: str) -> None:
    _, steps, _ = solved(backend, "newton")
    objectives = [step.objective for step in steps]
    assert len(objectives) > 3
    assert objectives == sorted(objectives, reverse=True)


def test_newton_halves_a_step_that_would_raise_the_objective() -> None:
    features = np.asarray([[-2.0, 1.0], [-10.0, -5.0], [245.0, 91.0], [-28.0, 8.0]])
    design = np.concatenate([features, np.ones((4, 1))], axis=1)
    with open_backend("numpy") as xp:
        problem = Problem(xp, design, np.asarray([False, True, False, False]))
        whole = [problem.start()]
        for _ in range(8):
            grad, hess = problem.grad_and_hess(whole[-1])
            whole.append(whole[-1] - np.linalg.solve(hess, grad))
        assert max(np.diff([problem.objective(params) for params in whole])) > 1
        steps = list(newton(problem))
    assert max(np.diff([step.objective for step in steps])) <= 0
    assert steps[-1].gradient_norm < 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_demo_prints_its_steps_and_both_optima(
    solver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["demo", "--solver", solver]) == 0
    printed = capsys.readouterr().out
    assert printed.count("29.8346") >= 3
    assert printed.startswith(f"CPU kernels: {_kernels.describe()}\n")
    assert "30 features, numpy\n" in printed
    for words in ("315.381967155", "portable_bce", "scikit-learn", "held-out", "objectives agree"):
        assert words in printed


def test_disagreement_exits_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "peer", lambda sample: np.zeros(sample[0].shape[1]))
    assert command.main(["demo"]) == 1
    assert "do not agree" in capsys.readouterr().out


def test_plot_writes_an_image(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "convergence.png"
    assert command.main(["demo", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["missing/convergence.png", "convergence.unknown"])
def test_plot_that_cannot_be_written_is_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / name
    assert command.main(["demo", "--plot", str(file)]) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith(f"python -m portable_bce demo: cannot write {file}: ")
    assert refusal.count("\n") == 1


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Have the demo's modules imported anew, as in a process of its own."""
    package = importlib.import_module("portable_bce._demo")
    for name in ("report", "plot"):
        monkeypatch.delitem(sys.modules, f"portable_bce._demo.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    yield monkeypatch
    for name in ("report", "plot"):
        sys.modules.pop(f"portable_bce._demo.{name}", None)


@pytest.mark.parametrize(
    ("module", "package", "extra", "arguments"),
    [
        ("rich", "rich", "demo", []),
        ("sklearn", "scikit-learn", "demo", []),
        ("matplotlib", "matplotlib", "demo", ["--plot", "unwritten.png"]),
        ("cupy", "cupy", "cupy", ["--backend", "cupy"]),
        ("torch", "torch", "torch", ["--backend", "torch"]),
        ("jax", "jax", "jax", ["--backend", "jax"]),
    ],
)
def test_missing_package_is_named_with_what_installs_it(
    module: str,
    package: str,
    extra: str,
    arguments: list[str],
    fresh: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    roots = (module, BACKENDS.get(module, module))
    for name in list(sys.modules):
        if any(name == root or name.startswith(f"{root}.") for root in roots):
            fresh.delitem(sys.modules, name)
    fresh.setitem(sys.modules, module, None)
    assert command.main(["demo", *arguments]) == 2
    assert capsys.readouterr() == (
        "",
        f"python -m portable_bce demo needs {package}, which is not installed: "
        f'pip install "portable-bce[{extra}]"\n',
    )


def test_unexpected_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'ours'", name="ours")

    monkeypatch.setattr(report, "run", broken)
    with pytest.raises(ModuleNotFoundError, match="ours"):
        command.main(["demo"])


def test_cupy_without_a_device_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("cupy")
    if no_gpu() is None:
        pytest.skip("there is a CUDA device")
    assert command.main(["demo", "--backend", "cupy"]) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("python -m portable_bce demo: CuPy finds no CUDA device")
    assert refusal.count("\n") == 1


@pytest.mark.parametrize("option", ["--backend", "--solver"])
def test_unknown_choice_is_an_error_of_usage(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(["demo", option, "abacus"])
    assert exited.value.code == 2
    assert f"argument {option}: invalid choice: 'abacus'" in capsys.readouterr().err


def test_no_arguments_print_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portable_bce"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m portable_bce")
    assert "demo" in done.stderr
