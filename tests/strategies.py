"""Inputs for the laws: where binary cross-entropy goes wrong, and everywhere else."""

from __future__ import annotations

import math
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
# More elements, for what is cut into pieces, of NumPy alone.
CALL_SHAPES = [(40,), (7, 9), (1, 33), (33, 1), (4, 3, 5), (2, 3, 2, 5)]


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


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """Draw a function, NumPy arrays for it in any layout, and any of its keywords."""
    name = draw(st.sampled_from(["bce_with_logits", "bce"]))
    dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
    shape = draw(st.sampled_from(CALL_SHAPES))
    elements = logits(dtype) if name == "bce_with_logits" else st.floats(0, 1)
    x = laid_out(draw, draw(arrays(elements, shape, dtype)))
    y: Any = laid_out(
        draw, draw(arrays(targets(), shape, draw(st.sampled_from([dtype, "float64"]))))
    )
    kind = draw(st.sampled_from(["array", "bool", "int8", "number"]))
    y = 0.25 if kind == "number" else y if kind == "array" else np.round(y).astype(kind)
    keywords: dict[str, Any] = {"label_smoothing": draw(st.sampled_from([0.0, 0.1]))}
    for factor in draw(
        st.sampled_from([(), ("weight",), ("pos_weight",), ("weight", "pos_weight")])
    ):
        whole = draw(arrays(weights(), shape, dtype))
        keywords[factor] = draw(st.sampled_from([0.75, whole, whole[..., :1], whole[:1]]))
    if draw(st.booleans()):
        mask = np.asarray(
            draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
        )
        mask = mask.reshape(shape)
        keywords["where"] = laid_out(draw, draw(st.sampled_from([mask, mask[..., :1], mask[:1]])))
    keywords["reduction"] = draw(st.sampled_from(["none", "sum", "mean", "weighted_mean"]))
    if keywords["reduction"] != "none":
        axes = [None, 0, -1, tuple(range(len(shape)))]
        keywords["axis"] = draw(st.sampled_from(axes))
    if dtype != "float64":
        keywords["compute_dtype"] = draw(st.sampled_from([None, np.float64]))
    return name, [x, y], keywords


def laid_out(draw: st.DrawFn, values: Any) -> Any:
    """Return equal values in another memory layout."""
    how = draw(st.sampled_from(["C", "F", "reversed", "every second", "as it is"]))
    if how == "reversed":
        return values[::-1].copy()[::-1]
    if how == "every second":
        return np.repeat(values, 2, axis=-1)[..., ::2]
    return values if how == "as it is" else values.copy(order=how)
