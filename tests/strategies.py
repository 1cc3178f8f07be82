"""Inputs for the laws: where binary cross-entropy goes wrong, and everywhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.backends import Backend

# Few shapes, because JAX compiles every operation for each; NumPy draws its own.
SHAPES = [(), (0,), (1,), (7,), (3, 4), (2, 3, 2), (2, 0)]
FORMATS = {  # largest, smallest normal, smallest subnormal, log of the smallest subnormal
    "float16": (65504.0, 2.0**-14, 2.0**-24, -16.6),
    "bfloat16": (3.3895313892515355e38, 2.0**-126, 2.0**-133, -92.2),
    "float32": (3.4028234663852886e38, 2.0**-126, 2.0**-149, -103.3),
    "float64": (1.7976931348623157e308, 2.0**-1022, 2.0**-1074, -744.4),
}
FACTORS = ("weight", "pos_weight")
SOFT_EDGES = [1e-7, 1 - 1e-7, 1e-3, 0.999, 2.0**-24, 1 - 2.0**-24, 0.5]


def logits(dtype: str, *, infinite: bool = True) -> st.SearchStrategy[float]:
    """Logits of every magnitude, and where something happens."""
    largest, normal, subnormal, edge = FORMATS[dtype]
    sign = st.sampled_from([1.0, -1.0])
    magnitude = st.floats(math.log2(subnormal), math.log2(largest), exclude_max=True)
    special = [0.0, -0.0, largest, -largest, normal, subnormal, -subnormal, 1.0, 17.0, -37.0]
    if infinite:
        special += [math.inf, -math.inf]
    return st.one_of(
        st.floats(-40, 40),
        st.builds(lambda s, m: s * 2.0**m, sign, magnitude),
        st.builds(lambda s, d: s * (edge + d), sign, st.floats(-3, 3)),
        st.sampled_from(special),
    )


def targets() -> st.SearchStrategy[float]:
    """Hard labels, soft ones, and soft ones next to hard ones."""
    return st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.sampled_from(SOFT_EDGES))


def probabilities() -> st.SearchStrategy[float]:
    """Probabilities, certain ones and next to certain ones included."""
    return st.one_of(
        st.floats(0, 1),
        st.sampled_from([0.0, 1.0, *SOFT_EDGES, 2.0**-126, 1e-30]),
        st.builds(lambda m: 2.0**m, st.floats(-126, 0)),
    )


def weights() -> st.SearchStrategy[float]:
    return st.one_of(st.just(0.0), st.floats(2.0**-10, 2.0**10))


def arrays(
    elements: st.SearchStrategy[float], shape: tuple[int, ...], dtype: str
) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays of a shape whose values are floats of ``dtype``, bfloat16 held as float32."""
    size = math.prod(shape)

    def build(values: list[float]) -> np.ndarray[Any, Any]:
        return rounded(np.array(values, dtype=np.float64).reshape(shape), dtype)

    return st.lists(elements, min_size=size, max_size=size).map(build)


def rounded(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Round to ``dtype``; bfloat16 is float32 with its last 16 bits cut off."""
    with np.errstate(over="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype)
        cut = values.astype(np.float32).reshape(-1).view(np.uint32) & np.uint32(0xFFFF0000)
        return cut.view(np.float32).reshape(values.shape)


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
