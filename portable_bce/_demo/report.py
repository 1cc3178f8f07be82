"""The demo: a logistic regression by our derivatives, held against scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from portable_bce import _kernels
from portable_bce._backends import open_backend
from portable_bce._demo.solvers import SOLVERS, Array, Problem, Step
from portable_bce._libraries import library

# Of the objective, a sum over the samples.
_TOLERANCE = 1e-6

# design matrix, targets
Sample: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
# how a figure is printed, ours, scikit-learn's
Row: TypeAlias = tuple[str, float, float]


def run(backend: str, solver: str, draw: Callable[[list[float]], None] | None = None) -> int:
    """Train on four fifths of the data and print how ours and scikit-learn's optimum compare.

    Parameters
    ----------
    backend, solver : str
        Keys of `BACKENDS` and of `SOLVERS`.
    draw : callable, optional
        Is given how far above the optimum each step's objective lies.

    Returns
    -------
    status : int
        0 if the two objectives agree to 1e-6, else 1.
    """
    console = Console(highlight=False)
    train, held_out = load()
    with open_backend(backend) as xp:
        console.print(f"CPU kernels: {_kernels.describe()}")
        problem = pose(xp, train)
        steps = _solve(console, problem, solver)
        theirs = xp.asarray(peer(train), dtype=problem.design.dtype)
        rows = _compare(problem, pose(xp, held_out), steps[-1].params, theirs)
    console.print(_table(rows))
    _, objective, optimum = rows["objective"]
    if draw is not None:
        best = min(objective, optimum)
        draw([step.objective - best for step in steps])
    agree = abs(objective - optimum) <= _TOLERANCE
    console.print(f"The objectives {'agree' if agree else 'do not agree'} to {_TOLERANCE:g}.")
    return 0 if agree else 1


def load() -> tuple[Sample, Sample]:
    """Return what is trained on and what is held out, standardised by the former."""
    features, targets = load_breast_cancer(return_X_y=True)
    train, test, train_targets, test_targets = train_test_split(
        features, targets == 1, test_size=0.2, stratify=targets, random_state=0
    )
    scaler = StandardScaler().fit(train)
    return (
        (_with_ones(scaler.transform(train)), train_targets),
        (_with_ones(scaler.transform(test)), test_targets),
    )


def pose(xp: Any, sample: Sample) -> Problem:
    """Return the problem on the arrays of a library."""
    design, targets = sample
    return Problem(xp, xp.asarray(design, dtype=xp.float64), xp.asarray(targets))


def peer(sample: Sample) -> np.ndarray[Any, Any]:
    """Return the parameters that scikit-learn finds."""
    design, targets = sample
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10)
    model.fit(design[:, :-1], targets)
    return np.concatenate([model.coef_[0], model.intercept_])


def _with_ones(features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _solve(console: Console, problem: Problem, solver: str) -> list[Step]:
    solve, every = SOLVERS[solver]
    samples, columns = problem.design.shape
    name = library(problem.xp)
    console.print(f"{solver}: {samples} samples, {columns - 1} features, {name}")
    console.print(" step       objective  gradient norm")
    steps: list[Step] = []
    for number, step in enumerate(solve(problem)):
        steps.append(step)
        if number % every == 0:
            _report(console, number, step)
    last = len(steps) - 1
    if last % every:
        _report(console, last, steps[last])
    return steps


def _report(console: Console, number: int, step: Step) -> None:
    console.print(f"{number:5d}  {step.objective:14.9f}  {step.gradient_norm:13.1e}")


def _compare(train: Problem, held_out: Problem, ours: Array, theirs: Array) -> dict[str, Row]:
    figures = {
        "objective": (".9f", train.objective),
        "log-loss, nats": (".9f", train.log_loss),
        "accuracy": (".4f", train.accuracy),
        "held-out log-loss, nats": (".9f", held_out.log_loss),
        "held-out accuracy": (".4f", held_out.accuracy),
    }
    return {
        name: (style, float(figure(ours)), float(figure(theirs)))
        for name, (style, figure) in figures.items()
    }


def _table(rows: dict[str, Row]) -> Table:
    table = Table("")
    for heading in ("portable_bce", "scikit-learn", "difference"):
        table.add_column(heading, justify="right")
    for name, (style, ours, theirs) in rows.items():
        table.add_row(name, format(ours, style), format(theirs, style), f"{ours - theirs:+.1e}")
    return table
