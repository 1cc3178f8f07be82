"""Calls that must fail, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portable_bce import (
    BCELoss,
    BCEWithLogitsLoss,
    bce,
    bce_with_logits,
    bce_with_logits_vjp,
    sigmoid,
)

X = np.zeros((8, 1), dtype=np.float32)
ROW = np.zeros(8, dtype=np.float32)
MATRIX = np.zeros((4, 3))
MASKED = np.ma.masked_equal(ROW, 1)
NAME_OF_MASKED = f"{type(MASKED).__module__}.MaskedArray"  # which module depends on NumPy's version

# (what is called, the error, its whole message)
CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "list of logits": (
        lambda: bce_with_logits([0.0], 1),
        TypeError,
        "`logits` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got list. Use `numpy.asarray(logits)`",
    ),
    "number as logits": (
        lambda: bce_with_logits(0.5, 1),
        TypeError,
        "`logits` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got float. Use `numpy.asarray(logits)`",
    ),
    "list of probabilities": (
        lambda: bce([0.5], 1),
        TypeError,
        "`probabilities` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, "
        "Dask, ...); got list. Use `numpy.asarray(probabilities)`",
    ),
    "integer logits": (
        lambda: bce_with_logits(np.zeros(3, dtype=np.int64), 1),
        TypeError,
        "`logits` must have a real floating dtype; got int64. Convert it, for example to float32",
    ),
    "complex logits": (
        lambda: bce_with_logits(np.zeros(3, dtype=np.complex64), 1),
        TypeError,
        "`logits` must have a real floating dtype; got complex64. Take its real part",
    ),
    "bool logits": (
        lambda: bce_with_logits(np.zeros(3, dtype=bool), 1),
        TypeError,
        "`logits` must have a real floating dtype; got bool. Convert it, for example to float32",
    ),
    "type as logits": (
        lambda: bce_with_logits(np.float32, 1),
        TypeError,
        "`logits` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, ...); "
        "got type. Pass numbers",
    ),
    "masked logits": (
        lambda: bce_with_logits(MASKED, 1),
        TypeError,
        f"`logits` must be an array without a mask of its own; got {NAME_OF_MASKED}. Use "
        "`numpy.ma.getdata(logits)` and `where=~numpy.ma.getmaskarray(logits)`, joined by `&` to "
        "other masks",
    ),
    "masked targets": (
        lambda: bce_with_logits(ROW, MASKED),
        TypeError,
        f"`targets` must be an array without a mask of its own; got {NAME_OF_MASKED}. Use "
        "`numpy.ma.getdata(targets)` and `where=~numpy.ma.getmaskarray(targets)`, joined by `&` to "
        "other masks",
    ),
    "list of targets": (
        lambda: bce_with_logits(ROW, [1] * 8),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(targets)`",
    ),
    "complex targets": (
        lambda: bce_with_logits(ROW, ROW.astype(np.complex128)),
        TypeError,
        "`targets` must have a floating, integer or bool dtype; got complex128. Take its real part",
    ),
    "targets of objects": (
        lambda: bce_with_logits(ROW, ROW.astype(object)),
        TypeError,
        "`targets` must have a floating, integer or bool dtype; got object. Use "
        "`targets.astype(float)`",
    ),
    "complex target": (
        lambda: bce_with_logits(ROW, 1j),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "complex. Use `targets.real`",
    ),
    "row of targets": (
        lambda: bce_with_logits(X, ROW),
        ValueError,
        "`targets` must have the shape of `logits`, (8, 1); got (8,). Use `targets[:, None]`",
    ),
    "column of targets": (
        lambda: bce_with_logits(ROW, X),
        ValueError,
        "`targets` must have the shape of `logits`, (8,); got (8, 1). Use `targets[:, 0]`",
    ),
    "batch axis missing": (
        lambda: bce_with_logits(MATRIX[None], MATRIX),
        ValueError,
        "`targets` must have the shape of `logits`, (1, 4, 3); got (4, 3). Use "
        "`targets[None, :, :]`",
    ),
    "targets of another size": (
        lambda: bce_with_logits(ROW, ROW[:5]),
        ValueError,
        "`targets` must have the shape of `logits`, (8,); got (5,). One is needed for each element",
    ),
    "targets without dimensions": (
        lambda: bce_with_logits(ROW, np.asarray(1.0)),
        ValueError,
        "`targets` must have the shape of `logits`, (8,); got (). Use "
        "`numpy.broadcast_to(targets, logits.shape)` for the same one everywhere",
    ),
    "weight that expands": (
        lambda: bce_with_logits(ROW, 1, weight=X),
        ValueError,
        "`weight` must broadcast to the shape of `logits`, (8,), without expanding it; got "
        "(8, 1). No axis may be longer than there, or added",
    ),
    "pos_weight along a length of one": (
        lambda: bce_with_logits(X, 1, pos_weight=np.ones((1, 3))),
        ValueError,
        "`pos_weight` must broadcast to the shape of `logits`, (8, 1), without expanding it; got "
        "(1, 3). No axis may be longer than there, or added",
    ),
    "weight of rows": (
        lambda: bce_with_logits(MATRIX, 1, weight=np.ones(4)),
        ValueError,
        "`weight` must broadcast to the shape of `logits`, (4, 3), without expanding it; got "
        "(4,). Use `weight[:, None]`",
    ),
    "list of weights": (
        lambda: bce_with_logits(ROW, 1, weight=[1] * 8),
        TypeError,
        "`weight` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(weight)`",
    ),
    "complex pos_weight": (
        lambda: bce_with_logits(ROW, 1, pos_weight=ROW * 1j),
        TypeError,
        "`pos_weight` must have a floating, integer or bool dtype; got complex64. Take its real "
        "part",
    ),
    "integer mask": (
        lambda: bce_with_logits(ROW, 1, where=np.ones(8, dtype=np.int8)),
        TypeError,
        "`where` must have a bool dtype; got int8. Use `where != 0`",
    ),
    "number as mask": (
        lambda: bce_with_logits(ROW, 1, where=True),
        TypeError,
        "`where` must be a bool array of the library of `logits`, numpy; got bool. Leave it out "
        "to keep everything",
    ),
    "list as mask": (
        lambda: bce_with_logits(ROW, 1, where=[True] * 8),
        TypeError,
        "`where` must be a bool array of the library of `logits`, numpy; got list. Use "
        "`numpy.asarray(where)`",
    ),
    "pos_weight of channels": (
        lambda: bce_with_logits(np.zeros((2, 3, 4, 5)), 1, pos_weight=np.ones(3)),
        ValueError,
        "`pos_weight` must broadcast to the shape of `logits`, (2, 3, 4, 5), without expanding "
        "it; got (3,). Use `pos_weight[:, None, None]`",
    ),
    "weight of a map's rows": (
        lambda: bce_with_logits(np.zeros((2, 3, 4, 5)), 1, weight=np.ones((3, 4))),
        ValueError,
        "`weight` must broadcast to the shape of `logits`, (2, 3, 4, 5), without expanding "
        "it; got (3, 4). Use `weight[:, :, None]`",
    ),
    "mask that expands": (
        lambda: bce_with_logits(ROW, 1, where=np.ones((2, 8), dtype=bool)),
        ValueError,
        "`where` must broadcast to the shape of `logits`, (8,), without expanding it; got "
        "(2, 8). No axis may be longer than there, or added",
    ),
    "unknown reduction": (
        lambda: bce_with_logits(ROW, 1, reduction="batchmean"),
        ValueError,
        "`reduction` must be 'none' (or None), 'sum', 'mean' or 'weighted_mean'; got 'batchmean'",
    ),
    "reduction of another kind": (
        lambda: bce_with_logits(ROW, 1, reduction=True),
        TypeError,
        "`reduction` must be a string or None; got True",
    ),
    "negative smoothing": (
        lambda: bce_with_logits(ROW, 1, label_smoothing=-0.1),
        ValueError,
        "`label_smoothing` must lie in [0, 1]; got -0.1. Zero smooths nothing, one makes every "
        "target 0.5",
    ),
    "smoothing above one": (
        lambda: bce_with_logits(ROW, 1, label_smoothing=1.5),
        ValueError,
        "`label_smoothing` must lie in [0, 1]; got 1.5. Zero smooths nothing, one makes every "
        "target 0.5",
    ),
    "smoothing NaN": (
        lambda: bce_with_logits(ROW, 1, label_smoothing=float("nan")),
        ValueError,
        "`label_smoothing` must lie in [0, 1]; got nan. Zero smooths nothing, one makes every "
        "target 0.5",
    ),
    "smoothing array": (
        lambda: bce_with_logits(ROW, 1, label_smoothing=ROW),
        TypeError,
        "`label_smoothing` must be a Python number; got numpy.ndarray",
    ),
    "axis out of range": (
        lambda: bce_with_logits(X, 1, axis=2),
        ValueError,
        "`axis` must lie in [-2, 2) for 2 dimensions; got 2",
    ),
    "axis below range": (
        lambda: bce_with_logits(X, 1, axis=(0, -3)),
        ValueError,
        "`axis` must lie in [-2, 2) for 2 dimensions; got (0, -3)",
    ),
    "axis of no dimensions": (
        lambda: bce_with_logits(np.float64(0.0), 1, axis=0),
        ValueError,
        "`axis` must be None or () for an array without dimensions; got 0",
    ),
    "repeated axis": (
        lambda: bce_with_logits(X, 1, axis=(0, -2)),
        ValueError,
        "`axis` must not repeat an axis of 2 dimensions; got (0, -2)",
    ),
    "fractional axis": (
        lambda: bce_with_logits(X, 1, axis=0.5),
        TypeError,
        "`axis` must be an int, a tuple of ints or None; got 0.5",
    ),
    "axis without reduction": (
        lambda: bce_with_logits(X, 1, axis=0, reduction="none"),
        ValueError,
        "`axis` needs a reduction; got axis=0 with reduction='none'. Leave it out, or reduce by "
        "'sum', 'mean' or 'weighted_mean'",
    ),
    "compute_dtype of another kind": (
        lambda: bce_with_logits(ROW, 1, compute_dtype=np.int32),
        TypeError,
        "`compute_dtype` must be a real floating dtype of numpy, such as numpy.float64; got "
        "<class 'numpy.int32'>",
    ),
    "compute_dtype by a name that means no dtype": (
        lambda: bce_with_logits(ROW, 1, compute_dtype="float63"),
        TypeError,
        "`compute_dtype` must be a real floating dtype of numpy, such as numpy.float64; got "
        "'float63'",
    ),
    "compute_dtype by the name of integers": (
        lambda: bce_with_logits(ROW, 1, compute_dtype="int64"),
        TypeError,
        "`compute_dtype` must be a real floating dtype of numpy, such as numpy.float64; got "
        "'int64'",
    ),
    "strings as targets": (
        lambda: bce_with_logits(ROW, np.asarray(["no", "yes"] * 4)),
        TypeError,
        "`targets` must have a floating, integer or bool dtype; got <U3. Use `targets == label`, "
        "where `label` is the one that means 1",
    ),
    "list of strings as targets": (
        lambda: bce_with_logits(ROW, ["no", "yes"] * 4),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(targets) == label`, where `label` is the one that means 1",
    ),
    "string as weight": (
        lambda: bce_with_logits(ROW, 1, weight="balanced"),
        TypeError,
        "`weight` must be a Python scalar or an array of the library of `logits`, numpy; got str. "
        "Pass numbers",
    ),
    "dates as targets": (
        lambda: bce_with_logits(ROW, ROW.astype("M8[s]")),
        TypeError,
        "`targets` must have a floating, integer or bool dtype; got datetime64[s]. Pass numbers",
    ),
    "span of time as weight": (
        lambda: bce_with_logits(ROW, 1, weight=np.timedelta64(1, "s")),
        TypeError,
        "`weight` must have a floating, integer or bool dtype; got timedelta64[s]. Pass numbers",
    ),
    "records as logits": (
        lambda: bce_with_logits(np.zeros(3, dtype=[("name", "U1"), ("logit", "f4")]), 1),
        TypeError,
        "`logits` must have a real floating dtype; got [('name', '<U1'), ('logit', '<f4')]. "
        "Use `logits['logit']`",
    ),
    "list of integers as logits": (
        lambda: bce_with_logits([0, 1], 1),
        TypeError,
        "`logits` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got list. Use `numpy.asarray(logits, dtype=float)`",
    ),
    "list of targets of one column": (
        lambda: bce_with_logits(X, [1] * 8),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(targets)[:, None]`",
    ),
    "list of too few targets": (
        lambda: bce_with_logits(ROW, [1] * 3),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(targets)`, with the shape (8,): it has (3,)",
    ),
    "nothing as targets": (
        lambda: bce_with_logits(ROW, None),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "NoneType. Pass numbers",
    ),
    "weight beyond what a float holds": (
        lambda: bce_with_logits(ROW, 1, weight=10**400),
        ValueError,
        f"`weight` must be a number that a float can hold; got {10**400}",
    ),
    "pos_weight as long as the batch": (
        lambda: bce_with_logits(MATRIX, 1, pos_weight=np.ones(4)),
        ValueError,
        "`pos_weight` must broadcast to the shape of `logits`, (4, 3), without expanding it; got "
        "(4,). One for each class has the shape (3,); use `pos_weight[:, None]` if one for each "
        "row is meant",
    ),
    "masked mask": (
        lambda: bce_with_logits(ROW, 1, where=MASKED == 0),
        TypeError,
        f"`where` must be an array without a mask of its own; got {NAME_OF_MASKED}. Use "
        "`numpy.ma.filled(where, False)`",
    ),
    "masked cotangent": (
        lambda: bce_with_logits_vjp(ROW, 1, reduction="none")[1](MASKED),
        TypeError,
        f"`cotangent` must be an array without a mask of its own; got {NAME_OF_MASKED}. Use "
        "`numpy.ma.filled(cotangent, 0.0)`",
    ),
    "masked argument of sigmoid": (
        lambda: sigmoid(MASKED),
        TypeError,
        f"`x` must be an array without a mask of its own; got {NAME_OF_MASKED}. Use "
        "`numpy.ma.getdata(x)`, and mask the result",
    ),
    "smoothing as an array": (
        lambda: bce_with_logits(ROW, 1, label_smoothing=np.asarray(0.1)),
        TypeError,
        "`label_smoothing` must be a Python number; got numpy.ndarray. Use "
        "`float(label_smoothing)`",
    ),
    "list of axes": (
        lambda: bce_with_logits(X, 1, axis=[0, 1]),
        TypeError,
        "`axis` must be an int, a tuple of ints or None; got [0, 1]. Use `tuple(axis)`",
    ),
    "compute_dtype too narrow": (
        lambda: bce_with_logits(MATRIX, 1, compute_dtype=np.float32),
        TypeError,
        "`compute_dtype` must be at least as precise as float64, in which float64 is computed "
        "anyway; got <class 'numpy.float32'>",
    ),
    "eps out of range": (
        lambda: bce(MATRIX, 1, eps=0.5),
        ValueError,
        "`eps` must lie in [1.1102230246251565e-16, 0.5) for float64; got 0.5. A smaller "
        "one would leave 1 - eps at 1",
    ),
    "eps too small for float32": (
        lambda: bce(ROW, 1, eps=1e-12),
        ValueError,
        "`eps` must lie in [5.960464477539063e-08, 0.5) for float32; got 1e-12. A smaller "
        "one would leave 1 - eps at 1",
    ),
    "eps of another kind": (
        lambda: bce(ROW, 1, eps="small"),
        TypeError,
        "`eps` must be a Python number or None; got str",
    ),
    "unknown reduction of a class": (
        lambda: BCEWithLogitsLoss(reduction="avg"),
        ValueError,
        "`reduction` must be 'none' (or None), 'sum', 'mean' or 'weighted_mean'; got 'avg'",
    ),
    "smoothing of a class": (
        lambda: BCELoss(label_smoothing=2),
        ValueError,
        "`label_smoothing` must lie in [0, 1]; got 2. Zero smooths nothing, one makes every "
        "target 0.5",
    ),
    "cotangent of another shape": (
        lambda: bce_with_logits_vjp(MATRIX, 1, axis=0)[1](np.ones(4)),
        ValueError,
        "`cotangent` must have the shape of `loss`, (3,); got (4,). One is needed for each element",
    ),
    "cotangent of another kind": (
        lambda: bce_with_logits_vjp(MATRIX, 1)[1]([1.0]),  # type: ignore[call-overload]
        TypeError,
        "`cotangent` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "list. Use `numpy.asarray(cotangent)`",
    ),
    "integer cotangent": (
        lambda: bce_with_logits_vjp(ROW, 1, reduction="none")[1](np.ones(8, dtype=np.int64)),
        TypeError,
        "`cotangent` must have a real floating dtype; got int64. Convert it, for example to "
        "float32",
    ),
}
