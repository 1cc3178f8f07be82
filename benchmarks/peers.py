"""Measure the errors of what others call, and of ours on NumPy: ``python benchmarks/peers.py``.

Loss, gradient and Hessian are as their users would get them. Each peer takes and returns arrays
of its own library; derivatives come from its own autograd.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import contenders
import numpy as np
from pages import table

from portable_bce._commands import machine, subjects, verify
from portable_bce._commands.machine import Place, open_backend
from portable_bce._commands.subjects import Spec, Verdict, flushes, place_of, spread
from portable_bce._commands.sweep import VALUES, Points, Subject

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
        """The version of the package."""
        return str(importlib.import_module(self.package).__version__)


def published() -> Peer:
    """max(x, 0) - x y + log1p(exp(-|x|)) with sigmoid(x) - y, as textbooks and frameworks do."""
    return on_numpy("published formula", contenders.losses, contenders.sigmoid)


def on_sigmoid_outputs() -> Peer:
    """-y log(q) - (1 - y) log(1 - q) of q = sigmoid(x), with q - y and q (1 - q)."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def loss(x: Any, y: Any) -> Any:
        q = sigmoid(x)
        return -(y * np.log(q) + (1 - y) * np.log(1 - q))

    return on_numpy("BCE on sigmoid outputs", loss, sigmoid)


def on_numpy(name: str, loss: Function, sigmoid: Callable[[Any], Any]) -> Peer:
    """Return a formula by its loss and its sigmoid."""
    values: dict[str, Function] = {
        "loss": loss,
        "grad": lambda x, y: sigmoid(x) - y,
        "hess": lambda x, y: sigmoid(x) * (1 - sigmoid(x)),
    }
    return Peer(name, "numpy", "numpy", values)


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


@cache
def subject_of(spec: Spec) -> Subject:
    """Return what a spec names, ours or a peer."""
    if spec.implementation == "portable_bce":
        return subjects.subject_of(spec)
    peer, place = PEERS[spec.implementation](), place_of(spec)
    version = f"{peer.package} {peer.version}"
    evaluate, opened = partial(evaluated, peer, place), partial(open_backend, spec.backend)
    return Subject(spec.form, version, evaluate, opened, flushes(place))


def evaluated(peer: Peer, place: Place, points: Points) -> dict[str, Any]:
    """Return the values of a peer at points."""
    x, y = (place.array(one, one.dtype.name) for one in spread(points, np))
    return {name: place.numpy(value(x, y)) for name, value in peer.values.items()}


def specs(dtypes: Sequence[str]) -> Iterator[Spec]:
    """Yield ours, and the peers that are installed."""
    yield from (Spec("portable_bce", "numpy", dtype, "cpu") for dtype in dtypes)
    for name, make in PEERS.items():
        try:
            peer = make()
        except ModuleNotFoundError:
            continue
        yield from (Spec(name, peer.backend, dtype) for dtype in dtypes if dtype in peer.dtypes)


def row(verdict: Verdict) -> list[str]:
    """Return the largest errors, and the special cases that are wrong."""
    wrong = dict.fromkeys(one.case for one in verdict.findings if not one.right)
    errors = {
        name: [worst.ulps for cell, worst in verdict.cells.items() if cell[2] == name]
        for name in VALUES
    }
    figures = (f"{max(ulps):.4g}" if ulps else "" for ulps in errors.values())
    return [verdict.spec.title, verdict.version, *figures, "; ".join(wrong)]


def record(verdict: Verdict) -> dict[str, Any]:
    """Return what a report says; peers have promised nothing."""
    found = verdict.record()
    ours = verdict.spec.implementation == "portable_bce"
    return found if ours else {**found, "kept": None}


def run(options: argparse.Namespace) -> int:
    """Measure everybody, print a table, and write the report."""
    machine.require_file("--json", options.json)
    request = verify.Request(
        dtypes=tuple(options.dtype),
        targets=options.targets,
        points=options.points,
        jobs=options.jobs,
        state=options.state,
    )
    verdicts = verify.measured(request, list(specs(options.dtype)), subject_of)
    head = ("largest error, in ULP", "version", *VALUES, "wrong at")
    sys.stdout.write(table(head, map(row, verdicts)) + "\n")
    if options.json is not None:
        report = {
            "machine": machine.described(),
            "request": request.identity(),
            "results": [record(verdict) for verdict in verdicts],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.state is not None:
        options.state.unlink(missing_ok=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    add = parser.add_argument
    dtypes = ["float32", "float64"]
    add("--dtype", nargs="+", choices=dtypes, default=dtypes, help="default: both")
    about = "hard: 0 and 1; soft: between (default: plain, which is both)"
    add("--targets", choices=("hard", "soft", "plain"), default="plain", help=about)
    add("--points", type=int, default=100_000, metavar="N", help="of each class (default: 100000)")
    add("--jobs", type=int, metavar="N", help="threads; default: all cores")
    add("--state", type=Path, metavar="FILE", help="keep what is done, and go on from there")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE")
    options = parser.parse_args(arguments)
    return machine.ended("benchmarks/peers.py", "verify", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
