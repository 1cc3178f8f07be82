"""Binary cross-entropy for gradient boosting: XGBoost and LightGBM, which are not imported.

>>> import numpy as np
>>> from portable_bce.boosting import BinaryObjective
>>> objective = BinaryObjective(pos_weight=2.0)
>>> grad, hess = objective(np.asarray([1, 0, 1]), np.asarray([0.0, 0.0, 40.0]))
>>> grad
array([-1.00000000e+00,  5.00000000e-01, -8.49670851e-18])
>>> hess
array([5.0e-01, 2.5e-01, 1.0e-16])
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from array_api_compat import is_array_api_obj, is_cupy_array

from portable_bce import _arguments, _hints, _libraries
from portable_bce._from_logits import bce_with_logits, bce_with_logits_grad_and_hess
from portable_bce._reduction import widest
from portable_bce._runners.plain import quiet
from portable_bce._typing import Array, ArrayOrScalar, ArrayT, Dataset

__all__ = ["BinaryObjective"]

# One for each sample or row, or one for all.
Weight: TypeAlias = ArrayOrScalar | None


class _Batch(NamedTuple):
    """What both libraries pass, in either order, on the device of the raw prediction."""

    raw: Any
    labels: Any
    weight: Any


@dataclass(frozen=True, eq=False)
class BinaryObjective:
    """Objective, evaluation metric and initial score of binary classification by boosting.

    An instance is the custom objective of XGBoost (`xgboost.train(obj=...)`, ``objective=``
    of its scikit-learn estimators) and of LightGBM (``params["objective"]``, ``objective=``
    of its scikit-learn estimators); its methods are their metrics.

    Parameters
    ----------
    pos_weight : array that broadcasts to the raw prediction's shape, or number, optional
        Factor of the positive part, what both libraries call ``scale_pos_weight``.
    label_smoothing : float in [0, 1], default 0
        As for `bce_with_logits`.
    min_hessian : float, default 1e-16
        Least second derivative of a sample of weight 1; of another it is this times its
        weight. The default is XGBoost's own; LightGBM has none: 0 turns it off. (A leaf's
        value is -sum(grad) / (sum(hess) + lambda): with lambda = 0 a leaf of samples whose
        second derivatives vanish would divide by 0.) The gradient is not touched.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`. The smoothing and the floor are checked here, the rest when
        arrays come.

    Notes
    -----
    Neither library applies sample weights to what a custom objective returns, so they are
    applied here. Raw predictions are logits: neither library knows that, so it predicts
    logits too; `portable_bce.sigmoid` makes them probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.boosting import BinaryObjective
    >>> objective = BinaryObjective()
    >>> labels, raw = np.asarray([1, 0, 0, 0]), np.zeros(4)
    >>> objective(labels, raw)
    (array([-0.5,  0.5,  0.5,  0.5]), array([0.25, 0.25, 0.25, 0.25]))
    >>> round(objective.log_loss(labels, raw), 6)
    0.693147
    >>> round(objective.initial_score(labels), 6)  # log(1 / 3)
    -1.098612
    """

    _: KW_ONLY
    pos_weight: ArrayOrScalar | None = None
    label_smoothing: float = 0.0
    min_hessian: float = 1e-16

    def __post_init__(self) -> None:
        _arguments.smoothing(self.label_smoothing)
        check_least(self.min_hessian, "min_hessian")
        _check_weight(np, _array_of(self.pos_weight, "pos_weight"), "pos_weight", waits=False)

    # Both libraries read this signature: XGBoost looks for the name `sample_weight`, and
    # LightGBM counts three parameters before it passes weights.
    @overload
    def __call__(
        self, y_true: ArrayOrScalar, y_pred: ArrayT, sample_weight: Weight = None
    ) -> tuple[ArrayT, ArrayT]: ...
    @overload
    def __call__(self, y_true: ArrayT, y_pred: Dataset) -> tuple[ArrayT, ArrayT]: ...
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Weight = None) -> tuple[Any, Any]:
        """Return the derivatives of each sample's loss by its raw prediction.

        Parameters
        ----------
        y_true : array of the shape of `y_pred`
            Labels or probabilities in [0, 1]. In the native interfaces: the raw prediction.
            Lists and pandas' series are taken as arrays of NumPy, here and below.
        y_pred : array, real floating
            Raw predictions (logits). In the native interfaces: the dataset, anything with
            ``get_label()`` and ``get_weight()``.
        sample_weight : array of the shape of `y_pred` or one for each row, or number, optional
            In the native interfaces it is the dataset's, and not passed.

        Returns
        -------
        grad, hess : arrays of the library, shape, dtype and device of the raw prediction
            NumPy's (and CuPy's) labels and weights are copied to where it is.

        Raises
        ------
        TypeError, ValueError
            As `bce_with_logits`, whose logits the raw prediction is, and targets the labels.
        ValueError
            A label outside [0, 1], or a weight that is negative or infinite. Values are read in
            the host's memory; on a device `log_loss` and `initial_score` read them.
        """
        raw, labels, weight = _read(y_true, y_pred, sample_weight, waits=False)
        xp = _arguments.namespace("y_pred", raw)
        grad, hess = bce_with_logits_grad_and_hess(
            raw, labels, weight=weight, reduction="none", **self._settings(xp, raw)
        )
        return grad, self._floored(hess, weight)

    def log_loss(
        self, y_true: ArrayOrScalar, y_pred: Array | Dataset, sample_weight: Weight = None
    ) -> float:
        """Return the mean loss, weighted as the objective is: a number, for XGBoost's estimators.

        Takes what the objective takes. The sum is divided by the sum of the sample weights,
        as in both libraries; `pos_weight` and `label_smoothing`, which their metrics leave
        out, are within the loss. It waits for the device.
        """
        raw, labels, weight = _read(y_true, y_pred, sample_weight, waits=True)
        xp = _arguments.namespace("y_pred", raw)
        loss = bce_with_logits(
            raw, labels, weight=weight, reduction="weighted_mean", **self._settings(xp, raw)
        )
        return float(loss)

    def xgboost_metric(self, y_pred: Array, dataset: Dataset) -> tuple[str, float]:
        """Return the name and value of `log_loss`: ``custom_metric`` of `xgboost.train`."""
        return "log_loss", self.log_loss(y_pred, dataset)

    def lightgbm_metric(
        self, y_true: ArrayOrScalar, y_pred: Array | Dataset, sample_weight: Weight = None
    ) -> tuple[str, float, bool]:
        """Return name, value, False of `log_loss`: ``feval`` or ``eval_metric`` of LightGBM."""
        return "log_loss", self.log_loss(y_true, y_pred, sample_weight), False

    def initial_score(self, y_true: Array | Dataset, sample_weight: Weight = None) -> float:
        """Return the raw prediction that has the least loss if it is the same for everyone.

        The log-odds of the weighted labels; custom objectives start from 0 or 0.5 without it.

        Parameters
        ----------
        y_true : array or dataset
            Labels, or what has ``get_label()`` and ``get_weight()``. Labels of several outputs
            have one score for all.
        sample_weight : array of the shape of `y_true` or one for each row, or number, optional
            Not beside a dataset.

        Raises
        ------
        TypeError, ValueError
            As `bce_with_logits`.
        ValueError
            All the weight is on one label, whose log-odds are infinite.
        """
        source = _labels_and_weight(y_true, sample_weight)
        labels = source.labels
        xp = _arguments.namespace("y_true", labels)
        device = _libraries.device_of(labels)
        dtype = widest(xp, device) or xp.float32
        _check_labels(xp, source)
        weight = _moved(xp, source.weight, labels)
        _check_weight(xp, weight)
        is_flat = _is_dataset(y_true) and labels.ndim == getattr(weight, "ndim", 0) == 1
        if is_flat and labels.shape != weight.shape:  # XGBoost 3.0: those of several outputs
            labels = xp.reshape(labels, (weight.shape[0], -1))
        weight = _of_rows(xp, weight, labels.ndim)

        def mass(logit: float) -> float:
            # Slopes at infinity are the formula's masses: -A at -inf, B at inf, exactly.
            start = xp.full(labels.shape, logit, dtype=dtype, device=device)
            slope, _ = bce_with_logits_grad_and_hess(
                start, labels, weight=weight, reduction="none", **self._settings(xp, labels)
            )
            with quiet(xp):
                return abs(float(xp.sum(slope)))

        positive, negative = mass(-math.inf), mass(math.inf)
        if math.inf in (positive, negative):
            raise ValueError(
                "`sample_weight` must have a finite sum; got infinity. Divide it by its maximum"
            )
        if not (positive > 0 and negative > 0):
            raise ValueError(
                "`y_true` must hold both labels with positive weight, or its log-odds are "
                f"infinite; got a weight of {positive:g} for 1 and {negative:g} for 0. Smooth "
                "the labels, or start from a number of your own"
            )
        return math.log(positive) - math.log(negative)

    def _settings(self, xp: Any, raw: Any) -> dict[str, Any]:
        pos_weight = _moved(xp, _array_of(self.pos_weight, "pos_weight"), raw)
        return {"pos_weight": pos_weight, "label_smoothing": self.label_smoothing}

    def _floored(self, hess: Any, weight: Any) -> Any:
        if not self.min_hessian:
            return hess
        xp = _arguments.namespace("y_pred", hess)
        wide = widest(xp, _libraries.device_of(hess)) or xp.float32
        with quiet(xp):  # a floor of 1e-30 is 0 in float16, where a weight of 1e5 is infinite
            if weight is None or _arguments.is_number(weight):
                least = self.min_hessian * (1.0 if weight is None else float(weight))
                return xp.maximum(hess, xp.full_like(hess, least))
            floor = xp.astype(xp.astype(weight, wide) * self.min_hessian, hess.dtype)
            return xp.maximum(hess, floor)


def _read(y_true: Any, y_pred: Any, sample_weight: Weight, *, waits: bool) -> _Batch:
    """Tell the call orders apart, and bring labels and weights to the raw prediction."""
    if _is_dataset(y_true):
        raise TypeError(
            "the objective must be called as (raw_prediction, dataset) or (y_true, "
            f"raw_prediction); got {_hints.type_name(y_true)} first. Exchange the two"
        )
    is_native = _is_dataset(y_pred)
    raw = _array_of(y_true, "y_true") if is_native else _array_of(y_pred, "y_pred")
    source = _labels_and_weight(y_pred if is_native else y_true, sample_weight)
    xp = _arguments.namespace("y_pred", raw)
    _check_labels(xp, source, waits=waits)
    _check_weight(xp, source.weight, waits=waits)
    labels, weight = _moved(xp, source.labels, raw), _moved(xp, source.weight, raw)
    flat = (math.prod(raw.shape),)
    is_flat = is_native and labels.shape == flat  # as XGBoost 3.0 returns labels of several outputs
    if is_flat or (source.is_frame and labels.shape == (*raw.shape, 1)):
        labels = xp.reshape(labels, raw.shape)
    return _Batch(raw, labels, _of_rows(xp, weight, raw.ndim))


class _Source(NamedTuple):
    """Labels and weights as arrays, and how an error names the labels."""

    labels: Any
    weight: Any
    name: str
    is_frame: bool


def _labels_and_weight(source: Any, sample_weight: Weight) -> _Source:
    if not _is_dataset(source):
        labels = _array_of(source, "y_true")
        name = "y_true" if labels is source else "numpy.asarray(y_true)"
        return _Source(
            labels, _array_of(sample_weight, "sample_weight"), name, hasattr(source, "columns")
        )
    if sample_weight is not None:
        raise TypeError(
            "`sample_weight` must be left out beside a dataset, which has its own; got "
            f"{_hints.type_name(sample_weight)}. Use `dataset.set_weight(sample_weight)`"
        )
    labels, weight = source.get_label(), source.get_weight()
    if labels is None or not np.size(labels):
        raise ValueError("the dataset must have labels; got none. Use `dataset.set_label(labels)`")
    # XGBoost returns an empty array where there are no weights, LightGBM None.
    weight = None if weight is None or not np.size(weight) else weight
    return _Source(
        _array_of(labels, "y_true"),
        _array_of(weight, "sample_weight"),
        "dataset.get_label()",
        False,
    )


def _array_of(value: Any, name: str) -> Any:
    """Return lists, pandas' series and their like as arrays of NumPy; arrays as they are."""
    if _arguments.is_masked(value):
        raise TypeError(
            f"`{name}` must be an array without a mask of its own; got "
            f"{_hints.type_name(value)}. Drop the samples that are masked"
        )
    is_host = isinstance(value, np.ndarray)
    is_array = not is_host and (_arguments.is_number(value) or is_array_api_obj(value))
    is_like = isinstance(value, list | tuple | memoryview) or hasattr(value, "__array__")
    if is_array or not is_like:
        return value
    array = np.asarray(value)  # of a subclass too, which may bring operators of its own
    if array.dtype.kind == "O" and not is_host:
        with suppress(TypeError, ValueError):
            array = np.asarray(value, dtype=float)  # numbers, and what is missing as NaN
    source = name if is_host else f"numpy.asarray({name})"
    _arguments.dtype_kind(np, array, name, _arguments.REAL, source)
    return array


def _of_rows(xp: Any, weight: Any, ndim: int) -> Any:
    """Return a weight for each row so that it serves all outputs of the row."""
    if ndim > 1 and getattr(weight, "ndim", 0) == 1:
        return xp.reshape(weight, (-1, *([1] * (ndim - 1))))
    return weight


def _check_labels(xp: Any, source: _Source, *, waits: bool = True) -> None:
    """Require labels in [0, 1], and say how to make them so."""
    span = _span(xp, source.labels, waits=waits)
    if span is None or (span[0] >= 0 and span[1] <= 1):
        return
    least, most = span
    is_of_dataset = source.name.startswith("dataset")
    name = "the labels of the dataset" if is_of_dataset else "`y_true`"
    if least != least or most != most:
        raise ValueError(f"{name} must lie in [0, 1]; got NaN. Drop the samples that have no label")
    if (least, most) in ((-1, 1), (1, 2)):
        mend = f"{source.name} == {most:g}"
        mend = f"Use `dataset.set_label({mend})`" if is_of_dataset else f"Use `{mend}`"
    else:
        mend = "This is the objective of two classes"
        if not is_of_dataset:
            mend += "; the labels come first, the raw prediction second"
    raise ValueError(f"{name} must lie in [0, 1]; got {least:g} to {most:g}. {mend}")


def _check_weight(xp: Any, weight: Any, name: str = "sample_weight", *, waits: bool = True) -> None:
    """Require weights that are finite and not negative."""
    span = _span(xp, weight, waits=waits)
    if span is None or (span[0] >= 0 and span[1] < math.inf):
        return
    worst = span[0] if not span[0] >= 0 else span[1]
    mend = "One is no weight at all" if name == "pos_weight" else "Zero leaves a sample out"
    raise ValueError(f"`{name}` must be finite and not negative; got {worst:g}. {mend}")


def _span(xp: Any, value: Any, *, waits: bool) -> tuple[float, float] | None:
    """Return the least and the largest value, NaN if one is; None where nobody looks.

    Values in the host's memory cost little to look at. On a device, or in Dask, a look waits
    for them, so only calls that return a number, and so wait anyway, look there.
    """
    if value is None:
        return None
    if _arguments.is_number(value):
        return float(value), float(value)
    is_host = isinstance(value, np.ndarray)
    if not (is_host or waits) or not is_array_api_obj(value) or 0 in value.shape:
        return None
    xp = np if is_host else _arguments.namespace("y_true", value)
    if _libraries.kind(xp, value.dtype) not in ("floating", "integer"):
        return None
    return float(xp.min(value)), float(xp.max(value))


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "get_label") and hasattr(value, "get_weight")


def _moved(xp: Any, value: Any, raw: Any) -> Any:
    """Bring NumPy's and CuPy's labels and weights to the raw prediction; no others."""
    # A dataset may hold them in host memory beside predictions on a device, or (XGBoost 3.2
    # with data from CuPy) the other way round, and its user cannot change that.
    if type(raw) is np.ndarray:
        return value.get() if is_cupy_array(value) else value
    if type(value) is np.ndarray:
        return xp.asarray(value, device=_libraries.device_of(raw))
    return value


def check_least(value: Any, name: str) -> None:
    """Require a lower bound, a finite Python number that is not negative."""
    _arguments.python_number(value, name)
    if not 0 <= value < math.inf:
        raise ValueError(
            f"`{name}` must be finite and not negative; got {value}. Zero sets no bound"
        )
