"""Libraries that differentiate, and how far apart two derivatives are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from tests import backends
from tests.backends import Backend

# (function of one array to one number, array) -> its derivative by the array
Grad: TypeAlias = Callable[[Callable[[Any], Any], Any], Any]

LIBRARIES = [
    "torch",
    "torch plain",
    "torch-cuda",
    "jax",
    "jax-x32",
    "jax under jit",
    "jax-gpu",
]


def _torch(loss: Callable[[Any], Any], x: Any) -> Any:
    import torch

    x = x.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(x), x, create_graph=True)
    return grad


def _torch_plain(loss: Callable[[Any], Any], x: Any) -> Any:
    """By plain operations, to which functorch's transforms lead."""
    import torch

    return torch.func.grad(loss)(x.detach())


def _jax(loss: Callable[[Any], Any], x: Any) -> Any:
    import jax

    return jax.grad(loss)(x)


def _jax_jit(loss: Callable[[Any], Any], x: Any) -> Any:
    import jax

    return jax.jit(jax.grad(loss))(x)


@contextmanager
def opened(name: str) -> Iterator[tuple[Backend, Grad]]:
    """Open a library of the list, with how it differentiates."""
    grads = {
        "torch": _torch,
        "torch-cuda": _torch,
        "torch plain": _torch_plain,
        "jax under jit": _jax_jit,
    }
    with backends.open_backend[name.split(maxsplit=1)[0]]() as backend:
        yield backend, grads.get(name, _jax)


def apart(got: Any, wanted: Any, scale: Any = 0, *, flushes: bool = False) -> float:
    """Return the largest distance, in ULP of the larger of the result and the scale.

    A gradient cancels where the target is close to sigmoid(x); what it cancels from is as
    large as the curvature there. What a library flushes to zero may differ by as much.
    """
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    settled = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~settled], wanted[~settled])
    scale = np.maximum(np.abs(wanted), np.abs(np.broadcast_to(scale, wanted.shape)))[settled]
    scale = scale.astype(wanted.dtype)
    differences = np.abs(got[settled].astype(np.longdouble) - wanted[settled])
    with np.errstate(over="ignore"):  # the spacing of the largest half
        units = np.spacing(scale).astype(np.longdouble)
    if flushes:
        units = np.maximum(units, 2 * np.finfo(wanted.dtype).tiny)
    return float((differences / units).max(initial=0))
