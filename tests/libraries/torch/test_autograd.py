"""PyTorch's own checkers and transforms, by every argument and under every keyword."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.autodiff import apart

torch = pytest.importorskip("torch")
# Its forward mode and its compiler use what it deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit"),
    pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated"),
]

NAMES = ("logits", "targets", "weight", "pos_weight")
# Which arguments require a gradient: logits alone take the registered rule, the others none.
SELECTIONS = [*[(name,) for name in NAMES], NAMES]
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "none": {"reduction": "none"},
    "sum, smoothed": {"reduction": "sum", "label_smoothing": 0.1},
    "weighted mean": {"reduction": "weighted_mean"},
    "mean over an axis": {"axis": 0},
    "weighted mean of what is kept": {"reduction": "weighted_mean", "axis": -1, "where": True},
    "none, of what is kept": {"reduction": "none", "where": True, "label_smoothing": 0.2},
}
KEEP = torch.tensor([[True, False, True], [True, True, True]])


def operands() -> dict[str, Any]:
    return {
        "logits": torch.tensor([[-9.0, 0.0, 0.7], [2.5, -0.2, 40.0]], dtype=torch.float64),
        "targets": torch.tensor([[0.0, 1.0, 0.3], [1.0, 0.5, 0.0]], dtype=torch.float64),
        "weight": torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64),
        "pos_weight": torch.tensor([[3.0], [0.4]], dtype=torch.float64),
    }


def loss_of(settings: dict[str, Any], chosen: tuple[str, ...]) -> Callable[..., Any]:
    """Return the loss as a function of the arguments chosen, the others held."""
    given = dict(settings)
    if given.pop("where", None):
        given["where"] = KEEP

    def loss(*values: Any) -> Any:
        arguments = operands() | dict(zip(chosen, values, strict=True)) | given
        x, y = arguments.pop("logits"), arguments.pop("targets")
        return portable_bce.bce_with_logits(x, y, **arguments)

    return loss


def chosen_operands(chosen: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(operands()[name].requires_grad_() for name in chosen)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("chosen", SELECTIONS, ids="+".join)
def test_gradcheck_in_both_modes(chosen: tuple[str, ...], settings: str) -> None:
    assert torch.autograd.gradcheck(
        loss_of(SETTINGS[settings], chosen),
        chosen_operands(chosen),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("chosen", SELECTIONS, ids="+".join)
def test_gradgradcheck_forward_over_reverse_too(chosen: tuple[str, ...], settings: str) -> None:
    assert torch.autograd.gradgradcheck(
        loss_of(SETTINGS[settings], chosen),
        chosen_operands(chosen),
        check_fwd_over_rev=True,
        check_batched_grad=True,
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradgradcheck_from_probabilities(settings: str) -> None:
    given = dict(SETTINGS[settings])
    if given.pop("where", None):
        given["where"] = KEEP
    q = operands()["logits"].sigmoid().clamp(0.05, 0.95).requires_grad_()
    y = operands()["targets"].requires_grad_()
    w = operands()["weight"].requires_grad_()

    def loss(q: Any, y: Any, w: Any) -> Any:
        return portable_bce.bce(q, y, weight=w, **given)

    assert torch.autograd.gradcheck(loss, (q, y, w), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, (q, y, w), check_fwd_over_rev=True)


def hessians() -> dict[str, Callable[[Callable[[Any], Any], Any], Any]]:
    """Return the ways of PyTorch to the matrix of second derivatives."""
    functional = torch.autograd.functional
    return {
        "func.hessian": lambda loss, x: torch.func.hessian(loss)(x),
        "jacrev of jacrev": lambda loss, x: torch.func.jacrev(torch.func.jacrev(loss))(x),
        "jacfwd of jacfwd": lambda loss, x: torch.func.jacfwd(torch.func.jacfwd(loss))(x),
        "functional.hessian": functional.hessian,
        "functional.hessian, vectorized": lambda loss, x: functional.hessian(
            loss, x, vectorize=True
        ),
        "functional.hvp": lambda loss, x: torch.stack(
            [functional.hvp(loss, x, one)[1] for one in torch.eye(len(x), dtype=x.dtype)]
        ),
        "jvp of grad": lambda loss, x: torch.stack(
            [
                torch.func.jvp(torch.func.grad(loss), (x,), (one,))[1]
                for one in torch.eye(len(x), dtype=x.dtype)
            ]
        ),
    }


SPECIAL = [0.0, -0.0, -40.0, 50.0, torch.inf, -torch.inf, 1.0]


@pytest.mark.parametrize("how", hessians())
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_hessian_is_the_diagonal_that_we_return(how: str, reduction: str) -> None:
    x = torch.tensor(SPECIAL, dtype=torch.float64)
    keywords = {"pos_weight": 2.0, "reduction": reduction}
    _, wanted = portable_bce.bce_with_logits_grad_and_hess(x, 1, **keywords)
    got = hessians()[how](lambda x: portable_bce.bce_with_logits(x, 1, **keywords), x)
    shared = contract.SUM if reduction == "mean" else 0
    # A Hessian rounds each quotient twice more than a gradient.
    assert apart(got.numpy(), torch.diag(wanted).numpy()) <= 2 * contract.AUTODIFF + shared


def test_gradients_per_sample_of_a_model() -> None:
    """vmap over grad by the parameters, as for differential privacy."""
    torch.manual_seed(0)
    features, y = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])
    coefficients = torch.randn(3, dtype=torch.float64)

    def loss(coefficients: Any, row: Any, label: Any) -> Any:
        return portable_bce.bce_with_logits(row @ coefficients, label)

    got = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(coefficients, features, y)
    _, slopes = portable_bce.bce_with_logits_value_and_grad(
        features @ coefficients, y, reduction="none"
    )
    # The product of row and coefficients is summed in another order, which moves the logit.
    torch.testing.assert_close(got, slopes[:, None] * features, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_autocast_changes_nothing(dtype: str) -> None:
    """Halves are computed in float32 and rounded once, inside as outside."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    features, y = torch.randn(64, 4) * 20, torch.randint(2, (64, 1))
    with torch.autocast("cpu", getattr(torch, dtype)):
        logits = model(features)
        assert logits.dtype == getattr(torch, dtype)
        loss = portable_bce.bce_with_logits(logits, y)
        each = portable_bce.bce_with_logits(logits, y, reduction="none")
        (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
        loss.backward()
    held = logits.detach().requires_grad_()
    outside = portable_bce.bce_with_logits(held, y)
    (slope,) = torch.autograd.grad(outside, held)
    exact = portable_bce.bce_with_logits(held.double(), y, reduction="none")
    assert loss.dtype == outside.dtype == logits.dtype
    assert torch.equal(loss, outside)
    assert torch.equal(grad, slope)
    for got, wanted in zip(each.flatten(), exact.flatten(), strict=True):
        assert ulp.error(got.item(), wanted.item(), dtype) <= contract.ROUNDED_ONCE
    assert model.weight.grad.dtype == torch.float32
    assert torch.all(torch.isfinite(model.weight.grad))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_gradients_by_every_argument(name: str) -> None:
    settings = SETTINGS["none, of what is kept"]
    (value,) = chosen_operands((name,))

    def loss(one: Any) -> Any:
        return loss_of(settings, (name,))(one).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(compiled(value), value)
    (wanted,) = torch.autograd.grad(loss(value), value)
    # Compiled, it is plain operations, and what these cancel from is as large as the curvature.
    scale: Any = 0
    if name == "logits":
        scale = portable_bce.bce_with_logits_grad_and_hess(
            value.detach(),
            operands()["targets"],
            weight=operands()["weight"],
            pos_weight=operands()["pos_weight"],
            label_smoothing=settings["label_smoothing"],
            reduction="none",
        )[1].numpy()
    bound = contract.bounds_for("float64", weighted=True, factors=2).grad
    assert apart(got.numpy(), wanted.numpy(), scale) <= bound + contract.CONTRACTED
