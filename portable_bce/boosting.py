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
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from array_api_compat import is_cupy_array

from portable_bce import _arguments, _libraries
from portable_bce._from_logits import bce_with_logits, bce_with_logits_grad_and_hess
from portable_bce._reduction import widest
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
        _arguments.least(self.min_hessian, "min_hessian")

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
        """
        raw, labels, weight = _read(y_true, y_pred, sample_weight)
        grad, hess = bce_with_logits_grad_and_hess(
            raw, labels, weight=weight, reduction="none", **self._settings()
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
        raw, labels, weight = _read(y_true, y_pred, sample_weight)
        loss = bce_with_logits(
            raw, labels, weight=weight, reduction="weighted_mean", **self._settings()
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
            Labels, or what has ``get_label()`` and ``get_weight()``.
        sample_weight : array that broadcasts to the shape of `y_true`, or number, optional
            Not beside a dataset.

        Raises
        ------
        TypeError, ValueError
            As `bce_with_logits`.
        ValueError
            All the weight is on one label, whose log-odds are infinite.
        """
        labels, weight = _labels_and_weight(y_true, sample_weight)
        xp = _arguments.namespace("y_true", labels)
        device = _libraries.device_of(labels)
        dtype = widest(xp, device) or xp.float32

        def mass(logit: float) -> float:
            # Slopes at infinity are the formula's masses: -A at -inf, B at inf, exactly.
            start = xp.full(labels.shape, logit, dtype=dtype, device=device)
            slope, _ = bce_with_logits_grad_and_hess(
                start, labels, weight=weight, reduction="none", **self._settings()
            )
            return abs(float(xp.sum(slope)))

        positive, negative = mass(-math.inf), mass(math.inf)
        if not (positive > 0 and negative > 0):
            raise ValueError(
                "`y_true` must hold both labels with positive weight, or its log-odds are "
                f"infinite; got a weight of {positive:g} for 1 and {negative:g} for 0. Smooth "
                "the labels, or start from a number of your own"
            )
        return math.log(positive) - math.log(negative)

    def _settings(self) -> dict[str, Any]:
        return {"pos_weight": self.pos_weight, "label_smoothing": self.label_smoothing}

    def _floored(self, hess: Any, weight: Any) -> Any:
        if not self.min_hessian:
            return hess
        xp = _arguments.namespace("y_pred", hess)
        floor = xp.full_like(hess, self.min_hessian)
        if weight is not None:
            floor = floor * (
                weight if _arguments.is_number(weight) else xp.astype(weight, hess.dtype)
            )
        return xp.maximum(hess, floor)


def _read(y_true: Any, y_pred: Any, sample_weight: Weight) -> _Batch:
    """Tell the call orders apart, and bring labels and weights to the raw prediction."""
    if _is_dataset(y_true):
        raise TypeError(
            "the objective must be called as (raw_prediction, dataset) or (y_true, "
            f"raw_prediction); got {_arguments.type_name(y_true)} first. Exchange the two"
        )
    raw = y_true if _is_dataset(y_pred) else y_pred
    labels, weight = _labels_and_weight(y_pred if raw is y_true else y_true, sample_weight)
    xp = _arguments.namespace("y_pred", raw)
    labels, weight = _moved(xp, labels, raw), _moved(xp, weight, raw)
    if raw.ndim > 1:  # several outputs: a weight for each row, and (XGBoost 3.0) flat labels
        if getattr(weight, "ndim", 0) == 1:
            weight = xp.reshape(weight, (-1, *([1] * (raw.ndim - 1))))
        if raw is y_true and labels.shape == (math.prod(raw.shape),):
            labels = xp.reshape(labels, raw.shape)
    return _Batch(raw, labels, weight)


def _labels_and_weight(source: Any, sample_weight: Weight) -> tuple[Any, Any]:
    if not _is_dataset(source):
        return source, sample_weight
    if sample_weight is not None:
        raise TypeError(
            "`sample_weight` must be left out beside a dataset, which has its own; got "
            f"{_arguments.type_name(sample_weight)}. Use `dataset.set_weight(sample_weight)`"
        )
    labels, weight = source.get_label(), source.get_weight()
    if labels is None or not np.size(labels):
        raise ValueError("the dataset must have labels; got none. Use `dataset.set_label(labels)`")
    # XGBoost returns an empty array where there are no weights, LightGBM None.
    return labels, None if weight is None or not np.size(weight) else weight


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
