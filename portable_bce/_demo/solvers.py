"""Logistic regression on any array API library, by the gradient and Hessian of this one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from portable_bce import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)

# An array of any library, which is computed with: the standard has no type for that.
Array: TypeAlias = Any

# Of the gradient's norm g: the objective is then within g^2 / (2 mu) of its minimum, mu
# being its least curvature, about 1 by the ridge.
_TOLERANCE = 1e-6
_NEWTON_STEPS, _HALVINGS = 50, 20
_GRADIENT_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class Problem:
    """The sum of the losses and 0.5 ||w||^2, which ``LogisticRegression(C=1)`` minimises.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    design : array of float64, shape (samples, features + 1)
        The last column, of ones, stands for the intercept, which is not penalised.
    targets : array of bool, shape (samples,)
        The classes.
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
        loss, grad = bce_with_logits_value_and_grad(
            self.design @ params, self.targets, reduction="sum"
        )
        return loss + self._penalty(params), self._pulled_back(grad, params)

    def grad_and_hess(self, params: Array) -> tuple[Array, Array]:
        """Return the gradient of the objective and its Hessian, a matrix."""
        grad, hess = bce_with_logits_grad_and_hess(
            self.design @ params, self.targets, reduction="sum"
        )
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
