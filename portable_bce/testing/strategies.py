"""hypothesis strategies: where binary cross-entropy goes wrong, and everywhere else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from portable_bce import _contract as contract

__all__ = ["arrays", "logits", "pairs", "probabilities", "rounded", "targets", "weights"]

FORMATS = {  # largest, smallest normal, smallest subnormal, log of the smallest subnormal
    name: (form.largest, form.smallest_normal, form.smallest, round(math.log(form.smallest), 1))
    for name, form in contract.FORMATS.items()
}
SOFT_EDGES = [1e-7, 1 - 1e-7, 1e-3, 0.999, 2.0**-24, 1 - 2.0**-24, 0.5]


def logits(dtype: str, *, infinite: bool = True) -> st.SearchStrategy[float]:
    """Logits of every magnitude, and where something happens; not rounded yet.

    Parameters
    ----------
    dtype : str
        "float16", "bfloat16", "float32" or "float64", in whose range they lie.
    infinite : bool
        Whether they may be infinite.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of float.

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.logits("float16", infinite=False))
    ... def logits_are_within_the_dtype(logit):
    ...     assert abs(logit) <= 65504
    >>> logits_are_within_the_dtype()
    """
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
    """Hard labels, soft ones, and soft ones next to hard ones.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of float.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.targets())
    ... def targets_are_probabilities(target):
    ...     assert 0 <= target <= 1
    >>> targets_are_probabilities()
    """
    return st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.sampled_from(SOFT_EDGES))


def pairs(dtype: str, *, infinite: bool = False) -> st.SearchStrategy[tuple[float, float]]:
    """Logits with targets, both floats of a dtype.

    Parameters
    ----------
    dtype : str
        "float16", "bfloat16", "float32" or "float64".
    infinite : bool
        Whether a logit may be infinite.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of (logit, target).

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.pairs("float32"))
    ... def targets_are_probabilities(pair):
    ...     assert 0 <= pair[1] <= 1
    >>> targets_are_probabilities()
    """
    drawn = st.tuples(logits(dtype, infinite=infinite), targets())
    return drawn.map(lambda pair: _rounded_pair(pair, dtype))


def _rounded_pair(pair: tuple[float, float], dtype: str) -> tuple[float, float]:
    x, y = rounded(np.array(pair), dtype).tolist()
    return x, y


def probabilities() -> st.SearchStrategy[float]:
    """Probabilities, certain ones and next to certain ones included.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of float.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.probabilities())
    ... def they_are_probabilities(probability):
    ...     assert 0 <= probability <= 1
    >>> they_are_probabilities()
    """
    return st.one_of(
        st.floats(0, 1),
        st.sampled_from([0.0, 1.0, *SOFT_EDGES, 2.0**-126, 1e-30]),
        st.builds(lambda m: 2.0**m, st.floats(-126, 0)),
    )


def weights() -> st.SearchStrategy[float]:
    """Weights of no account, and of one thousandth to one thousand.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of float.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.weights())
    ... def weights_are_not_negative(weight):
    ...     assert weight >= 0
    >>> weights_are_not_negative()
    """
    return st.one_of(st.just(0.0), st.floats(2.0**-10, 2.0**10))


def arrays(
    elements: st.SearchStrategy[float], shape: tuple[int, ...], dtype: str
) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """NumPy arrays of a shape whose values are floats of a dtype, bfloat16 held as float32.

    Parameters
    ----------
    elements : hypothesis.strategies.SearchStrategy
        Of float.
    shape : tuple of int
        The shape.
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of numpy.ndarray of that shape and dtype.

    Raises
    ------
    TypeError
        Another dtype, when an array is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import given, settings
    >>> from portable_bce.testing import strategies
    >>> @settings(database=None)
    ... @given(strategies.arrays(strategies.targets(), (2, 3), "float32"))
    ... def targets_are_probabilities(targets):
    ...     assert targets.shape == (2, 3) and targets.dtype == np.float32
    >>> targets_are_probabilities()
    """
    size = math.prod(shape)

    def build(values: list[float]) -> np.ndarray[Any, Any]:
        return rounded(np.array(values, dtype=np.float64).reshape(shape), dtype)

    return st.lists(elements, min_size=size, max_size=size).map(build)


def rounded(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Round to a dtype; bfloat16 is float32 with its last 16 bits cut off.

    Parameters
    ----------
    values : numpy.ndarray, any shape
        Values of a dtype at least as wide.
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Returns
    -------
    numpy.ndarray of the shape of `values`
        Of that dtype; of float32 for bfloat16.

    Raises
    ------
    TypeError
        Another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import strategies
    >>> strategies.rounded(np.asarray([0.1, 1.0], dtype=np.float32), "bfloat16")
    array([0.09960938, 1.        ], dtype=float32)
    """
    with np.errstate(all="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype)
        cut = values.astype(np.float32).reshape(-1).view(np.uint32) & np.uint32(0xFFFF0000)
        return cut.view(np.float32).reshape(values.shape)
