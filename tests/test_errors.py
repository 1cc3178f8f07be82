"""Bad input gets an error that says what was required, what came, and how to mend it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import BCELoss, BCEWithLogitsLoss, bce, bce_with_logits, bce_with_logits_vjp
from tests.backends import Backend

lazy_xp_modules: list[object] = []  # errors come before anything could be compiled

X = np.zeros((8, 1), dtype=np.float32)
ROW = np.zeros(8, dtype=np.float32)
MATRIX = np.zeros((4, 3))

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
        "`logits` must have a real floating dtype; got complex64. Convert it, for example to "
        "float32",
    ),
    "bool logits": (
        lambda: bce_with_logits(np.zeros(3, dtype=bool), 1),
        TypeError,
        "`logits` must have a real floating dtype; got bool. Convert it, for example to float32",
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
    "complex target": (
        lambda: bce_with_logits(ROW, 1j),
        TypeError,
        "`targets` must be a Python scalar or an array of the library of `logits`, numpy; got "
        "complex. Use `numpy.asarray(targets)`",
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
        "`targets` must have the shape of `logits`, (8,); got (). Use `float(targets)` for the "
        "same one everywhere",
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
    "compute_dtype by name": (
        lambda: bce_with_logits(ROW, 1, compute_dtype="float64"),
        TypeError,
        "`compute_dtype` must be a real floating dtype of numpy, such as numpy.float64; got "
        "'float64'",
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
        "`eps` must lie in [1.11e-16, 0.5) for float64; got 0.5. A smaller one would leave 1 - "
        "eps at 1",
    ),
    "eps too small for float32": (
        lambda: bce(ROW, 1, eps=1e-12),
        ValueError,
        "`eps` must lie in [5.96e-08, 0.5) for float32; got 1e-12. A smaller one would leave 1 - "
        "eps at 1",
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


@pytest.mark.parametrize("case", CASES)
def test_error_says_what_was_required_what_came_and_how_to_mend_it(case: str) -> None:
    call, error, message = CASES[case]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize(
    "name",
    [
        "bce_with_logits",
        "bce_with_logits_value_and_grad",
        "bce_with_logits_grad_and_hess",
        "bce_with_logits_vjp",
        "bce",
        "bce_value_and_grad",
        "bce_grad_and_hess",
        "bce_vjp",
        "check_inputs",
    ],
)
def test_every_function_checks_shapes(backend: Backend, name: str) -> None:
    x, y = backend.array(X), backend.array(ROW)
    with pytest.raises(ValueError, match=r"got \(8,\)\. Use `targets\[:, None\]`$"):
        getattr(portable_bce, name)(x, y)


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softplus"])
def test_sigmoid_family_checks_its_argument(backend: Backend, name: str) -> None:
    function = getattr(portable_bce, name)
    with pytest.raises(TypeError, match=r"^`x` must have a real floating dtype; got .*int"):
        function(backend.array(np.zeros(3, dtype=np.int32)))
    with pytest.raises(TypeError, match=r"^`x` must be an array of an array API library"):
        function([0.0])


def test_mixed_libraries_are_refused(backend: Backend) -> None:
    if backend.name == "numpy":
        pytest.skip("NumPy arrays are what the others are mixed with here")
    x = backend.array(ROW)
    name = re.escape(backend.xp.__name__.removeprefix("array_api_compat."))
    for keyword in ("targets", "weight", "pos_weight"):
        arguments = {"targets": 1, keyword: ROW}
        with pytest.raises(
            TypeError,
            match=f"^`{keyword}` must be a Python scalar or an array of the library of `logits`, "
            rf"{name}; got numpy.ndarray. Use `{name}.asarray\({keyword}\)`(\n|$)",
        ):  # JAX appends lines of its own
            bce_with_logits(x, **arguments)
    with pytest.raises(TypeError, match=r"^`targets` must be .* numpy; got "):
        bce_with_logits(ROW, x)


def test_mixed_devices_are_refused() -> None:
    xp = pytest.importorskip("array_api_strict")
    one = xp.zeros(3, dtype=xp.float32, device=xp.Device("device1"))
    other = xp.zeros(3, dtype=xp.float32, device=xp.Device("device2"))
    for keyword in ("targets", "weight", "pos_weight"):
        with pytest.raises(
            ValueError,
            match=f"^`{keyword}` must be on the device of `logits`, .*device1.*; got .*device2.*. "
            "Move one of them: nothing is copied between devices here$",
        ):
            bce_with_logits(one, **{"targets": 1, keyword: other})


def test_meta_device_of_torch_is_another_device() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="on the device of `logits`, cpu; got meta"):
        bce_with_logits(torch.zeros(3), torch.zeros(3, device="meta"))


def test_compute_dtype_that_the_device_lacks_is_refused() -> None:
    jax = pytest.importorskip("jax")
    with (
        jax.enable_x64(False),
        pytest.raises(
            TypeError,
            match=r"^`compute_dtype` must be a dtype that jax.numpy has on this device; got "
            r".*float64.*\. On JAX, enable x64$",
        ),
    ):
        bce_with_logits(jax.numpy.zeros(3), 1, compute_dtype=jax.numpy.float64)


def test_jax_with_x64_off_is_no_error_otherwise() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False):
        assert bce_with_logits(jax.numpy.zeros(3), 1).dtype == jax.numpy.float32


TWO_DEVICES = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from portable_bce import bce_with_logits
one, two = jax.devices()
x = jax.device_put(jnp.zeros(4), two)
assert bce_with_logits(x, jnp.ones(4)).devices() == {two}  # uncommitted: JAX moves it
mesh = jax.make_mesh((2,), ("data",))
shards = jax.device_put(jnp.zeros(4), NamedSharding(mesh, PartitionSpec("data")))
whole = jax.device_put(jnp.ones(4), NamedSharding(mesh, PartitionSpec()))
assert bce_with_logits(shards, 1, weight=whole).devices() == {one, two}
try:
    bce_with_logits(x, jax.device_put(jnp.ones(4), one))
except ValueError as error:
    print(error)
"""


def test_jax_devices_are_compared_where_they_are_settled() -> None:
    """Uncommitted arrays and shardings are JAX's to place; two committed ones are refused."""
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("`targets` must be on the device of `logits`, ")


@pytest.mark.parametrize("name", portable_bce.__all__)
def test_settings_are_keywords(name: str) -> None:
    """A third number would be read as the weight by one, and as the reduction by another."""
    first = ("logits", "probabilities", "x", "targets")
    for one in inspect.signature(getattr(portable_bce, name)).parameters.values():
        assert (one.kind is not one.KEYWORD_ONLY) == (one.name in first)
