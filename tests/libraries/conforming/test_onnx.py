"""The functions traced into an ONNX model keep their tails in onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce.testing import ulp
from tests.libraries.conforming.libraries import named, names_here

pytestmark = pytest.mark.skipif("onnx" not in names_here(), reason="ndonnx is not installed")

# Where log(1 + e) has lost its digits, up to a subnormal exponential.
TAIL = np.concatenate([np.linspace(8, 104, 385), [17.0, 20.0, 88.0]]).astype(np.float32)
X = np.concatenate([TAIL, -TAIL])
# Between two libraries, each with its own exp and log1p; docs/onnx.md names it.
BETWEEN = 2


@pytest.fixture
def traced() -> Any:
    """Return how to make a model with open lengths of a function of logits and targets."""
    named("onnx")
    import ndonnx
    import onnxruntime

    def session(function: Any, shape: tuple[str, ...] = ("n",)) -> Any:
        x, y = (ndonnx.argument(shape=shape, dtype=ndonnx.float32) for _ in range(2))
        outputs = dict(zip(("loss", "grad"), function(x, y), strict=True))
        model = ndonnx.build({"logits": x, "targets": y}, outputs)
        running = onnxruntime.InferenceSession(model.SerializeToString())
        return lambda x, y: running.run(["loss", "grad"], {"logits": x, "targets": y})

    return session


def test_tails_are_those_of_numpy(traced: Any) -> None:
    def function(x: Any, y: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")

    run = traced(function)
    for label in (0.0, 1.0):
        y = np.full_like(X, label)
        for got, wanted in zip(run(X, y), function(X, y), strict=True):
            assert ulp.distance(got, wanted).max() <= BETWEEN


def test_one_model_serves_every_length(traced: Any) -> None:
    def function(x: Any, y: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(x, y, pos_weight=2.0)

    run = traced(function, ("rows", "columns"))
    for shape in [(1, 1), (2, 3), (5, 7)]:
        x = np.linspace(-30, 30, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        y = (x > 3).astype(np.float32)
        loss, grad = run(x, y)
        wanted, slope = function(x, y)
        assert ulp.distance(loss, np.asarray(wanted)).max() <= BETWEEN
        assert ulp.distance(grad, slope).max() <= BETWEEN


def test_values_that_are_not_there_yet_are_not_looked_at() -> None:
    named("onnx")
    import ndonnx

    x = ndonnx.argument(shape=("n",), dtype=ndonnx.float32)
    with pytest.raises(ValueError, match="value"):
        portable_bce.check_inputs(x, 1.0)
