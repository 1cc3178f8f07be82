"""What verify measures: ours on each library, device and dtype, and what the contract allows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from portable_bce import _kernels, bce_with_logits_grad_and_hess, bce_with_logits_value_and_grad
from portable_bce._commands.machine import Place, open_backend, places, version
from portable_bce._commands.sweep import EVERY, TARGETS, VALUES, Cell, Points, Subject, Worst
from portable_bce._contract import FORMATS, Format, bounds_for
from portable_bce._libraries import to_numpy

_INF, _NAN = np.inf, np.nan
# exp(-|x|) is 0 in every format, and x is finite in every format.
_FAR = 1e4
# name -> logit, target, exact loss, gradient and Hessian; log 2 is not exact, and a NaN target
# says nothing of the Hessian
CASES: dict[str, list[tuple[float, float, float | None, float, float | None]]] = {
    "logit 0 and -0": [
        (0.0, 0.0, None, 0.5, 0.25),
        (-0.0, 0.0, None, 0.5, 0.25),
        (0.0, 1.0, None, -0.5, 0.25),
        (-0.0, 0.25, None, 0.25, 0.25),
    ],
    "infinite, right label": [(_INF, 1.0, 0.0, 0.0, 0.0), (-_INF, 0.0, 0.0, 0.0, 0.0)],
    "infinite, wrong label": [(_INF, 0.0, _INF, 1.0, 0.0), (-_INF, 1.0, _INF, -1.0, 0.0)],
    "infinite, soft label": [(_INF, 0.25, _INF, 0.75, 0.0), (-_INF, 0.25, _INF, -0.25, 0.0)],
    "NaN logit, beside others": [(_NAN, 1.0, _NAN, _NAN, _NAN), (-_FAR, 0.0, 0.0, 0.0, 0.0)],
    "NaN target, beside others": [(1.0, _NAN, _NAN, _NAN, None), (-_FAR, 0.0, 0.0, 0.0, None)],
}
SUBNORMAL, FLUSHED = "subnormal results", "flushed to zero"


@dataclass(frozen=True, slots=True)
class Spec:
    """What is measured, by name: it travels to other processes, and into the report.

    ``backend`` is the library, ``device`` a label, by default the first; ``compiled`` says
    whether jax.jit compiles. ``implementation`` is ours, or what others call.
    """

    implementation: str
    backend: str
    dtype: str
    device: str = ""
    compute_dtype: str | None = None
    compiled: bool = False

    @property
    def form(self) -> Format:
        """The format of the results."""
        return FORMATS[self.dtype]

    @property
    def is_on_cpu(self) -> bool:
        """Whether the compiled kernels compute, if there are any."""
        return self.backend in ("numpy", "torch", "dask") and self.device in ("", "cpu")

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

    def bound(self, cell: Cell, *, has_kernels: bool) -> float:
        """Return what the contract allows in a cell."""
        targets, _, value = cell
        of = TARGETS.get(targets, TARGETS["uniform"])
        bounds = bounds_for(
            self.dtype,
            self.compute_dtype,
            hard=of.hard and targets != EVERY,
            weighted=of.weighted,
            factors=of.factors,
            library=self.backend,
            compiled=has_kernels,
        )
        return float(getattr(bounds, value))


@cache
def subject_of(spec: Spec) -> Subject:
    """Return ours where a spec says; once a process, because JAX compiles for each."""
    place = place_of(spec)
    # A GPU has no long double to judge float64 by.
    on_gpu = spec.backend == "cupy" and spec.form.wide == "float64"
    xp = importlib.import_module("cupy") if on_gpu else np
    return Subject(
        spec.form,
        f"{spec.backend} {version(spec.backend)}",
        partial(_ours, place, spec, xp, _call(place, spec)),
        partial(open_backend, spec.backend),
        flushes(place),
        xp,
    )


def place_of(spec: Spec) -> Place:
    """Return the device of a spec."""
    return next(one for one in places(spec.backend) if spec.device in ("", one.label))


def flushes(place: Place) -> bool:
    """Tell whether subnormal numbers are taken for zero.

    XLA does so on a CPU, and CuPy compiles with -ftz=true, which is for float32.
    """
    return place.backend == "cupy" or (place.backend == "jax" and place.label.startswith("cpu"))


def spread(points: Points, xp: Any) -> tuple[Any, Any]:
    """Return logits and targets of one shape."""
    shape = np.broadcast_shapes(points.x.shape, points.y.shape)
    return xp.broadcast_to(points.x, shape), xp.broadcast_to(points.y, shape)


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
    x, y = spread(points, xp)
    moved = points._replace(x=x, y=y).mapped(lambda one: place.array(one, spec.dtype))
    got = call(*moved[:4], u=moved.u)
    back = place.numpy if xp is np else xp.asarray
    return dict(zip(VALUES, map(back, got), strict=True))


class Finding(NamedTuple):
    """What became of a special case: whether it is right, and what was returned."""

    case: str
    value: str
    right: bool
    got: str


def findings(subject: Subject) -> list[Finding]:
    """Evaluate zero, infinity, NaN and the subnormal range, where there is no ULP."""
    found = []
    with np.errstate(all="ignore"), subject.opened():
        for case, rows in CASES.items():
            x, y, *exact = zip(*rows, strict=True)
            values = _evaluated(subject, x, y)
            for name, expected in zip(VALUES, exact, strict=True):
                if name in values and None not in expected:
                    right = np.array_equal(values[name], expected, equal_nan=True)
                    listed = ", ".join(f"{one:.6g}" for one in values[name])
                    found.append(Finding(case, name, right, listed))
        # exp(-|x|) four binades below the smallest normal number.
        far = float(np.log(2.0)) * (4 - subject.form.least)
        for name, got in _evaluated(subject, (far, -far), (1.0, 0.0)).items():
            kept = bool(np.all(got != 0))
            told = "kept" if kept else FLUSHED
            found.append(Finding(SUBNORMAL, name, kept or subject.flushes, told))
    return found


def _evaluated(subject: Subject, x: Any, y: Any) -> dict[str, Any]:
    x, y = (np.asarray(one, dtype=subject.form.carrier) for one in (x, y))
    points = Points(x, y)
    if subject.xp is not np:
        points = points.mapped(subject.xp.asarray)
    return {name: to_numpy(subject.xp, one) for name, one in subject.evaluate(points).items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured of one spec, compared with the contract."""

    spec: Spec
    version: str
    cells: dict[Cell, Worst]
    findings: list[Finding]

    @property
    def kept(self) -> bool:
        """Whether the contract is kept everywhere."""
        return all(worst.ulps <= self.bound(cell) for cell, worst in self.cells.items()) and all(
            finding.right for finding in self.findings
        )

    def bound(self, cell: Cell) -> float:
        """Return what the contract allows in a cell."""
        has_kernels = self.spec.is_on_cpu and bool(_kernels.levels)
        return self.spec.bound(cell, has_kernels=has_kernels)

    def worst(self, value: str) -> tuple[Cell, Worst]:
        """Return the cell of a value whose worst case is nearest its bound."""
        cells = [one for one in self.cells.items() if one[0][2] == value]
        return max(cells, key=lambda one: one[1].ulps / self.bound(one[0]))

    def record(self) -> dict[str, Any]:
        """Return everything, for JSON; arguments as hexadecimal floats, which lose nothing."""
        cells = []
        for (targets, logits, value), worst in self.cells.items():
            bound = self.bound((targets, logits, value))
            names = {"targets": targets, "logits": logits, "value": value}
            sizes = {"ulps": worst.ulps, "bound": bound, "points": worst.points}
            arguments = {name: getattr(worst, name) for name in ("x", "y", "w", "p", "u", "got")}
            exact = {k: None if one is None else one.hex() for k, one in arguments.items()}
            cells.append({**names, **sizes, **exact})
        return {
            **asdict(self.spec),
            "version": self.version,
            "kept": self.kept,
            "cells": cells,
            "special cases": [finding._asdict() for finding in self.findings],
        }
