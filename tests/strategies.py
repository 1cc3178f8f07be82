"""Inputs for the laws: where binary cross-entropy goes wrong, and everywhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from portable_bce.testing.strategies import (
    FORMATS,
    arrays,
    logits,
    probabilities,
    rounded,
    targets,
    weights,
)
from tests.backends import Backend

# Few shapes, because JAX compiles every operation for each; NumPy draws its own.
SHAPES = [(), (0,), (1,), (7,), (3, 4), (2, 3, 2), (2, 0)]
FACTORS = ("weight", "pos_weight")


def normal(values: Any, dtype: str) -> Any:
    """Replace subnormal numbers by zero."""
    if np.asarray(values).dtype.kind != "f":
        return values
    kept = np.where(np.abs(values) < FORMATS[dtype][1], 0, values)
    return kept.astype(values.dtype) if isinstance(values, np.ndarray) else float(kept)


@dataclass
class Case:
    """Arguments of a call: NumPy arrays of the dtype's values, and Python numbers."""

    dtype: str
    x: np.ndarray[Any, Any]
    y: Any
    options: dict[str, Any] = field(default_factory=dict)

    def factors(self) -> int:
        """Count what enters the masses."""
        return ("pos_weight" in self.options) + bool(self.options.get("label_smoothing"))

    def on(self, backend: Backend) -> tuple[Any, Any, dict[str, Any]]:
        """Return the arguments as the backend's arrays."""

        def move(value: Any, dtype: str | None = self.dtype) -> Any:
            return backend.array(value, dtype) if isinstance(value, np.ndarray) else value

        options = {
            name: move(value, None if name == "where" else self.dtype)
            for name, value in self.options.items()
        }
        integral = isinstance(self.y, np.ndarray) and self.y.dtype.kind in "biu"
        return move(self.x), move(self.y, None if integral else self.dtype), options

    def elements(self) -> Any:
        """Yield (index, x, y, w, p, u) for the reference."""
        shape = self.x.shape

        def of(name: str, default: float) -> Any:
            return np.broadcast_to(np.asarray(self.options.get(name, default)), shape)

        y, w, p = np.broadcast_to(self.y, shape), of("weight", 1.0), of("pos_weight", 1.0)
        u = self.options.get("label_smoothing", 0.0)
        for index in np.ndindex(shape):
            yield index, self.x[index], y[index], w[index], p[index], u


@st.composite
def cases(
    draw: st.DrawFn,
    backend: Backend,
    *,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    from_logits: bool = True,
    options: bool = True,
    hard: bool = False,
    infinite: bool = True,
) -> Case:
    """Draw the arguments of a call, with any of the keywords that change the formula."""
    dtype = draw(st.sampled_from([name for name in dtypes if name in backend.dtypes]))
    shape = draw(st.sampled_from(SHAPES))
    elements = logits(dtype, infinite=infinite) if from_logits else probabilities()
    x = draw(arrays(elements, shape, dtype))
    kind = draw(st.sampled_from(["array", "scalar", "int8", "bool"]))
    label = st.sampled_from([0.0, 1.0]) if hard or kind in ("int8", "bool") else targets()
    if kind == "scalar":
        y: Any = float(rounded(np.asarray(draw(label)), dtype)[()])
    else:
        y = draw(arrays(label, shape, dtype))
        y = y.astype(kind) if kind != "array" else y
    if backend.flushes_subnormals:  # as inputs too: XLA takes them for zero
        x, y = normal(x, dtype), normal(y, dtype)
    chosen: dict[str, Any] = {}
    if options:
        chosen["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 0.0, 1.0]))
        for name in draw(st.sampled_from([(), ("weight",), ("pos_weight",), FACTORS])):
            how = draw(st.sampled_from(["number", "last axis", "full"]))
            if how == "number":
                chosen[name] = float(rounded(np.asarray(draw(weights())), dtype)[()])
            else:
                chosen[name] = draw(
                    arrays(weights(), shape if how == "full" else shape[-1:], dtype)
                )
    return Case(dtype, x, y, chosen)


def flushed(backend: Backend, case: Case) -> Case:
    """Take subnormal inputs for zero where the library does."""
    if backend.flushes_subnormals:
        case.x, case.y = (normal(value, case.dtype) for value in (case.x, case.y))
    return case
