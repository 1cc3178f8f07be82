"""The one function that reads values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portable_bce import _libraries
from portable_bce._arguments import Arguments, check_arguments
from portable_bce._hints import unknown
from portable_bce._typing import Array, ArrayOrScalar


def check_inputs(
    logits: Array,
    targets: ArrayOrScalar,
    *,
    weight: ArrayOrScalar | None = None,
    pos_weight: ArrayOrScalar | None = None,
    where: Array | None = None,
    from_logits: bool = True,
) -> None:
    """Raise an error if a value that is not masked cannot mean what it should.

    For debugging and for data of doubtful origin. No other function here reads a value. This
    one waits for the device, computes Dask arrays, and cannot be compiled.

    Parameters
    ----------
    logits, targets, weight, pos_weight, where
        As for `bce_with_logits`. Without `from_logits`, the first argument has probabilities.
    from_logits : bool, default True
        Whether the first argument holds logits or probabilities.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits` (and `bce`).
    ValueError
        A logit is NaN, a target or probability is outside [0, 1] or NaN, or a weight is
        negative, infinite or NaN. Says how many are, which is the first, and where.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import check_inputs
    >>> check_inputs(np.zeros((2, 2)), np.asarray([[0, 1], [2, 1]]))
    Traceback (most recent call last):
        ...
    ValueError: `targets` must lie in [0, 1]; 1 of 4 do not, the first is 2 at index (1, 0)
    """
    first = "logits" if from_logits else "probabilities"
    given = check_arguments(first, logits, targets, weight, pos_weight, where=where)
    if from_logits:
        _report(first, given, given.x, "not be NaN", "are", _nan)
    else:
        _report(first, given, given.x, "lie in [0, 1]", "do not", _outside)
    _report("targets", given, given.targets, "lie in [0, 1]", "do not", _outside)
    for name, factor in (("weight", given.weight), ("pos_weight", given.pos_weight)):
        _report(name, given, factor, "be finite and not negative", "are not", _no_weight)


def _nan(x: Any) -> Any:
    return x != x


def _outside(x: Any) -> Any:
    return (x < 0) | (x > 1) | _nan(x)


def _no_weight(x: Any) -> Any:
    return (x < 0) | (x == math.inf) | _nan(x)


def _report(
    name: str,
    given: Arguments,
    value: Any,
    rule: str,
    instead: str,
    broken_by: Callable[[Any], Any],
) -> None:
    """Raise an error that states the rule, if a value that is not masked breaks it."""
    xp = given.xp
    if value is None:
        return
    if isinstance(value, float):
        if broken_by(value):
            raise ValueError(f"`{name}` must {rule}; got {value}")
        return
    bad = broken_by(xp.astype(value, given.compute_dtype))
    if given.where is not None:
        bad = _shrunk(xp, _padded(bad & given.where), value.shape)
    # Not count_nonzero and argmax: array-api-strict's device without int64 has neither.
    counting = xp.__array_namespace_info__().default_dtypes(device=given.device)["indexing"]
    count = int(xp.sum(xp.astype(bad, counting), dtype=counting))
    if count:
        if any(map(unknown, bad.shape)):  # Dask's; it takes no minimum over empty chunks
            bad, value = (one.copy().compute_chunk_sizes().rechunk("auto") for one in (bad, value))
        size = value.numel() if _is_jagged(value) else math.prod(value.shape)
        index, alone = _first(xp, _padded(bad), counting, given.device)
        raise ValueError(
            f"`{name}` must {rule}; {count} of {size} {instead}, "
            f"the first is {_only(xp, alone, _padded(value), counting)} at index {index}"
        )


def _is_jagged(x: Any) -> bool:
    """Tell whether this is a jagged tensor of PyTorch, which it neither indexes nor flattens."""
    return getattr(x, "is_nested", False)


def _padded(x: Any) -> Any:
    """Return a tensor whose rows are equally long, whatever they were."""
    return x.to_padded_tensor(padding=0) if _is_jagged(x) else x


def _shrunk(xp: Any, bad: Any, shape: tuple[int, ...]) -> Any:
    """Undo a broadcast: a value for many elements is bad if any of them is not masked."""
    bad = xp.any(bad, axis=tuple(range(bad.ndim - len(shape))))
    once = tuple(axis for axis, length in enumerate(shape) if length == 1)
    return xp.any(bad, axis=once, keepdims=True)


def _first(xp: Any, bad: Any, counting: Any, device: Any) -> tuple[tuple[int, ...], Any]:
    """Return the index of the first bad element, and where it alone is true.

    Not by position: JAX refuses to flatten or index an axis that an explicit mesh cuts.
    """
    index: tuple[int, ...] = ()
    for axis, length in enumerate(bad.shape):
        others = tuple(one for one in range(bad.ndim) if one != axis)
        row = xp.any(bad, axis=others) if others else bad
        place = xp.arange(length, dtype=counting, device=device)
        first = xp.min(xp.where(row, place, length))
        ahead, behind = (None,) * axis, (None,) * (bad.ndim - axis - 1)
        bad = bad & (place == first)[(*ahead, slice(None), *behind)]
        index = (*index, int(first))
    return index, bad


def _only(xp: Any, alone: Any, value: Any, counting: Any) -> float:
    """Return the number at the place where ``alone`` is true."""
    value = getattr(value, "detach", lambda: value)()  # PyTorch warns of float() with a gradient
    found = xp.where(alone, value, xp.zeros_like(value))
    if _libraries.kind(xp, value.dtype) != "integer":
        return float(xp.sum(found))
    # PyTorch has no sum in uint16 and uint32; where int64 is missing, uint32 is the wider one.
    wider = xp.iinfo(value.dtype).max > xp.iinfo(counting).max
    return int(xp.sum(found, dtype=_libraries.native(value.dtype) if wider else counting))
