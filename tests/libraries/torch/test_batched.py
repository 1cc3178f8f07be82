"""Derivatives of many cotangents at once are those of one cotangent after the other.

https://github.com/pytorch/functorch/issues/337, https://github.com/pytorch/pytorch/issues/49562
and 65564: a batched tensor has no value that could be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import portable_bce
from portable_bce import _contract as contract
from tests.autodiff import apart

torch = pytest.importorskip("torch")
ours = pytest.importorskip("portable_bce.torch")

jacobian = torch.autograd.functional.jacobian
X = torch.tensor([[-9.0, 0.0, 0.75], [2.5, -0.25, 4.0]], dtype=torch.float64)
Y = torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]], dtype=torch.float64)
WEIGHT = torch.tensor([0.5, 2.0, 1.0])
KEEP = torch.tensor([[True, False, True], [True, True, True]])
REDUCTIONS: dict[str, dict[str, Any]] = {
    "none": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "mean": {"reduction": "mean"},
    "weighted_mean": {"reduction": "weighted_mean", "weight": WEIGHT},
    "sum over an axis": {"reduction": "sum", "axis": 0},
    "mean over an axis": {"reduction": "mean", "axis": 1, "pos_weight": WEIGHT},
}
PLAIN_FUNCTIONS = ("sigmoid", "log_sigmoid", "softplus")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit")  # PyTorch's forward mode scripts


def losses() -> dict[str, Callable[..., Any]]:
    """Return everything that maps an input and labels to a loss or its derivatives."""

    def pulled_back(function: Any) -> Callable[..., Any]:
        def call(x: Any, y: Any, where: Any, **keywords: Any) -> Any:
            loss, pullback = function(x, y, where=where, **keywords)
            return loss, *pullback(torch.full_like(loss, 2.0))

        return call

    def called(loss: Any) -> Callable[..., Any]:
        return lambda x, y, where, **keywords: loss(**keywords)(x, y, where=where)

    functions: dict[str, Callable[..., Any]] = {}
    for name in ("bce_with_logits", "bce"):
        for suffix in ("", "_value_and_grad", "_grad_and_hess"):
            functions[name + suffix] = getattr(portable_bce, name + suffix)
        functions[f"{name}_vjp"] = pulled_back(getattr(portable_bce, f"{name}_vjp"))
    for name in ("BCEWithLogitsLoss", "BCELoss"):
        for module in (portable_bce, ours):
            functions[f"{module.__name__}.{name}"] = called(getattr(module, name))
    for name in ("binary_cross_entropy_with_logits", "binary_cross_entropy"):
        functions[f"portable_bce.torch.{name}"] = getattr(ours, name)
    return functions


def assert_same_jacobians(function: Callable[[Any], Any], x: Any, **how: Any) -> None:
    """Require the bits of derivatives that are taken one after the other."""
    batched, single = jacobian(function, x, vectorize=True, **how), jacobian(function, x)
    if not isinstance(batched, tuple):
        batched, single = (batched,), (single,)
    for got, wanted in zip(batched, single, strict=True):
        assert got.dtype == wanted.dtype
        assert torch.equal(got, wanted)


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize("where", [None, KEEP], ids=["all", "masked"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", losses())
def test_vectorized_jacobians_are_those_of_one_row_at_a_time(
    name: str, reduction: str, where: Any
) -> None:
    def function(x: Any) -> Any:
        return losses()[name](x, Y.to(x.dtype), where=where, **REDUCTIONS[reduction])

    for dtype in DTYPES:
        assert_same_jacobians(function, (X if "ogits" in name else X.sigmoid()).to(dtype))


@pytest.mark.parametrize("name", PLAIN_FUNCTIONS)
def test_vectorized_jacobians_of_functions_of_logits(name: str) -> None:
    for dtype in DTYPES:
        assert_same_jacobians(getattr(portable_bce, name), X.to(dtype))


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["targets", "weight", "pos_weight"])
def test_vectorized_jacobians_by_the_other_operands(name: str, reduction: str) -> None:
    def loss(value: Any) -> Any:
        operands = {"targets": Y, **REDUCTIONS[reduction], name: value}
        return portable_bce.bce_with_logits(X, where=KEEP, **operands)

    assert_same_jacobians(loss, Y)


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_batched_cotangents_give_the_rows_of_single_ones(reduction: str) -> None:
    """Cotangents that are not 1, which a kernel would multiply."""
    x = X.clone().requires_grad_()
    loss = portable_bce.bce_with_logits(x, Y, where=KEEP, **REDUCTIONS[reduction])
    cotangents = torch.linspace(-2, 3, 4 * loss.numel(), dtype=loss.dtype)
    cotangents = cotangents.reshape(4, *loss.shape)

    def grad(cotangent: Any, **how: Any) -> Any:
        return torch.autograd.grad(loss, x, cotangent, retain_graph=True, **how)[0]

    batched = grad(cotangents, is_grads_batched=True)
    assert torch.equal(batched, torch.stack(list(map(grad, cotangents))))


@pytest.mark.usefixtures("row")
def test_losses_of_two_columns_give_both_gradients_at_once() -> None:
    torch.manual_seed(0)
    w = torch.zeros(3, 2, requires_grad=True)
    logits = torch.randn(8, 3) @ w
    each = [portable_bce.bce_with_logits(logits[:, k], float(1 - k)) for k in range(2)]
    (batched,) = torch.autograd.grad(
        torch.stack(each), w, torch.eye(2), is_grads_batched=True, retain_graph=True
    )
    single = [torch.autograd.grad(loss, w, retain_graph=True)[0] for loss in each]
    assert torch.equal(batched, torch.stack(single))


@forward_mode
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
def test_forward_mode_gives_the_same_jacobian(name: str, reduction: str) -> None:
    def loss(x: Any) -> Any:
        hard = Y.round()  # with soft labels a gradient cancels
        return getattr(portable_bce, name)(x, hard, where=KEEP, **REDUCTIONS[reduction])

    x = X.sigmoid() if name == "bce" else X
    forward = jacobian(loss, x, vectorize=True, strategy="forward-mode")
    assert apart(forward.numpy(), jacobian(loss, x).numpy()) <= contract.AUTODIFF
