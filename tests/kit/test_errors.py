"""What `check` says of arguments that it cannot use, and the package of what is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from portable_bce.testing import LAWS, bounds_for, check

ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"implementation": 1.5},
        TypeError,
        (
            "`implementation` must be a function of (logits, targets); got float. Pass the "
            "function that returns the loss of each element, not what it returned"
        ),
    ),
    (
        {"gradient": "grad"},
        TypeError,
        (
            "`gradient` must be a function of (logits, targets); got str. Pass the function "
            "that returns the gradient of each element, not what it returned"
        ),
    ),
    (
        {"hessian": np.zeros(2)},
        TypeError,
        (
            "`hessian` must be a function of (logits, targets); got ndarray. Pass the "
            "function that returns the hessian of each element, not what it returned"
        ),
    ),
    (
        {"xp": "numpy"},
        TypeError,
        (
            "`xp` must be an array library: a module with `asarray`; got str. Use `xp=numpy`, "
            "or `torch`, `jax.numpy`, `cupy`"
        ),
    ),
    (
        {"dtypes": "float32"},
        TypeError,
        ('`dtypes` must be several names; got a string. Use `dtypes=["float32"]`'),
    ),
    (
        {"dtypes": 32},
        TypeError,
        ('`dtypes` must be names of dtypes; got int. Use `dtypes=["float32"]`'),
    ),
    (
        {"dtypes": [np.float32]},
        TypeError,
        ('`dtypes` must be names; got type. Use "float32" in place of a dtype'),
    ),
    (
        {"dtypes": ["int8"]},
        ValueError,
        (
            '`dtypes` must be of "float16", "bfloat16", "float32", "float64"; got "int8". The '
            "laws are about real floats"
        ),
    ),
    (
        {"dtypes": []},
        ValueError,
        ("`dtypes` must name one dtype at least; got none. Leave it out for two"),
    ),
    (
        {"laws": LAWS[0]},
        TypeError,
        ("`laws` must be several laws; got Law. Use `laws=[law]`"),
    ),
    (
        {"laws": [1]},
        TypeError,
        ("`laws` must be laws or their names; got int. Use `laws=[law.name]`"),
    ),
    (
        {"laws": ["loss_keeps_the_tail"]},
        ValueError,
        (
            '`laws` must be laws that are known; got "loss_keeps_the_tail". Use '
            '"loss_keeps_its_tail", or a name that `LAWS` or `INTERFACE_LAWS` has'
        ),
    ),
    (
        {"laws": ()},
        ValueError,
        ("`laws` must be one law at least; got none. Leave it out for all"),
    ),
    (
        {"bounds": 4},
        TypeError,
        ("`bounds` must be Bounds, in ULP; got int. Use `Bounds(loss=4, grad=4, hess=5)`"),
    ),
    (
        {"examples": 2.0},
        TypeError,
        ("`examples` must be a Python int; got float. Use `examples=200`"),
    ),
    (
        {"examples": True},
        TypeError,
        ("`examples` must be a Python int; got bool. Use `examples=200`"),
    ),
    (
        {"examples": 0},
        ValueError,
        ("`examples` must be 1 at least; got 0. Use `examples=200`"),
    ),
    (
        {"flushes_subnormals": 1},
        TypeError,
        ("`flushes_subnormals` must be True or False; got int. True is for XLA on a CPU"),
    ),
]


@pytest.mark.parametrize(("changed", "kind", "message"), ERRORS, ids=[one[2] for one in ERRORS])
def test_errors_say_what_was_required_and_how_to_mend_it(
    changed: dict[str, Any], kind: type[Exception], message: str
) -> None:
    def untouched(x: Any, y: Any) -> Any:
        raise AssertionError("called before the arguments were checked")

    arguments = {"implementation": untouched, "xp": np, **changed}
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        check(arguments.pop("implementation"), **arguments)


NAMES = '"float16", "bfloat16", "float32", "float64"'


@pytest.mark.parametrize("name", ["dtype", "compute_dtype"])
@pytest.mark.parametrize(
    ("value", "kind", "rest"),
    [
        (np.float32, TypeError, f'a name, {NAMES}; got type. Use "float32"'),
        (np.dtype("float32"), TypeError, f'a name, {NAMES}; got Float32DType. Use "float32"'),
        ("float8", ValueError, f'one of {NAMES}; got "float8"'),
        ("", ValueError, f'one of {NAMES}; got ""'),
    ],
)
def test_bounds_are_of_dtypes_that_the_table_knows(
    name: str, value: Any, kind: type[Exception], rest: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(f'`{name}` must be {rest}')}$"):
        bounds_for(**{"dtype": "float32", name: value})


def test_dtype_that_the_library_lacks_is_said() -> None:
    strict = pytest.importorskip("array_api_strict")
    message = "`dtypes` must be dtypes that the library has; float16 is not. Leave it out"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(max, xp=strict, dtypes=["float32", "float16"])


def test_jax_without_float64_is_said() -> None:
    jax = pytest.importorskip("jax")
    message = 'or call `jax.config.update("jax_enable_x64", True)` before'
    with jax.enable_x64(False), pytest.raises(ValueError, match=re.escape(message)):
        check(max, xp=jax.numpy)


@pytest.mark.parametrize("package", ["hypothesis", "mpmath"])
def test_missing_package_is_said_with_its_extra(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import portable_bce.testing"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: portable_bce.testing needs {package}, which is not installed. "
        'Use `pip install "portable-bce[verify]"`'
    )
