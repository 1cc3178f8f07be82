"""Logistic regression on any array API library, by the gradient and Hessian of this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from portable_bce.functional import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)

from portable_bce._typing import Array

# Of the gradient's norm. The ridge makes the objective curve by about 1 or more in every
# direction, so that it then lies within about 1e-16 / 2 of its minimum.
_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Problem:
    """The sum of losses and a ridge, 0.5 ||w||^2: what ``LogisticRegression(C=1)`` minimises.

    Parameters
    ----------
    xp : namespace
        Of the arrays.
    design : array of float64, shape (samples, features + 1)
        The last column, of ones, stands for the intercept, which has no ridge.
    targets : array of bool, shape (samples,)
        The classes.
    """

    xp: Any
    design: Array
    targets: Array

    @property
    def ridge(self) -> Array:
        """1 for each weight and 0 for the intercept."""
        size = self.design.shape[1]
        return self.xp.astype(self.xp.arange(size) < size - 1, self.design.dtype)

    def start(self) -> Array:
        """Return parameters of 0."""
        return self.xp.zeros_like(self.ridge)

    def objective(self, params: Array) -> Array:
        """Return what is minimised."""
        loss = bce_with_logits(self.design @ params, self.targets, reduction="sum")
        return loss + self._half_square(params)

    def value_and_grad(self, params: Array) -> tuple[Array, Array]:
        """Return the objective and its gradient."""
        loss, grad = bce_with_logits_value_and_grad(
            self.design @ params, self.targets, reduction="sum"
        )
        return loss + self._half_square(params), self._pull_back(grad, params)

    def grad_and_hess(self, params: Array) -> tuple[Array, Array]:
        """Return the gradient and the whole Hessian matrix of the objective."""
        grad, hess = bce_with_logits_grad_and_hess(
            self.design @ params, self.targets, reduction="sum"
        )
        return self._pull_back(grad, params), self.curvature(hess)

    def curvature(self, hess: Array) -> Array:
        """Return X^T diag(hess) X + ridge."""
        weighted = hess[:, None] * self.design
        return self.design.T @ weighted + self.xp.eye(hess_size) * self.ridge

    def log_loss(self, params: Array) -> Array:
        """Return the mean loss, in nats."""
        return bce_with_logits(self.design @ params, self.targets)

    def accuracy(self, params: Array) -> Array:
        """Return the share of samples on the right side."""
        right = (self.design @ params > 0) == self.targets
        return self.xp.mean(self.xp.astype(right, self.design.dtype))
