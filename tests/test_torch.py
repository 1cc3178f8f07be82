"""PyTorch's own runner gives what plain operations give, and is one node of the graph."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _evaluate
from portable_bce._reduction import library_total
from portable_bce._runners.plain import Plain
from portable_bce.testing import ulp
from portable_bce.testing.strategies import arrays, logits, targets, weights
from tests.autodiff import apart

torch = pytest.importorskip("torch")

# Each of two results is within its bound of the exact one, soft, weighted and smoothed.
TWO_EVALUATIONS = 2 * (contract.SOFT.hess + 2 * contract.PER_FACTOR + contract.WEIGHT)
SHAPES = [(), (0,), (1,), (40,), (7, 9), (4, 3, 5)]


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, Any, dict[str, Any]]:
    """Draw logits, targets and keywords, in any layout."""
    dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
    shape = draw(st.sampled_from(SHAPES))

    def tensor(elements: Any, dtype: str = dtype) -> Any:
        values = torch.asarray(draw(arrays(elements, shape, dtype)))
        layout = draw(st.sampled_from(["dense", "every second", "transposed"]))
        if layout == "every second":
            return torch.stack([values, values], dim=-1)[..., 0]
        return values.mT.contiguous().mT if layout == "transposed" and len(shape) > 1 else values

    keywords: dict[str, Any] = {"label_smoothing": draw(st.sampled_from([0.0, 0.1]))}
    for factor in ("weight", "pos_weight"):
        whole = tensor(weights())
        keywords[factor] = draw(st.sampled_from([None, None, 0.75, whole]))
    mask = tensor(st.sampled_from([0.0, 1.0])) > 0
    keywords["where"] = draw(st.sampled_from([None, mask]))
    keywords["reduction"] = draw(st.sampled_from(["none", "sum", "mean", "weighted_mean"]))
    if keywords["reduction"] != "none" and shape:
        keywords["axis"] = draw(st.sampled_from([None, None, 0, -1]))
    y = draw(st.sampled_from([0.25, tensor(targets()), tensor(targets()) > 0.5]))
    return tensor(logits(dtype)), y, keywords


def derivatives(x: Any, y: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the loss, and what autograd makes of it once and twice, as arrays of NumPy."""
    x = x.detach().requires_grad_()
    loss = portable_bce.bce_with_logits(x, y, **keywords)
    cotangent = torch.linspace(1, 2, max(loss.numel(), 1), dtype=loss.dtype)
    cotangent = cotangent[: loss.numel()].reshape(loss.shape)
    (once,) = torch.autograd.grad(loss, x, cotangent, retain_graph=True)
    (grad,) = torch.autograd.grad(loss, x, cotangent, create_graph=True)
    (twice,) = torch.autograd.grad(grad.sum(), x)
    found = {"value": loss, "once": once, "again": grad, "twice": twice}
    return {name: one.detach().numpy() for name, one in found.items()}


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(calls())
def test_tensors_give_what_plain_operations_give(call: tuple[Any, Any, dict[str, Any]]) -> None:
    x, y, keywords = call

    def everything() -> dict[str, Any]:
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
        _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
        found = {"loss": loss.numpy(), "grad": grad.numpy(), "hess": hess.numpy()}
        return found | derivatives(x, y, keywords)

    ours = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_evaluate, "_torch", lambda: Plain(library_total))
        expected = everything()
    for name, wanted in expected.items():
        curvature = expected.get({"grad": "hess", "once": "twice", "again": "twice"}.get(name), 0)
        assert apart(ours[name], wanted, curvature) <= TWO_EVALUATIONS, name


def test_the_graph_holds_one_node() -> None:
    x = torch.zeros(9, requires_grad=True)
    loss = portable_bce.bce_with_logits(x, 1, weight=torch.ones(9), pos_weight=2.0)
    ((node, _),) = [one for one in loss.grad_fn.next_functions if one[0] is not None]
    assert node.variable is x


@pytest.mark.parametrize("name", ["targets", "weight", "pos_weight"])
def test_what_else_requires_a_gradient_gets_one(name: str) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    others = {
        "targets": torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64),
        "weight": torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64),
        "pos_weight": torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64),
    }
    others[name].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, one: portable_bce.bce_with_logits(x, **(others | {name: one})), (x, others[name])
    )
    assert torch.autograd.gradgradcheck(
        lambda x, one: portable_bce.bce_with_logits(x, **(others | {name: one})), (x, others[name])
    )


def test_a_tensor_changed_before_the_second_derivative_is_an_error() -> None:
    x, y = torch.zeros(3, requires_grad=True), torch.zeros(3)
    loss = portable_bce.bce_with_logits(x, y)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_gradient_in_the_callers_hands_is_not_the_one_that_is_saved() -> None:
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    loss = portable_bce.bce_with_logits(x, 1)
    (kept,) = torch.autograd.grad(loss, x, retain_graph=True)
    wanted = kept.clone()
    kept *= 7
    loss.backward(retain_graph=True)
    assert torch.equal(x.grad, wanted)
    loss.backward()
    assert torch.equal(x.grad, 2 * wanted)


@pytest.mark.parametrize("cotangent", [1.0, -0.5, math.inf])
def test_gradient_is_in_proportion_to_the_cotangent(cotangent: float) -> None:
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    _, slope = portable_bce.bce_with_logits_value_and_grad(x.detach(), 1)
    loss = portable_bce.bce_with_logits(x, 1)
    loss.backward(torch.tensor(cotangent, dtype=torch.float64))
    assert torch.equal(x.grad, cotangent * slope)


def test_an_infinite_cotangent_does_not_reach_what_is_masked() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    loss = portable_bce.bce_with_logits(x, 1, where=torch.tensor([True, False]))
    loss.backward(torch.tensor(math.inf))
    assert x.grad.tolist() == [-math.inf, 0]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_masked_sum_is_that_of_what_is_kept(reduction: Any) -> None:
    x = torch.linspace(-3, 3, 2**18)
    mask = torch.arange(len(x)) % 3 > 0
    got = portable_bce.bce_with_logits(x, 1, where=mask, reduction=reduction)
    wanted = portable_bce.bce_with_logits(x[mask], 1, reduction=reduction)
    assert ulp.distance(got.numpy(), wanted.numpy()) <= contract.SUM


def test_a_loss_scale_saves_gradients_of_halves() -> None:
    x = torch.full((2**17,), -3.0, dtype=torch.float16, requires_grad=True)
    (portable_bce.bce_with_logits(x, 0) * 2.0**14).backward()
    exact = 2.0**14 / 2**17 / (1 + math.exp(3))
    assert ulp.error(x.grad[0].item(), exact, "float16") <= contract.ONCE.grad


def compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compile without a break, as far as that goes without a C++ compiler."""
    found: Callable[[Any], Any] = torch.compile(function, fullgraph=True, backend="aot_eager")
    return found


def watched_by() -> dict[str, Callable[[Callable[[Any], Any], Any], Any]]:
    """Return gradients of a sum, by everything of PyTorch's that looks on."""
    forward = torch.autograd.forward_ad

    def backward(loss: Callable[[Any], Any], x: Any) -> Any:
        return torch.autograd.grad(loss(x), x)[0]

    def dual(loss: Callable[[Any], Any], x: Any) -> Any:
        with forward.dual_level():
            each = [
                forward.unpack_dual(loss(forward.make_dual(x, one))).tangent
                for one in torch.eye(len(x), dtype=x.dtype)
            ]
        return torch.stack(each)

    def subclass(loss: Callable[[Any], Any], x: Any) -> Any:
        class Own(torch.Tensor):  # type: ignore[misc, name-defined]
            pass

        own = x.detach().as_subclass(Own).requires_grad_()
        return backward(loss, own).as_subclass(torch.Tensor)

    return {
        "backward": backward,
        "parameter": lambda loss, x: backward(loss, torch.nn.Parameter(x.detach())),
        "func.grad": lambda loss, x: torch.func.grad(loss)(x.detach()),
        "func.jacrev": lambda loss, x: torch.func.jacrev(loss)(x.detach()),
        "func.jacfwd": lambda loss, x: torch.func.jacfwd(loss)(x.detach()),
        "vmap": lambda loss, x: torch.func.vmap(torch.func.grad(loss))(x.detach()[:, None])[:, 0],
        "forward": dual,
        "subclass": subclass,
        "checkpoint": lambda loss, x: backward(
            lambda x: torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=False), x
        ),
        "make_fx": lambda loss, x: torch.fx.experimental.proxy_tensor.make_fx(
            lambda x: backward(loss, x)
        )(x)(x),
        "compile": lambda loss, x: backward(compiled(loss), x),
        "compile of func.grad": lambda loss, x: compiled(torch.func.grad(loss))(x.detach()),
    }


@pytest.mark.parametrize("how", watched_by())
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_whatever_looks_on_finds_the_gradient(how: str) -> None:
    x = torch.tensor([-40.0, -1.0, 0.0, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    wanted = portable_bce.bce_with_logits_value_and_grad(x.detach(), 1, reduction="sum")[1]
    got = watched_by()[how](lambda x: portable_bce.bce_with_logits(x, 1, reduction="sum"), x)
    assert apart(got.detach().numpy(), wanted.numpy(), 0) <= TWO_EVALUATIONS


def test_fake_tensors_need_no_values() -> None:
    fake = importlib.import_module("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        loss = portable_bce.bce_with_logits(torch.zeros(3, requires_grad=True), torch.zeros(3))
    assert loss.shape == ()


def test_a_tensor_of_another_type_is_not_looked_at() -> None:
    """Its values may be on other machines, as a DTensor's are."""

    class Own(torch.Tensor):  # type: ignore[misc, name-defined]
        def item(self) -> Any:
            raise AssertionError

    x = torch.zeros(3).as_subclass(Own).requires_grad_()
    portable_bce.bce_with_logits(x, 1).backward()
    assert torch.equal(x.grad.as_subclass(torch.Tensor), torch.full((3,), -0.5) / 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_losses_keep_every_keyword() -> None:
    x = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
    keywords: dict[str, Any] = {
        "weight": torch.linspace(0, 1, 4),
        "pos_weight": 2.0,
        "label_smoothing": 0.1,
        "where": x.detach() < 2,
    }
    for reduction in ("none", "sum", "mean", "weighted_mean"):

        def loss(x: Any, reduction: Any = reduction) -> Any:
            return portable_bce.bce_with_logits(x, 1, reduction=reduction, **keywords).sum()

        wanted = torch.autograd.grad(loss(x), x)[0].numpy()
        got = torch.autograd.grad(compiled(loss)(x), x)[0].numpy()
        assert apart(got, wanted, 0) <= TWO_EVALUATIONS
