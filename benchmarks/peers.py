"""What others call: their loss, gradient and Hessian, as their users would get them.

Each takes and returns arrays of its own library; derivatives come from its own autograd.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

# (logits, targets) -> one value an element
Function: TypeAlias = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """An implementation of others.

    ``backend`` is the library whose arrays it takes, ``values`` its functions by what they
    return ("loss", "grad", "hess"), ``package`` and ``version`` what was measured.
    """

    name: str
    backend: str
    package: str
    values: dict[str, Function] = field(repr=False)
    dtypes: tuple[str, ...] = ("float32", "float64")

    @property
    def version(self) -> str:
        return str(importlib.import_module(self.package).__version__)


def published() -> Peer:
    """max(x, 0) - x y + log1p(exp(-|x|)) with sigmoid(x) - y, as textbooks and frameworks do."""

    def sigmoid(x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def loss(x: Any, y: Any) -> Any:
        return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))

    return Peer(
        "published formula",
        "numpy",
        "numpy",
        {
            "loss": loss,
            "grad": lambda x, y: sigmoid(x) - y,
            "hess": lambda x, y: sigmoid(x) * (1 - sigmoid(x)),
        },
    )


def on_sigmoid_outputs() -> Peer:
    """-y log(q) - (1 - y) log(1 - q) of q = sigmoid(x), with q - y and q (1 - q)."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def loss(x: Any, y: Any) -> Any:
        q = sigmoid(x)
        return -(y * np.log(q) + (1 - y) * np.log(1 - q))

    return Peer(
        "BCE on sigmoid outputs",
        "numpy",
        "numpy",
        {
            "loss": loss,
            "grad": lambda x, y: sigmoid(x) - y,
            "hess": lambda x, y: sigmoid(x) * (1 - sigmoid(x)),
        },
    )


def pytorch() -> Peer:
    """torch.nn.functional.binary_cross_entropy_with_logits and its autograd."""
    torch = importlib.import_module("torch")

    def loss(x: Any, y: Any) -> Any:
        native = torch.nn.functional.binary_cross_entropy_with_logits
        return native(x, y, reduction="none")

    def grad(x: Any, y: Any, *, again: bool = False) -> Any:
        x = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(x, y).sum(), x, create_graph=again)
        if not again:
            return slope
        (curve,) = torch.autograd.grad(slope.sum(), x)
        return curve

    return Peer(
        "PyTorch",
        "torch",
        "torch",
        {"loss": loss, "grad": grad, "hess": lambda x, y: grad(x, y, again=True)},
    )


def optax() -> Peer:
    """optax.sigmoid_binary_cross_entropy and jax.grad of it."""
    jax, losses = importlib.import_module("jax"), importlib.import_module("optax")
    loss = losses.sigmoid_binary_cross_entropy

    def total(x: Any, y: Any) -> Any:
        return loss(x, y).sum()

    def slope(x: Any, y: Any) -> Any:
        return jax.grad(total)(x, y).sum()

    values = {"loss": loss, "grad": jax.grad(total), "hess": jax.grad(slope)}
    return Peer("optax", "jax", "optax", {name: jax.jit(f) for name, f in values.items()})


def scikit_learn() -> Peer:
    """HalfBinomialLoss, which LogisticRegression and HistGradientBoosting minimise."""
    loss, flat = _half_binomial()
    return Peer(
        "scikit-learn",
        "numpy",
        "sklearn",
        {
            "loss": flat(loss.loss),
            "grad": flat(loss.gradient),
            "hess": flat(loss.gradient_hessian, 1),
        },
    )


def scikit_learn_together() -> Peer:
    """HalfBinomialLoss.loss_gradient, whose loss is computed otherwise than that of loss."""
    loss, flat = _half_binomial()
    return Peer(
        "scikit-learn loss_gradient",
        "numpy",
        "sklearn",
        {"loss": flat(loss.loss_gradient, 0), "grad": flat(loss.loss_gradient, 1)},
    )


def _half_binomial() -> tuple[Any, Callable[..., Function]]:
    """Return the loss, and what makes one of its methods a function of arrays of any shape."""

    def flat(function: Callable[..., Any], which: int | None = None) -> Function:
        def value(x: Any, y: Any) -> Any:
            shape, x = x.shape, np.ascontiguousarray(x).reshape(-1)
            y = np.ascontiguousarray(np.broadcast_to(y, shape)).reshape(-1)
            got = function(y_true=y.astype(x.dtype, copy=False), raw_prediction=x)
            return (got if which is None else got[which]).reshape(shape)

        return value

    return importlib.import_module("sklearn._loss").HalfBinomialLoss(), flat


# name on the command line -> how to make it
PEERS: dict[str, Callable[[], Peer]] = {
    "torch": pytorch,
    "optax": optax,
    "scikit-learn": scikit_learn,
    "scikit-learn loss_gradient": scikit_learn_together,
    "published": published,
    "sigmoid": on_sigmoid_outputs,
}
