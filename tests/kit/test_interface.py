"""Implementations that are right keep the laws of the interface, and pytest runs them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce._commands.machine import open_backend
from portable_bce.testing import INTERFACE_LAWS, LAWS, Bounds, check_interface, laws_for


def jax_grad(function: Any, logits: Any) -> Any:
    return importlib.import_module("jax").grad(function)(logits)


# module -> the dtypes that are tried, how it differentiates, and the law that it has no use for
LIBRARIES: dict[str, tuple[tuple[str, ...], Any, set[str]]] = {
    "numpy": (("float16", "float32", "float64"), None, {"compiled", "lazy"}),
    "torch": (("bfloat16", "float32", "float64"), "torch", {"compiled", "lazy"}),
    "jax.numpy": (("float32",), jax_grad, {"lazy"}),
    "dask.array": (("float64",), None, {"compiled"}),
    "array_api_strict": (("float32", "float64"), None, {"compiled", "lazy"}),
}


def value_and_grad(logits: Any, targets: Any, **keywords: Any) -> Any:
    return portable_bce.bce_with_logits_value_and_grad(logits, targets, **keywords)


def hessian(logits: Any, targets: Any, **keywords: Any) -> Any:
    return portable_bce.bce_with_logits_grad_and_hess(logits, targets, **keywords)[1]


@pytest.mark.parametrize("name", LIBRARIES)
def test_ours_keeps_every_law(name: str) -> None:
    pytest.importorskip(name.partition(".")[0])
    dtypes, autodiff, no_use = LIBRARIES[name]
    is_jax = name == "jax.numpy"
    with open_backend("jax") if is_jax else nullcontext():
        report = check_interface(
            portable_bce.bce_with_logits,
            xp=importlib.import_module(name),
            dtypes=dtypes,
            # JAX compiles each operation in each shape: the gradients are those of autodiff alone
            value_and_grad=None if is_jax else value_and_grad,
            hessian=hessian,
            autodiff=autodiff,
            laws=INTERFACE_LAWS,
            examples=2,
            flushes_subnormals=is_jax,
        )
    report.raise_if_broken()
    assert {law.name.partition("_")[0] for law in report.skipped} == no_use


def naive(logits: Any, targets: Any, weight: Any = 1.0, reduction: str = "mean") -> Any:
    """Return what a textbook says: right in float64, in the bulk."""
    if logits.dtype.kind != "f":
        raise TypeError("logits must be floats")
    if np.shape(targets) not in ((), logits.shape):
        raise ValueError("targets must have the shape of logits")
    if np.broadcast_shapes(logits.shape, np.shape(weight)) != logits.shape:
        raise ValueError("weight must broadcast to logits")
    losses = weight * (np.log(1 + np.exp(logits)) - targets * logits)
    reduce: Any = {"none": np.asarray, "sum": np.sum, "mean": mean}[reduction]
    return np.asarray(reduce(losses))


def mean(losses: Any) -> Any:
    return np.sum(losses) / losses.size if losses.size else np.float64(np.nan)


def test_naive_loss_in_float64_is_right_in_the_bulk_within_wide_bounds() -> None:
    of_tails = {"loss_keeps_its_digits_in_the_tail", "infinite_logits_have_the_loss_agreed"}
    report = check_interface(
        naive,
        xp=np,
        dtypes=["float64"],
        supports=["reduction", "weight"],
        laws=[law for law in INTERFACE_LAWS if law.name not in of_tails],
        bounds=Bounds(loss=1e6, grad=1e6, hess=1e6),
        examples=20,
    )
    report.raise_if_broken()
    assert len(report.passed) > 20


def test_pytorch_in_float64_is_right_in_the_bulk() -> None:
    """What it breaks is in the tails and at infinity, and that its weights are tensors."""
    torch = pytest.importorskip("torch")
    report = check_interface(
        torch.nn.functional.binary_cross_entropy_with_logits,
        xp=torch,
        dtypes=["float64"],
        autodiff="torch",
        supports=["reduction", "weight", "pos_weight"],
        bounds=Bounds(loss=100, grad=100, hess=100),
        laws=INTERFACE_LAWS,
        examples=5,
    )
    assert {one.law.name for one in report.broken} == {
        "python_scalars_count_as_arrays",
        "loss_keeps_its_digits_in_the_tail",
        "gradient_keeps_its_digits_in_the_tail",
        "hessian_keeps_its_digits_in_the_tail",
        "infinite_logits_have_the_loss_agreed",
    }
    assert len(report.passed) > 30


TESTED = """
import numpy as np
from portable_bce.testing import laws_for


def loss(logits, targets):
    return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))


test_loss = laws_for(
    loss, xp=np, dtypes=["float64"], supports=[], examples=2,
    laws=["loss_is_never_negative", "loss_at_infinite_logits_is_its_limit"],
)
"""


def test_laws_for_is_one_test_per_law_and_dtype(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTED)
    pytest_here = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(pytest_here, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "test_loss[loss_is_never_negative-float64] PASSED" in done.stdout
    assert "test_loss[loss_at_infinite_logits_is_its_limit-float64] FAILED" in done.stdout
    assert "logits inf, targets 0.0" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_laws_for_leaves_out_what_the_loss_has_not() -> None:
    test: Any = laws_for(naive, xp=np, supports=["reduction", "weight"])
    tried = {law for law, _ in test.pytestmark[0].args[1]}
    assert {law for law in (*LAWS, *INTERFACE_LAWS) if law.needs in ("loss", "weight")} <= tried
    needed = {word for law in tried for word in law.needs.split()}
    assert needed == {"loss", "none", "sum", "mean", "reduction", "weight", "weights", "factors"}


def test_report_in_markdown_is_a_table_of_what_is_broken() -> None:
    report = check_interface(
        lambda x, y: np.abs(x) - 1,
        xp=np,
        dtypes=["float32"],
        supports=[],
        laws=["loss_is_never_negative", "sum_is_that_of_all_elements"],
        examples=2,
    )
    assert report.markdown.splitlines() == [
        "Binary cross-entropy in float32: of its laws 1 broken, 0 kept, 1 not tried.",
        "",
        "| law | dtype | example | got | required |",
        "|---|---|---|---|---|",
        "| `loss_is_never_negative` | float32 | logits 0.0, targets 0.0 | -1.0 | in [0, inf] |",
        "",
        "Not tried without `sum`: `sum_is_that_of_all_elements`.",
    ]
