"""Every library returns NumPy's numbers for the same inputs, to the bounds of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from portable_bce.testing.strategies import FORMATS
from tests import backends
from tests.backends import Backend
from tests.law import law
from tests.laws import grid
from tests.strategies import Case, cases, flushed

lazy_xp_modules = [portable_bce]

REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]


def results(backend: Backend, case: Case, reduction: str) -> dict[str, np.ndarray[Any, Any]]:
    x, y, options = case.on(backend)
    keywords = {**options, "reduction": reduction}
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    found = {"loss": loss, "grad": grad, "hess": hess}
    return {name: backend.numpy(one) for name, one in found.items()}


def allowed(backend: Backend, case: Case, reduction: str) -> contract.Bounds:
    """Return the bounds of both libraries together, and of what a reduction adds in both."""

    def of(library: str) -> contract.Bounds:
        return contract.bounds_for(
            case.dtype,
            weighted="weight" in case.options,
            factors=case.factors(),
            library=library,
        )

    ours, numpys = of(backend.name.partition("-")[0]), of("numpy")
    summed = contract.SUM + (contract.SUM if backend.wide else contract.NARROW_SUM)
    return contract.Bounds(
        ours.loss + numpys.loss, ours.grad + numpys.grad, ours.hess + numpys.hess
    ).widened(summed if reduction != "none" else 0.0)


def farthest(
    backend: Backend, case: Case, got: Any, wanted: Any, scale: Callable[[Any], Any]
) -> float:
    """Return the largest distance in ULP of the larger of the result and the scale."""
    assert got.shape == wanted.shape
    w, p = (
        float(np.max(np.abs(case.options.get(name, 1.0)), initial=1.0))
        for name in ("weight", "pos_weight")
    )
    underflow = w * (1 + p) * max(1, case.x.size)
    return max(
        (
            ulp.error(
                got[index],
                float(wanted[index]),
                case.dtype,
                scale=scale(index),
                underflow=underflow,
                flushes=backend.flushes_subnormals,
            )
            for index in np.ndindex(wanted.shape)
        ),
        default=0.0,
    )


def hold(backend: Backend, case: Case, reduction: str) -> None:
    if case.dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    got = results(backend, case, reduction)
    with backends.open_backend["numpy"]() as numpy:
        wanted = results(numpy, case, reduction)
        if reduction != "none":
            losses = results(numpy, case, "none")["loss"]
            with np.errstate(over="ignore"):
                total = np.sum(losses, dtype=np.float64)
            # A loss beyond its dtype, or a sum of float32, is infinite before it is divided;
            # NumPy's kernels divide in float64.
            if total == np.inf or (not backend.wide and total > FORMATS["float32"][0]):
                del wanted["loss"]
    bounds = allowed(backend, case, reduction)

    def gradient_cancels_from(index: Any) -> Any:
        # (A + B) min(sigmoid(x), sigmoid(-x)), by the Hessian over the larger sigmoid.
        x = abs(np.float64(case.x[index]))
        curvature = np.float64(wanted["hess"][index])
        return curvature * (1 + np.exp(-x)) if np.isfinite(curvature) else 0

    scales = {"grad": gradient_cancels_from}
    for name, values in wanted.items():
        near = farthest(backend, case, got[name], values, scales.get(name, lambda _: 0))
        assert near <= getattr(bounds, name), name


@law(
    lambda backend: cases(backend, dtypes=("float16", "bfloat16", "float32", "float64")),
    lambda _: st.sampled_from(REDUCTIONS),
)
def test_every_library_returns_the_numbers_of_numpy(
    backend: Backend, case: Case, reduction: str
) -> None:
    hold(backend, case, reduction)


@pytest.mark.parametrize("options", grid.OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_returns_the_numbers_of_numpy_on_the_grid(
    backend: Backend, dtype: str, options: str
) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    case = flushed(backend, grid.of_logits(dtype, grid.OPTIONS[options], as_arrays=True))
    hold(backend, case, "none")
