"""Calls with any keywords, on NumPy arrays of any layout, for laws that compare two ways."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from portable_bce.testing.strategies import arrays, logits, targets, weights

SHAPES = [(40,), (7, 9), (1, 33), (33, 1), (4, 3, 5), (2, 3, 2, 5)]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """Draw a function, its arrays in any layout, and any of its keywords."""
    name = draw(st.sampled_from(["bce_with_logits", "bce"]))
    dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
    shape = draw(st.sampled_from(SHAPES))
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
