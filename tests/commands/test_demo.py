"""The demo command: what it finds, prints, draws and refuses."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portable_bce import __main__ as command
from portable_bce import _kernels
from portable_bce._commands.machine import open_backend
from tests.backends import emulated, no_gpu, parameters, skip_if_missing

for package in ("rich", "sklearn"):
    pytest.importorskip(package, reason=f"the demo needs {package}")

from portable_bce._commands import demo  # noqa: E402 (it imports both)
from portable_bce._commands.demo import SOLVERS, Problem, Sample, Step, newton  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", params=parameters(command.DEMO))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    skip_if_missing(name)
    return name


def objective(params: Any, sample: Sample) -> float:
    """scikit-learn's objective, without this library."""
    design, targets = sample
    logits = design @ params
    losses = np.logaddexp(0, np.where(targets, -logits, logits))
    return float(losses.sum() + 0.5 * (params[:-1] ** 2).sum())


@cache
def solved(backend: str, solver: str) -> tuple[Sample, list[Step], Any]:
    sample, _ = demo.load()
    if backend == "cupy" and emulated():
        pytest.skip("the emulated device has no cuBLAS")
    with open_backend(backend) as xp:
        steps = list(SOLVERS[solver][0](demo.pose(xp, sample)))
        params = steps[-1].params
        assert str(params.dtype).endswith("float64")
        return sample, steps, np.asarray(params.get() if backend == "cupy" else params)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_reaches_the_optimum_of_scikit_learn(backend: str, solver: str) -> None:
    sample, steps, params = solved(backend, solver)
    optimum = objective(demo.peer(sample), sample)
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
    assert f"{solver} on numpy\n" in printed
    for words in ("315.381967155", "portable_bce", "scikit-learn", "held-out", "objectives agree"):
        assert words in printed


def test_disagreement_exits_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "peer", lambda sample: np.zeros(sample[0].shape[1]))
    assert command.main(["demo"]) == 1
    assert "do not agree" in capsys.readouterr().out


def test_plot_writes_an_image(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "convergence.png"
    assert command.main(["demo", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/convergence.png", "`--plot` must be a file in a folder that exists; "),
        ("", "`--plot` must be a file; "),
        ("convergence.unknown", "`--plot` must end in one of .eps, "),
        ("convergence", "`--plot` must end in one of .eps, "),
    ],
)
def test_plot_that_cannot_be_written_is_refused_before_the_training(
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "load", None)
    assert command.main(["demo", "--plot", str(tmp_path / name)]) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith(f"python -m portable_bce demo: {message}")
    assert refusal.count("\n") == 1


def test_demo_names_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["demo"]) == 0
    data = capsys.readouterr().out.splitlines()[1]
    assert data.startswith("Breast cancer Wisconsin")
    assert "scikit-learn" in data


@pytest.mark.parametrize("columns", ["40", "80"])
def test_demo_shows_where_the_usual_formula_is_0_and_ours_is_right(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert command.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    rows = re.findall(r"│ (\d+) +│ +(\S+) │ +(\S+) │ +(\S+) │", out)
    assert ("40", "0", "-4.248354255e-18", "-4.248354255e-18") in rows
    with localcontext(prec=40):
        for logit, usual, ours, exact in rows:
            right = -1 / (1 + Decimal(logit).exp())
            assert f"{float(right):.10g}" == ours == exact
            assert usual == f"{float(1 / (1 + np.exp(-float(logit))) - 1):.10g}"


def test_figures_of_the_demo_are_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert command.main(["demo"]) == 0
    assert capsys.readouterr().out.count("29.834674573") == 3


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
