"""Ours on a device, and others', behind one signature."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from portable_bce import (
    _kernels,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce._backends import Place, installed, open_backend, places, version
from portable_bce._verify.exact import FORMATS, Format
from portable_bce._verify.peers import PEERS, Peer
from portable_bce._verify.points import Points


@dataclass(frozen=True, slots=True)
class Spec:
    """What is measured, by name: it travels to other processes, and into the report.

    ``implementation`` is "portable_bce" or a key of `PEERS`; ``backend`` the library whose
    arrays it takes; ``device`` a label, by default the first; ``compiled`` by jax.jit.
    """

    implementation: str
    backend: str
    dtype: str
    device: str = ""
    compute_dtype: str | None = None
    compiled: bool = False

    @property
    def is_compiled(self) -> bool:
        """Whether the compiled kernels compute."""
        on_cpu = self.backend in ("numpy", "dask") or (
            self.backend == "torch" and self.device in ("", "cpu")
        )
        return on_cpu and self.implementation == "portable_bce" and bool(_kernels.levels)

    @property
    def form(self) -> Format:
        return FORMATS[self.dtype]

    @property
    def title(self) -> str:
        """How reports name it."""
        parts = [
            self.implementation if self.implementation != "portable_bce" else self.backend,
            *(["jit"] if self.compiled else []),
            *([self.device] if self.device not in ("", "cpu") else []),
            self.dtype,
            *([f"computed in {self.compute_dtype}"] if self.compute_dtype else []),
        ]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: points in arrays of ``xp`` in, values in arrays of ``xp`` out.

    ``xp`` is where errors are judged: NumPy, or CuPy for what it computes in float32, because
    a GPU does in seconds what a core does in minutes. ``opened`` is entered around calls of
    ``evaluate``; ``flushes`` says whether the library takes subnormal numbers for zero.
    """

    spec: Spec
    version: str
    evaluate: Callable[[Points], dict[str, Any]]
    opened: Callable[[], AbstractContextManager[Any]] = nullcontext
    flushes: bool = False
    xp: Any = np


@cache
def subject_of(spec: Spec) -> Subject:
    """Return what a spec names; once a process, because JAX compiles for each."""
    place = next(one for one in open_places(spec.backend) if spec.device in ("", one.label))
    opened = partial(open_backend, spec.backend)
    # XLA on a CPU takes subnormal numbers for zero; CuPy compiles with -ftz=true, for float32.
    flushes = spec.backend == "cupy" or (spec.backend == "jax" and place.label.startswith("cpu"))
    if spec.implementation != "portable_bce":
        peer = PEERS[spec.implementation]()
        return Subject(
            spec, f"{peer.package} {peer.version}", partial(_theirs, peer, place), opened, flushes
        )
    # A GPU has no long double to judge float64 by.
    there = spec.backend == "cupy" and spec.form.wide is np.float64
    xp = importlib.import_module("cupy") if there else np
    evaluate = partial(_ours, place, spec, xp, _call(place, spec))
    found = f"{spec.backend} {version(spec.backend)}"
    return Subject(spec, found, evaluate, opened, flushes, xp)


def offered(place: Place) -> Iterator[str]:
    """Yield the dtypes that a library has on a device."""
    for name in FORMATS:
        if name == "bfloat16" and place.backend == "numpy" and not installed("ml_dtypes"):
            continue
        if name == "bfloat16" and place.backend in ("cupy", "dask"):
            continue
        yield name


def open_places(backend: str) -> list[Place]:
    """Return the devices of a library."""
    with open_backend(backend) as xp:
        return places(backend, xp)


def _call(place: Place, spec: Spec) -> Callable[..., tuple[Any, Any, Any]]:
    """Return what gives loss, gradient and Hessian of the library's arrays."""
    compute_dtype = None if spec.compute_dtype is None else place.dtype(spec.compute_dtype)

    def values(x: Any, y: Any, w: Any, p: Any, u: float) -> tuple[Any, Any, Any]:
        keywords: dict[str, Any] = {
            "weight": w,
            "pos_weight": p,
            "label_smoothing": u,
            "compute_dtype": compute_dtype,
            "reduction": "none",
        }
        loss, grad = bce_with_logits_value_and_grad(x, y, **keywords)
        _, hess = bce_with_logits_grad_and_hess(x, y, **keywords)
        return loss, grad, hess

    if not spec.compiled:
        return values
    compiled: Callable[..., Any] = importlib.import_module("jax").jit(values, static_argnames="u")
    return compiled


def _ours(
    place: Place, spec: Spec, xp: Any, call: Callable[..., Any], points: Points
) -> dict[str, Any]:
    def moved(array: Any) -> Any:
        return None if array is None else place.array(array, spec.dtype)

    x, y = (moved(one) for one in _spread(points, xp))
    got = call(x, y, moved(points.w), moved(points.p), u=points.u)
    back = place.numpy if xp is np else xp.asarray
    return dict(zip(("loss", "grad", "hess"), map(back, got), strict=True))


def _theirs(peer: Peer, place: Place, points: Points) -> dict[str, Any]:
    x, y = (place.array(one, one.dtype.name) for one in _spread(points, np))
    return {name: place.numpy(value(x, y)) for name, value in peer.values.items()}


def _spread(points: Points, xp: Any) -> tuple[Any, Any]:
    shape = np.broadcast_shapes(points.x.shape, points.y.shape)
    return xp.broadcast_to(points.x, shape), xp.broadcast_to(points.y, shape)
