"""One fixture runs the same laws on every array library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

import portable_bce
from tests import backends
from tests.backends import Backend

LAZY = (
    "bce",
    "bce_grad_and_hess",
    "bce_value_and_grad",
    "bce_with_logits",
    "bce_with_logits_grad_and_hess",
    "bce_with_logits_value_and_grad",
    "log_sigmoid",
    "sigmoid",
    "softplus",
)

try:
    from array_api_extra.testing import lazy_xp_function, patch_lazy_xp_functions
except ImportError:  # the session without anything but the runtime dependencies
    patch_lazy_xp_functions = None
else:
    for name in LAZY:
        lazy_xp_function(getattr(portable_bce, name))
    # A pullback cannot leave jax.jit; test_lazy compiles it together with its call.
    for name in ("bce_vjp", "bce_with_logits_vjp"):
        lazy_xp_function(getattr(portable_bce, name), jax_jit=False)


def backend_parameters() -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ())
        for name in backends.BACKENDS
    ]


@pytest.fixture(scope="module", params=backend_parameters())
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An array library; jitted functions on "jax-jit", no compute allowed on "dask".

    Test modules call the library as ``portable_bce.name`` and list it in
    ``lazy_xp_modules``, so that array-api-extra can put the jitted or guarded function
    in its place.
    """
    name = request.param
    reason = backends.missing(name)
    if reason is not None:
        if name in backends.required():
            pytest.fail(f"{name} must be tested here, but {reason}", pytrace=False)
        pytest.skip(f"{name}: {reason}")
    with backends.open_backend[name]() as opened:
        guarded = name in ("jax-jit", "dask")
        with patch_lazy_xp_functions(request, xp=opened.xp) if guarded else nullcontext():
            yield opened
