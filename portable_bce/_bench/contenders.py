"""Who is timed: ours on each library, what its users would otherwise call, and the floors."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import portable_bce

# (logits, targets) of a library -> anything
Call: TypeAlias = Callable[[Any, Any], Any]
TASKS = ("value_and_grad", "loss", "losses", "grad", "grad_and_hess")
OURS = "portable_bce"


@dataclass(frozen=True, slots=True)
class Contender:
    """An implementation and its calls by task; what it cannot do is left out.

    ``group`` is the library whose arrays it takes: ratios are formed within one.
    ``arrays`` moves NumPy arrays there and ``wait`` waits for a result.
    """

    name: str
    group: str
    calls: dict[str, Call]
    arrays: Callable[[Any, Any], tuple[Any, Any]]
    wait: Callable[[Any], Any]


def contenders(groups: tuple[str, ...]) -> Iterator[Contender]:
    """Yield everyone whose packages are installed."""
    if "numpy" in groups:
        yield from _on_numpy()
    if "torch" in groups and importlib.util.find_spec("torch"):
        yield from on_torch()
    if "jax" in groups and importlib.util.find_spec("jax"):
        yield from on_jax()


def ours() -> dict[str, Call]:
    """Return our calls, the same for every library."""
    return {
        "value_and_grad": portable_bce.bce_with_logits_value_and_grad,
        "loss": portable_bce.bce_with_logits,
        "losses": lambda x, y: portable_bce.bce_with_logits(x, y, reduction="none"),
        "grad": lambda x, y: portable_bce.bce_with_logits_value_and_grad(x, y)[1],
        "grad_and_hess": lambda x, y: portable_bce.bce_with_logits_grad_and_hess(
            x, y, reduction="none"
        ),
    }


def _on_numpy() -> Iterator[Contender]:
    def member(name: str, calls: dict[str, Call]) -> Contender:
        return Contender(name, "numpy", calls, lambda x, y: (x, y), lambda result: result)

    yield member(OURS, ours())
    yield member("published formula", published())
    if importlib.util.find_spec("scipy"):
        yield member("scipy.special", _scipy())
    if importlib.util.find_spec("sklearn"):
        yield member("scikit-learn", _scikit_learn())
    yield member("floor: exp and log1p", _primitives())
    yield member("floor: read x, y, write one", stream())


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def published() -> dict[str, Call]:
    """Return max(x, 0) - x y + log1p(exp(-|x|)) and sigmoid(x) - y, whose exp is shared."""

    def losses(x: Any, y: Any) -> Any:
        return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))

    def both(x: Any, y: Any) -> Any:
        e = np.exp(-np.abs(x))
        loss = np.mean(np.maximum(x, 0) - x * y + np.log1p(e))
        return loss, (np.where(x >= 0, 1 / (1 + e), e / (1 + e)) - y) / x.size

    def curved(x: Any, y: Any) -> Any:
        s = _sigmoid(x)
        return s - y, s * (1 - s)

    return {
        "value_and_grad": both,
        "loss": lambda x, y: np.mean(losses(x, y)),
        "losses": losses,
        "grad": lambda x, y: (_sigmoid(x) - y) / x.size,
        "grad_and_hess": curved,
    }


def _scipy() -> dict[str, Call]:
    special = importlib.import_module("scipy.special")

    def losses(x: Any, y: Any) -> Any:
        return -(y * special.log_expit(x) + (1 - y) * special.log_expit(-x))

    return {
        "value_and_grad": lambda x, y: (
            np.mean(losses(x, y)),
            (special.expit(x) - y) / x.size,
        ),
        "loss": lambda x, y: np.mean(losses(x, y)),
        "losses": losses,
        "grad": lambda x, y: (special.expit(x) - y) / x.size,
    }


def _scikit_learn() -> dict[str, Call]:
    loss = importlib.import_module("sklearn._loss").HalfBinomialLoss()

    def both(x: Any, y: Any) -> Any:
        losses, grad = loss.loss_gradient(y_true=y, raw_prediction=x)
        return losses.mean(), grad / x.size

    return {
        "value_and_grad": both,
        "loss": lambda x, y: loss.loss(y_true=y, raw_prediction=x).mean(),
        "losses": lambda x, y: loss.loss(y_true=y, raw_prediction=x),
        "grad": lambda x, y: loss.gradient(y_true=y, raw_prediction=x) / x.size,
        "grad_and_hess": lambda x, y: loss.gradient_hessian(y_true=y, raw_prediction=x),
    }


def _primitives() -> dict[str, Call]:
    """Return exp and log1p alone, in blocks that stay in the cache."""

    def both(x: Any, y: Any) -> None:
        del y
        flat, size = x.reshape(-1), 2**15
        out = np.empty(min(size, flat.size), dtype=x.dtype)
        for first in range(0, flat.size, size):
            block = flat[first : first + size]
            part = out[: block.size]
            np.exp(-np.abs(block), out=part)
            np.log1p(part, out=part)

    return dict.fromkeys(("value_and_grad", "loss", "losses"), both)


def stream() -> dict[str, Call]:
    """Return what moves the bytes of the task and does nothing with them."""
    return dict.fromkeys(("value_and_grad", "losses", "grad"), np.add)


def on_torch(device: str = "cpu") -> Iterator[Contender]:
    """Yield PyTorch's and ours on its tensors; ratios of compiled ones are a group apart."""
    torch = importlib.import_module("torch")

    def trained(loss_of: Call) -> dict[str, Call]:
        def both(x: Any, y: Any) -> Any:
            x = x.detach().requires_grad_()
            loss = loss_of(x, y)
            loss.backward()
            return loss, x.grad

        return {"value_and_grad": both, "loss": loss_of}

    def arrays(x: Any, y: Any) -> tuple[Any, Any]:
        return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)

    def member(name: str, calls: dict[str, Call]) -> Contender:
        return Contender(name, "torch", calls, arrays, lambda result: result)

    yield member(f"{OURS}, by autograd", trained(portable_bce.bce_with_logits))
    yield member(OURS, ours())
    native = torch.nn.functional.binary_cross_entropy_with_logits
    calls = trained(native)
    calls["losses"] = lambda x, y: native(x, y, reduction="none")
    yield member("PyTorch", calls)
    if shutil.which(os.environ.get("CXX", "g++")):  # what its compiler compiles with
        torch.compiler.reset()  # it compiles a function for eight shapes at most
        compiled = partial(torch.compile, fullgraph=True, dynamic=False)
        for name, both in (
            (f"{OURS}, by autograd", trained(compiled(portable_bce.bce_with_logits))),
            (OURS, {"value_and_grad": compiled(portable_bce.bce_with_logits_value_and_grad)}),
            ("PyTorch", trained(compiled(native))),
        ):
            calls = {"value_and_grad": both["value_and_grad"]}
            yield replace(member(name, calls), group="torch.compile")


def on_jax() -> Iterator[Contender]:
    """Yield optax's and ours, on JAX's default device."""
    jax = importlib.import_module("jax")

    def member(name: str, calls: dict[str, Call]) -> Contender:
        compiled = {task: jax.jit(call) for task, call in calls.items()}
        return Contender(
            name,
            "jax",
            compiled,
            lambda x, y: (jax.numpy.asarray(x), jax.numpy.asarray(y)),
            jax.block_until_ready,
        )

    yield member(OURS, ours())
    if importlib.util.find_spec("optax"):
        losses = importlib.import_module("optax").sigmoid_binary_cross_entropy

        def mean(x: Any, y: Any) -> Any:
            return losses(x, y).mean()

        yield member(
            "optax",
            {
                "value_and_grad": jax.value_and_grad(mean),
                "loss": mean,
                "losses": losses,
                "grad": jax.grad(mean),
            },
        )
