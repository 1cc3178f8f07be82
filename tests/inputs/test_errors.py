"""Bad input gets an error that says what was required, what came, and how to mend it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import portable_bce
from portable_bce import bce_with_logits
from tests.backends import Backend
from tests.inputs.error_cases import CASES, ROW, X

lazy_xp_modules: list[object] = []  # errors come before anything could be compiled


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


def test_masked_arrays_in_dask_are_refused() -> None:
    """Their masks would be dropped with the first operation of a task."""
    da = pytest.importorskip("dask.array")
    x = da.ma.masked_greater(da.zeros(3), 1)
    for arguments in ((x, 1), (da.zeros(3), x)):
        with pytest.raises(TypeError, match=r"Use `dask\.array\.ma\.getdata\((logits|targets)\)`"):
            bce_with_logits(*arguments)


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
            rf"{name}; got numpy.ndarray. Use `{name}.asarray\({keyword}"
            r"(, device=logits\.device)?\)`(\n|$)",
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


@pytest.mark.parametrize("other", ["Size", "dtype"])
def test_what_is_of_torch_but_no_tensor_is_refused(other: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.zeros(3)
    given = {"Size": x.shape, "dtype": x.dtype}[other]
    with pytest.raises(TypeError, match=rf"^`logits` must be an array .*; got torch\.{other}\."):
        bce_with_logits(given, 1)
    with pytest.raises(TypeError, match=rf"^`targets` must be .* or an array .*torch\.{other}\."):
        bce_with_logits(x, given)


def test_meta_device_of_torch_is_another_device() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="on the device of `logits`, cpu; got meta"):
        bce_with_logits(torch.zeros(3), torch.zeros(3, device="meta"))


def test_compute_dtype_of_another_library_is_refused(backend: Backend) -> None:
    torch = pytest.importorskip("torch")
    name = backend.xp.__name__.removeprefix("array_api_compat.")
    other = np.dtype("float64") if name == "torch" else torch.float64
    best = "float64" if backend.wide else "float32"
    message = (
        f"`compute_dtype` must be a real floating dtype of {name}, such as {name}.{best}; "
        f"got {other!r}"
    )
    with pytest.raises(TypeError, match=rf"^{re.escape(message)}(\n|$)"):  # JAX appends lines
        bce_with_logits(backend.array(ROW), 1, compute_dtype=other)


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
