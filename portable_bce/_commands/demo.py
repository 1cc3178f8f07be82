"""``portable-bce demo``: a logistic regression by our derivatives, compared with scikit-learn's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from portable_bce import (
    _kernels,
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce._commands.machine import UnavailableError, console, open_backend, require_file
from portable_bce._libraries import library, to_numpy

# An array of any library, which is computed with: the standard has no type for that.
Array: TypeAlias = Any
# design matrix, targets
Sample: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

# By how much the two objectives, sums over the samples, may differ.
_AGREEMENT = 1e-6
# Of the gradient's norm g: the objective is then within g^2 / (2 mu) of its minimum, mu
# being its least curvature, about 1 by the ridge.
_TOLERANCE = 1e-6
_NEWTON_STEPS, _HALVINGS = 50, 20
_GRADIENT_STEPS = 10_000
# Logits of label 1 at which the usual formula keeps ten digits, some, and none.
_TAIL = (5, 20, 35, 40, 100)


@dataclass(frozen=True, eq=False)
class Problem:
    """The sum of the losses and 0.5 ||w||^2, which ``LogisticRegression(C=1)`` minimises.

    The last column of the design matrix, of ones, stands for the intercept, which is not penalised.
    """

    xp: Any
    design: Array
    targets: Array

    def start(self) -> Array:
        """Return the parameters, all 0."""
        return self.xp.zeros_like(self.design[0, :])

    def objective(self, params: Array) -> Array:
        """Return what is minimised."""
        loss = bce_with_logits(self.design @ params, self.targets, reduction="sum")
        return loss + self._penalty(params)

    def value_and_grad(self, params: Array) -> tuple[Array, Array]:
        """Return the objective and its gradient."""
        logits = self.design @ params
        loss, grad = bce_with_logits_value_and_grad(logits, self.targets, reduction="sum")
        return loss + self._penalty(params), self._pulled_back(grad, params)

    def grad_and_hess(self, params: Array) -> tuple[Array, Array]:
        """Return the gradient of the objective and its Hessian, a matrix."""
        logits = self.design @ params
        grad, hess = bce_with_logits_grad_and_hess(logits, self.targets, reduction="sum")
        return self._pulled_back(grad, params), self._curvature(hess)

    def steepest(self) -> float:
        """Return a bound on the curvature: no loss curves more than 1/4."""
        quarter = self.xp.full_like(self.design[:, 0], 0.25)
        return float(self.xp.linalg.eigvalsh(self._curvature(quarter))[-1])

    def log_loss(self, params: Array) -> Array:
        """Return the mean loss, in nats."""
        return bce_with_logits(self.design @ params, self.targets)

    def accuracy(self, params: Array) -> Array:
        """Return the share of samples on their own side of 0."""
        right = (self.design @ params > 0) == self.targets
        return self.xp.mean(self.xp.astype(right, self.design.dtype))

    @cached_property
    def _penalised(self) -> Array:
        ones = self.xp.ones_like(self.design[0, 1:])
        return self.xp.concat([ones, self.xp.zeros_like(ones[:1])])

    def _penalty(self, params: Array) -> Array:
        return 0.5 * self.xp.sum(self._penalised * params**2)

    def _pulled_back(self, grad: Array, params: Array) -> Array:
        return grad @ self.design + self._penalised * params

    def _curvature(self, hess: Array) -> Array:
        identity = self.xp.eye(self.design.shape[1], dtype=self.design.dtype)
        return self.design.T @ (hess[:, None] * self.design) + identity * self._penalised


@dataclass(frozen=True, eq=False)
class Step:
    """Where a solver stands."""

    params: Array
    objective: float
    gradient_norm: float


def newton(problem: Problem) -> Iterator[Step]:
    """Yield the steps of Newton's method, each halved until the objective does not rise."""
    params = problem.start()
    objective = float(problem.objective(params))
    for _ in range(_NEWTON_STEPS):
        grad, hess = problem.grad_and_hess(params)
        step = Step(params, objective, _norm(problem, grad))
        yield step
        if step.gradient_norm <= _TOLERANCE:
            return
        direction = problem.xp.linalg.solve(hess, grad)
        params, objective = _damped(problem, step, direction)


def _damped(problem: Problem, step: Step, direction: Array) -> tuple[Array, float]:
    for halvings in range(_HALVINGS):
        params = step.params - 0.5**halvings * direction
        objective = float(problem.objective(params))
        if objective <= step.objective:
            return params, objective
    return step.params, step.objective


def gradient_descent(problem: Problem) -> Iterator[Step]:
    """Yield the steps of Nesterov's accelerated gradient descent.

    The step size is 1/L, L bounding the curvature. Where a step goes uphill the momentum
    starts anew (O'Donoghue and Candes, 2015), which makes convergence linear without
    knowledge of the least curvature.
    """
    size = 1.0 / problem.steepest()
    params = ahead = problem.start()
    momentum = 1.0
    for _ in range(_GRADIENT_STEPS):
        objective, grad = problem.value_and_grad(ahead)
        step = Step(ahead, float(objective), _norm(problem, grad))
        yield step
        if step.gradient_norm <= _TOLERANCE:
            return
        stepped = ahead - size * grad
        moved = stepped - params
        previous = 1.0 if float(grad @ moved) > 0 else momentum
        momentum = (1 + math.sqrt(1 + 4 * previous**2)) / 2
        params, ahead = stepped, stepped + (previous - 1) / momentum * moved


def _norm(problem: Problem, grad: Array) -> float:
    return float(problem.xp.linalg.vector_norm(grad))


# name -> (solver, how many steps to a line)
SOLVERS: dict[str, tuple[Callable[[Problem], Iterator[Step]], int]] = {
    "newton": (newton, 1),
    "gd": (gradient_descent, 100),
}


def run(backend: str, solver: str, plot: Path | None = None) -> int:
    """Train on four fifths of the data and compare; return 0 if the two objectives agree."""
    if plot is not None:
        check_plot(plot)
    out = console()
    train, held_out = load()
    with open_backend(backend) as xp:
        out.print(f"CPU kernels: {_kernels.describe()}")
        samples, columns = train[0].shape
        out.print(
            f"Breast cancer Wisconsin, from scikit-learn: {samples} samples, {columns - 1} features"
        )
        problem = pose(xp, train)
        steps = _solve(out, problem, solver)
        theirs = xp.asarray(peer(train), dtype=problem.design.dtype)
        objective, optimum = _compare(out, problem, pose(xp, held_out), steps[-1].params, theirs)
        agree = abs(objective - optimum) <= _AGREEMENT
        verb = "agree" if agree else "do not agree"
        out.print(f"The objectives {verb} to {_AGREEMENT:g}.\n")
        _show_tail(out, xp)
    if plot is not None:
        draw(plot, [step.objective - min(objective, optimum) for step in steps])
    return 0 if agree else 1


def load() -> tuple[Sample, Sample]:
    """Return what is trained on and what is held out, standardised by the former."""
    features, targets = load_breast_cancer(return_X_y=True)
    train, test, train_targets, test_targets = train_test_split(
        features, targets == 1, test_size=0.2, stratify=targets, random_state=0
    )
    scaler = StandardScaler().fit(train)

    def with_ones(part: Any) -> Any:
        return np.concatenate([scaler.transform(part), np.ones((len(part), 1))], axis=1)

    return (with_ones(train), train_targets), (with_ones(test), test_targets)


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


def _solve(out: Console, problem: Problem, solver: str) -> list[Step]:
    solve, every = SOLVERS[solver]
    out.print(f"{solver} on {library(problem.xp)}")
    out.print(" step       objective  gradient norm")
    steps = list[Step]()
    for step in solve(problem):
        if len(steps) % every == 0:
            _show_step(out, len(steps), step)
        steps.append(step)
    if (len(steps) - 1) % every:
        _show_step(out, len(steps) - 1, steps[-1])
    return steps


def _show_step(out: Console, number: int, step: Step) -> None:
    out.print(f"{number:5d}  {step.objective:14.9f}  {step.gradient_norm:13.1e}")


def _compare(
    out: Console, train: Problem, held_out: Problem, ours: Array, theirs: Array
) -> tuple[float, float]:
    """Print figures of both optima, and return both objectives."""
    figures = {
        "objective": (".9f", train.objective),
        "log-loss, nats": (".9f", train.log_loss),
        "accuracy": (".4f", train.accuracy),
        "held-out log-loss, nats": (".9f", held_out.log_loss),
        "held-out accuracy": (".4f", held_out.accuracy),
    }
    rows = [["", "portable_bce", "scikit-learn", "difference"]]
    for name, (style, figure) in figures.items():
        mine, its = float(figure(ours)), float(figure(theirs))
        rows.append([name, format(mine, style), format(its, style), f"{mine - its:+.1e}"])
    out.print(_table(rows))
    return float(train.objective(ours)), float(train.objective(theirs))


def _show_tail(out: Console, xp: Any) -> None:
    """Print what the usual formula makes of a sample that a model is sure of."""
    x = xp.asarray(_TAIL, dtype=xp.float64)
    usual = to_numpy(xp, 1 / (1 + xp.exp(-x)) - 1)
    _, grad = bce_with_logits_value_and_grad(x, 1, reduction="none")
    rows = [["logit", "usual formula", "portable_bce", "exact"]]
    with localcontext(prec=40):
        for logit, *both in zip(_TAIL, usual, to_numpy(xp, grad), strict=True):
            exact = -1 / (1 + Decimal(logit).exp())
            rows.append([str(logit), *(f"{float(one):.10g}" for one in (*both, exact))])
    out.print("The gradient at label 1, in float64; the usual formula is 1 / (1 + exp(-x)) - 1:")
    out.print(_table(rows))


def _table(rows: list[list[str]]) -> Table:
    """Return a table whose first row is its head; numbers are never cut."""
    table = Table()
    for index, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def check_plot(file: Path) -> None:
    """Refuse a file that matplotlib could not write once the model is trained."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only the plot needs it)

    require_file("--plot", file)
    formats = Figure().canvas.get_supported_filetypes()
    if file.suffix.removeprefix(".") not in formats:
        known = ", ".join(f".{name}" for name in formats)
        raise UnavailableError(f"`--plot` must end in one of {known}; got {file}")


def draw(file: Path, gaps: list[float]) -> None:
    """Draw how far above the optimum each step lies, on a logarithmic axis.

    Gaps that are not positive are lost in rounding and drawn at the foot.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (only the plot needs it)

    figure = Figure(layout="constrained")
    axes = figure.subplots()
    # One rounding of the first objective, which is the largest.
    foot = sys.float_info.epsilon * max(gaps)
    axes.semilogy([max(gap, foot) for gap in gaps], marker="." if len(gaps) < 50 else "")
    axes.set(xlabel="step", ylabel="objective above its optimum")
    axes.grid(alpha=0.3)
    figure.savefig(file)
