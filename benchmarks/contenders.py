"""Who is timed: ours on each library, what its users would otherwise call, and the floors."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import portable_bce

# (logits, targets) of a library -> anything
Call: TypeAlias = Callable[[Any, Any], Any]
TASKS = ("value_and_grad", "loss", "losses", "grad", "grad_and_hess")
OURS = "portable_bce"
# What both formulas compute besides the loss max(x, 0) - x*y + log1p(exp(-|x|)): their sigmoid.
FORMULAS = {
    "shortest formula": "1/(1 + exp(-x)), as README prints it",
    "published formula": "where(x >= 0, 1/(1 + e), e/(1 + e)) with e = exp(-|x|)",
}


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


def contenders(group: str) -> Iterator[Contender]:
    """Yield everyone who takes the arrays of a library."""
    if group == "numpy":
        yield from on_numpy()
    elif group == "torch":
        yield from on_torch()
        yield from on_compiled_torch()
    else:
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


def on_numpy() -> Iterator[Contender]:
    """Yield what NumPy's users call, ours first."""

    def member(name: str, calls: dict[str, Call]) -> Contender:
        return Contender(name, "numpy", calls, lambda x, y: (x, y), lambda result: result)

    yield member(OURS, ours())
    yield member("shortest formula", shortest())
    yield member("published formula", published())
    if importlib.util.find_spec("scipy"):
        yield member("scipy.special", _scipy())
    if importlib.util.find_spec("sklearn"):
        yield member("scikit-learn", _scikit_learn())
    yield member("floor: exp and log1p", _primitives())
    yield member("floor: read x, y, write one", stream())


def sigmoid(x: Any) -> Any:
    """Return the sigmoid that never overflows, as frameworks write it."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def losses(x: Any, y: Any) -> Any:
    """Return the loss that both formulas share."""
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def shortest() -> dict[str, Call]:
    """Return the shortest formula that is right at ordinary logits.

    Its sigmoid overflows to the right result for x < -88 in float32; `timed` silences the
    warning.
    """

    def grad(x: Any, y: Any) -> Any:
        return (1 / (1 + np.exp(-x)) - y) / x.size

    def curved(x: Any, y: Any) -> Any:
        s = 1 / (1 + np.exp(-x))
        return s - y, s * (1 - s)

    return {
        "value_and_grad": lambda x, y: (np.mean(losses(x, y)), grad(x, y)),
        "loss": lambda x, y: np.mean(losses(x, y)),
        "losses": losses,
        "grad": grad,
        "grad_and_hess": curved,
    }


def published() -> dict[str, Call]:
    """Return max(x, 0) - x y + log1p(exp(-|x|)) and sigmoid(x) - y, whose exp is shared."""

    def both(x: Any, y: Any) -> Any:
        e = np.exp(-np.abs(x))
        loss = np.mean(np.maximum(x, 0) - x * y + np.log1p(e))
        return loss, (np.where(x >= 0, 1 / (1 + e), e / (1 + e)) - y) / x.size

    def curved(x: Any, y: Any) -> Any:
        s = sigmoid(x)
        return s - y, s * (1 - s)

    return {
        "value_and_grad": both,
        "loss": lambda x, y: np.mean(losses(x, y)),
        "losses": losses,
        "grad": lambda x, y: (sigmoid(x) - y) / x.size,
        "grad_and_hess": curved,
    }


def _scipy() -> dict[str, Call]:
    special = importlib.import_module("scipy.special")

    def each(x: Any, y: Any) -> Any:
        return -(y * special.log_expit(x) + (1 - y) * special.log_expit(-x))

    return {
        "value_and_grad": lambda x, y: (
            np.mean(each(x, y)),
            (special.expit(x) - y) / x.size,
        ),
        "loss": lambda x, y: np.mean(each(x, y)),
        "losses": each,
        "grad": lambda x, y: (special.expit(x) - y) / x.size,
    }


def _scikit_learn() -> dict[str, Call]:
    loss = importlib.import_module("sklearn._loss").HalfBinomialLoss()

    def both(x: Any, y: Any) -> Any:
        each, grad = loss.loss_gradient(y_true=y, raw_prediction=x)
        return each.mean(), grad / x.size

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
    """Yield PyTorch's own loss and ours on its tensors."""
    native = importlib.import_module("torch").nn.functional.binary_cross_entropy_with_logits
    calls = _trained(native)
    calls["losses"] = lambda x, y: native(x, y, reduction="none")
    for name, its_calls in (
        (f"{OURS}, by autograd", _trained(portable_bce.bce_with_logits)),
        (OURS, ours()),
        ("PyTorch", calls),
    ):
        yield _on_tensors(name, "torch", its_calls, device)


def on_compiled_torch(device: str = "cpu") -> Iterator[Contender]:
    """Yield the same, compiled: a group apart, and nothing where there is no compiler."""
    if not shutil.which(os.environ.get("CXX", "g++")):  # what torch.compile compiles with
        return
    torch = importlib.import_module("torch")
    torch.compiler.reset()  # it compiles a function for eight shapes at most
    compiled = partial(torch.compile, fullgraph=True, dynamic=False)
    native = torch.nn.functional.binary_cross_entropy_with_logits
    for name, both in (
        (f"{OURS}, by autograd", _trained(compiled(portable_bce.bce_with_logits))),
        (OURS, {"value_and_grad": compiled(portable_bce.bce_with_logits_value_and_grad)}),
        ("PyTorch", _trained(compiled(native))),
    ):
        calls = {"value_and_grad": both["value_and_grad"]}
        yield _on_tensors(name, "torch.compile", calls, device)


def _on_tensors(name: str, group: str, calls: dict[str, Call], device: str) -> Contender:
    torch = importlib.import_module("torch")

    def arrays(x: Any, y: Any) -> tuple[Any, Any]:
        return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)

    return Contender(name, group, calls, arrays, lambda result: result)


def _trained(loss_of: Call) -> dict[str, Call]:
    """Return the loss, and the loss with its backward pass."""

    def both(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        loss = loss_of(x, y)
        loss.backward()
        return loss, x.grad

    return {"value_and_grad": both, "loss": loss_of}


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
        each = importlib.import_module("optax").sigmoid_binary_cross_entropy

        def mean(x: Any, y: Any) -> Any:
            return each(x, y).mean()

        yield member(
            "optax",
            {
                "value_and_grad": jax.value_and_grad(mean),
                "loss": mean,
                "losses": each,
                "grad": jax.grad(mean),
            },
        )
