"""What others call, as `portable_bce.testing.check_interface` takes it; peers.py measures errors.

Each adapter returns the arguments of `check_interface`. PyTorch, optax and Keras on two of its
backends take arrays of their own libraries; the others take NumPy's, and are given copies.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import peers

from portable_bce.testing import INTERFACE_LAWS, LAWS

# The arguments of `check_interface`
Arguments: TypeAlias = dict[str, Any]


def named(*words: str) -> list[str]:
    """Return the names of the laws that have one of some words in them."""
    return [law.name for law in (*LAWS, *INTERFACE_LAWS) if any(word in law.name for word in words)]


def without(*words: str) -> list[str]:
    """Return the names of the laws that have none of some words in them."""
    return [law.name for law in (*LAWS, *INTERFACE_LAWS) if law.name not in named(*words)]


# An adapter that copies says nothing about these.
OF_COPIES = ("dtype", "views", "written", "inputs_are_left", "integer_logits", "reduced_losses")
# Laws of labels 0 and 1 alone
HARD = ("hard_labels", "keeps_its_tail", "lies_between", "digits_in_the_tail", "the_loss_agreed")


def copied(to: Callable[[Any], Any], back: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return what makes a function of a library's arrays one of NumPy's."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(logits: Any, targets: Any, **keywords: Any) -> Any:
            given = {
                name: to(value) if isinstance(value, np.ndarray) else value
                for name, value in keywords.items()
            }
            targets = to(targets) if isinstance(targets, np.ndarray) else targets
            result = function(to(logits), targets, **given)
            return tuple(map(back, result)) if isinstance(result, tuple) else back(result)

        return call

    return wrap


def pytorch() -> Arguments:
    """torch.nn.functional.binary_cross_entropy_with_logits."""
    torch = importlib.import_module("torch")
    return {
        "loss": torch.nn.functional.binary_cross_entropy_with_logits,
        "xp": torch,
        "autodiff": "torch",
        "supports": ["reduction", "weight", "pos_weight"],
    }


def optax() -> Arguments:
    """optax.sigmoid_binary_cross_entropy."""
    return {
        "loss": importlib.import_module("optax").sigmoid_binary_cross_entropy,
        "xp": importlib.import_module("jax.numpy"),
        "autodiff": "jax",
        "supports": [],
        "conventions": {"targets": "broadcast"},
        "flushes_subnormals": True,
    }


def scikit_learn() -> Arguments:
    """sklearn._loss.HalfBinomialLoss: loss, gradient and gradient_hessian."""
    values = peers.scikit_learn().values
    laws = without("mismatched")  # peers.py makes their shapes equal
    return of_numpy(values["loss"], values["grad"], values["hess"], laws=laws)


def scikit_learn_together() -> Arguments:
    """sklearn._loss.HalfBinomialLoss: both results of loss_gradient."""
    values = peers.scikit_learn_together().values
    return of_numpy(values["loss"], values["grad"], None, laws=without("mismatched"))


def published() -> Arguments:
    """max(x, 0) - x y + log1p(exp(-|x|)), with sigmoid(x) - y and q (1 - q)."""
    values = peers.published().values
    laws = without("_raise")  # a formula checks nothing
    return of_numpy(values["loss"], values["grad"], values["hess"], laws=laws)


def sigmoid_outputs() -> Arguments:
    """-y log(q) - (1 - y) log(1 - q) of q = sigmoid(x), with q - y and q (1 - q)."""
    values = peers.on_sigmoid_outputs().values
    laws = without("_raise")  # a formula checks nothing
    return of_numpy(values["loss"], values["grad"], values["hess"], laws=laws)


def of_numpy(loss: Any, gradient: Any, hessian: Any, **others: Any) -> Arguments:
    """Return the arguments of functions of NumPy's arrays that have no keywords."""
    given = {"loss": loss, "gradient": gradient, "hessian": hessian, "xp": np, "supports": []}
    return given | others


def keras() -> Arguments:
    """keras.losses.BinaryCrossentropy(from_logits=True).

    KERAS_BACKEND names its backend. It averages over the last axis, so each logit gets an axis.
    """
    keras = importlib.import_module("keras")
    backend = keras.backend.backend()
    reductions = {"mean": "sum_over_batch_size", "none": "none", "sum": "sum"}

    def loss(
        x: Any, y: Any, reduction: str = "mean", weight: Any = None, label_smoothing: float = 0.0
    ) -> Any:
        keras.config.set_floatx(keras.backend.standardize_dtype(x.dtype))
        function = keras.losses.BinaryCrossentropy(
            from_logits=True,
            label_smoothing=label_smoothing,
            reduction=reductions.get(reduction, reduction),
        )
        return function(y[..., None], x[..., None], sample_weight=weight)

    supports = ["reduction", "weight", "label_smoothing"]
    given: Arguments = {"loss": loss, "supports": supports, "flushes_subnormals": True}
    if backend == "torch":
        return given | {"xp": importlib.import_module("torch"), "autodiff": "torch"}
    if backend == "jax":
        return given | {"xp": importlib.import_module("jax.numpy"), "autodiff": "jax"}
    tf = importlib.import_module("tensorflow")

    def value_and_grad(x: Any, y: Any, **keywords: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x, y, **keywords)
        return value, tape.gradient(value, x)

    wrap = copied(tf.constant, lambda array: array.numpy())
    given |= {"loss": wrap(loss), "value_and_grad": wrap(value_and_grad), "xp": np}
    return given | {"laws": without(*OF_COPIES)}


def mlx() -> Arguments:
    """mlx.nn.losses.binary_cross_entropy, float32."""
    mx, nn = importlib.import_module("mlx.core"), importlib.import_module("mlx.nn")

    def loss(x: Any, y: Any, reduction: str = "mean", weight: Any = None) -> Any:
        return nn.losses.binary_cross_entropy(x, y, weights=weight, reduction=reduction)

    def gradient(x: Any, y: Any, **keywords: Any) -> Any:
        return mx.grad(lambda x: loss(x, y, **keywords).sum())(x)

    def hessian(x: Any, y: Any, **keywords: Any) -> Any:
        return mx.grad(lambda x: gradient(x, y, **keywords).sum())(x)

    wrap = copied(mx.array, np.array)
    return of_numpy(
        wrap(loss),
        wrap(gradient),
        wrap(hessian),
        supports=["reduction", "weight"],
        dtypes=["float32"],
        flushes_subnormals=True,
        laws=without(*OF_COPIES),
    )


def tinygrad() -> Arguments:
    """Tensor.binary_crossentropy_logits."""
    tensor = importlib.import_module("tinygrad").Tensor

    def loss(x: Any, y: Any, **keywords: Any) -> Any:
        return x.binary_crossentropy_logits(y, **keywords)

    def value_and_grad(x: Any, y: Any, **keywords: Any) -> Any:
        value = loss(x, y, **keywords)
        return value, value.sum().gradient(x)[0]

    wrap = copied(tensor, lambda array: array.numpy())
    return {
        "loss": wrap(loss),
        "value_and_grad": wrap(value_and_grad),
        "xp": np,
        "dtypes": ["float32"],
        "supports": ["reduction", "pos_weight"],
        "laws": without(*OF_COPIES),
    }


def sorix() -> Arguments:
    """sorix.nn.BCEWithLogitsLoss, a mean; it takes no 0-d array, so these get an axis."""
    tensor = importlib.import_module("sorix.tensor").Tensor
    function = importlib.import_module("sorix.nn").BCEWithLogitsLoss()

    def value_and_grad(x: Any, y: Any) -> Any:
        logits = tensor(np.atleast_1d(x), requires_grad=True, dtype=x.dtype)
        value = function(logits, tensor(np.atleast_1d(y), dtype=np.asarray(y).dtype))
        value.backward()
        return value.data, getattr(logits.grad, "data", logits.grad).reshape(np.shape(x))

    return {
        "loss": lambda x, y: value_and_grad(x, y)[0],
        "value_and_grad": value_and_grad,
        "xp": np,
        "supports": [],
        "conventions": {"reduction": "mean"},
    }


def each(element: Callable[[float, float], tuple[float, ...]], **others: Any) -> Arguments:
    """Return loss, gradient and Hessian of what gives the three of one element."""

    def value(which: int) -> Callable[[Any, Any], Any]:
        def values(x: Any, y: Any) -> Any:
            x, y = np.broadcast_arrays(x, y)
            pairs = zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)
            found = [element(*pair)[which] for pair in pairs]
            return np.array(found, dtype=x.dtype).reshape(x.shape)

        return values

    return of_numpy(*map(value, range(3)), dtypes=["float32"], **others)


def xgboost() -> Arguments:
    """XGBoost's objective binary:logistic and its metric, logloss, of one row at a time.

    The tree of one row is a leaf: its cover is the Hessian, and its weight with lambda = 1 is
    -gradient / (Hessian + 1).
    """
    xgb = importlib.import_module("xgboost")
    options = {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "base_score": 0.5,
        "eta": 1,
        "lambda": 1,
        "min_child_weight": 0,
        "nthread": 1,
        "verbosity": 0,
    }

    @cache
    def element(x: float, y: float) -> tuple[float, ...]:
        row = xgb.DMatrix(np.zeros((1, 1)), label=[y], base_margin=[x])
        loss = float(xgb.Booster(options, [row]).eval(row).rpartition(":")[2])
        model = json.loads(xgb.train(options, row, 1).save_raw("json"))
        (tree,) = model["learner"]["gradient_booster"]["model"]["trees"]
        hess = tree["sum_hessian"][0]
        return loss, -tree["base_weights"][0] * (hess + 1), hess

    # The gradient is read with a rounding error, and a label that is NaN is refused, rightly.
    no_law = ("one_half", "loss_of_nan", "gradient_of_nan", "nan_stays", "mismatched")
    return each(element, laws=without(*OF_COPIES, *no_law))


def lightgbm() -> Arguments:
    """LightGBM's objective binary and its metric, binary_logloss, of one row at a time.

    Its label is 0 or 1. The row stands in one leaf with two rows whose gradients cancel, and
    beside its mirror image, so that LightGBM splits there. A weight, a power of two, makes its
    gradient a normal number.
    """
    lgb = importlib.import_module("lightgbm")
    rate = 1e-30  # so small that the metric is that of the scores before the tree
    options = {
        "objective": "binary",
        "metric": "binary_logloss",
        "boost_from_average": False,
        "feature_pre_filter": False,
        "lambda_l2": 1,
        "learning_rate": rate,
        "min_data_in_bin": 1,
        "min_data_in_leaf": 1,
        "min_sum_hessian_in_leaf": 0,
        "num_leaves": 2,
        "num_threads": 1,
        "verbosity": -1,
    }

    @cache
    def element(x: float, y: float) -> tuple[float, ...]:
        if 0 < y < 1:  # as a user would: two rows, by their weights
            pairs = zip(element(x, 1.0), element(x, 0.0), strict=True)
            return tuple(y * one + (1 - y) * zero for one, zero in pairs)
        scale = 2.0 ** min(round(abs(x) / np.log(2)), 120) if np.isfinite(x) else 1.0
        rows = lgb.Dataset(
            np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]]),
            label=[y, 1, 0, 1 - y, 1, 0],
            init_score=[x, 0, 0, -x, 0, 0],
            weight=[scale, 1, 1, scale, 1, 1],
        )
        alone = lgb.Dataset(np.zeros((1, 1)), label=[y], init_score=[x], reference=rows)
        seen: dict[str, Any] = {}
        record = lgb.record_evaluation(seen)
        trained = lgb.train(options, rows, 1, valid_sets=[alone], callbacks=[record])
        tree = trained.dump_model()["tree_info"][0]["tree_structure"]
        (loss,) = seen["valid_0"]["binary_logloss"]
        if "left_child" not in tree:  # nothing to gain: both gradients are 0
            return loss, 0.0, 0.0
        leaf = tree["left_child"]
        weight = leaf["leaf_weight"]
        return loss, -leaf["leaf_value"] / rate * (weight + 1) / scale, (weight - 0.5) / scale

    return each(element, laws=[name for name in named(*HARD) if name not in named("soft")])


# name -> how it is made, its packages, and what the environment says to them
OTHERS: dict[str, tuple[Callable[[], Arguments], tuple[str, ...], dict[str, str]]] = {
    "PyTorch": (pytorch, ("torch",), {}),
    "optax": (optax, ("optax", "jax"), {}),
    "scikit-learn": (scikit_learn, ("scikit-learn",), {}),
    "scikit-learn loss_gradient": (scikit_learn_together, ("scikit-learn",), {}),
    "Keras on PyTorch": (keras, ("keras", "torch"), {"KERAS_BACKEND": "torch"}),
    "Keras on JAX": (keras, ("keras", "jax"), {"KERAS_BACKEND": "jax"}),
    "Keras on TensorFlow": (
        keras,
        ("keras", "tensorflow_cpu"),
        {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ),
    "XGBoost": (xgboost, ("xgboost-cpu",), {}),
    "LightGBM": (lightgbm, ("lightgbm",), {}),
    "MLX": (mlx, ("mlx",), {}),
    "tinygrad": (tinygrad, ("tinygrad",), {}),
    "sorix": (sorix, ("sorix",), {}),
    "published formula": (published, ("numpy",), {}),
    "BCE on sigmoid outputs": (sigmoid_outputs, ("numpy",), {}),
}
