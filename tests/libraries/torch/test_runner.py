"""PyTorch's own runner gives what plain operations give, and is one node of the graph."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _evaluate
from portable_bce._kernels import levels
from portable_bce._reduction import library_total
from portable_bce._runners.plain import Plain
from portable_bce.testing import ulp
from portable_bce.testing.strategies import arrays, logits, targets, weights
from tests.autodiff import apart
from tests.law import examples

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


@settings(deadline=None, max_examples=examples(75), suppress_health_check=list(HealthCheck))
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
    # A large weight that scales up a subnormal result scales up its rounding error, too.
    normal = torch.finfo(x.dtype if x.dtype != torch.float16 else torch.float32).tiny
    underflow = normal * largest(keywords["weight"]) * (1 + largest(keywords["pos_weight"]))
    for name, wanted in expected.items():
        curvature = expected.get({"grad": "hess", "once": "twice", "again": "twice"}.get(name), 0)
        # Plain operations overflow on the way to a result that does not: kernels compute wider.
        limit = np.finfo(wanted.dtype).max / (4 * max(x.numel(), 1))
        overflowed = np.isinf(wanted) & (np.abs(ours[name]) > limit)
        near = apart(
            ours[name],
            np.where(overflowed, ours[name], wanted),
            np.maximum(np.abs(curvature), underflow),
        )
        assert near <= TWO_EVALUATIONS, name


def largest(factor: Any) -> float:
    if factor is None:
        return 1.0
    return max(torch.as_tensor(factor).double().flatten().tolist(), default=0.0)


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

    def reentrant(loss: Callable[[Any], Any], x: Any) -> Any:
        x = x.detach().requires_grad_()
        torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=True).backward()
        return x.grad

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
        "reentrant checkpoint": reentrant,
        "make_fx": lambda loss, x: torch.fx.experimental.proxy_tensor.make_fx(
            lambda x: backward(loss, x)
        )(x)(x),
        "compile": lambda loss, x: backward(compiled(loss), x),
        "compile of func.grad": lambda loss, x: compiled(torch.func.grad(loss))(x.detach()),
    }


@pytest.mark.parametrize("how", watched_by())
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated")
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


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated")
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


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "dense": lambda x: x,
    "transposed": lambda x: x.T,
    "every second": lambda x: x[:, ::2],
    "a row for all": lambda x: x[:1].expand(4, -1),
    "unaligned": lambda x: x.flatten()[1:].reshape(-1),
    "empty": lambda x: x[:0],
    "a number": lambda x: x[0, 0],
}
compiled_only = pytest.mark.skipif(not levels, reason="the kernels were not compiled")


@compiled_only
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_have_the_bits_of_numpys_arrays(layout: str, dtype: str, reduction: Any) -> None:
    rng = np.random.default_rng(0)
    lay = LAYOUTS[layout]
    x = lay(torch.from_numpy(rng.normal(0, 9, (4, 6))).to(getattr(torch, dtype)))
    y, w = (lay(torch.from_numpy(rng.random((4, 6)))) for _ in range(2))
    mask = y > 0.2
    for labels in (y, y > 0.5, (y > 0.5).to(torch.uint8)):
        keywords = {"weight": w, "where": mask, "label_smoothing": 0.1, "reduction": reduction}
        arrays = {
            name: one.numpy() if isinstance(one, torch.Tensor) else one
            for name, one in keywords.items()
        }
        wanted = portable_bce.bce_with_logits_value_and_grad(x.numpy(), labels.numpy(), **arrays)
        got = portable_bce.bce_with_logits_value_and_grad(x, labels, **keywords)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one.numpy(), other)
        held = x.detach().requires_grad_()
        portable_bce.bce_with_logits(held, labels, **keywords).sum().backward()
        np.testing.assert_array_equal(held.grad.numpy(), wanted[1])


@compiled_only
def test_bfloat16_is_rounded_once() -> None:
    x = torch.linspace(-20, 20, 501).to(torch.bfloat16).requires_grad_()
    y = (torch.arange(501) % 7 / 7).to(torch.bfloat16)
    for reduction in ("none", "mean"):
        loss = portable_bce.bce_with_logits(x, y, reduction=reduction)
        (grad,) = torch.autograd.grad(loss.sum(), x)
        wide = x.detach().double()
        exact = portable_bce.bce_with_logits_value_and_grad(wide, y.double(), reduction=reduction)
        for got, wanted in zip((loss, grad), exact, strict=True):
            assert got.dtype == torch.bfloat16
            assert torch.equal(got, wanted.to(torch.bfloat16))


@compiled_only
def test_threads_and_flushed_subnormals_change_no_bit() -> None:
    torch.manual_seed(0)
    x = 30 * torch.randn(3, 100_003)
    x[0, :9] = -100.0  # the loss of the right label is subnormal
    y = (torch.rand_like(x) < 0.5) & (x > -99)

    def results() -> list[Any]:
        held = x.detach().requires_grad_()
        each = portable_bce.bce_with_logits(held, y, reduction="none")
        total = portable_bce.bce_with_logits(held, y)
        cotangent = torch.full_like(each, 0.7)
        grads = torch.autograd.grad(total, held)
        grads += torch.autograd.grad(each, held, cotangent)
        rows = portable_bce.bce_with_logits(x, y, axis=1)
        return [each.detach(), total.detach(), rows, *grads]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    wanted = results()
    assert torch.all(wanted[0][0, :9] > 0)
    try:
        for threads in (2, 7):
            torch.set_num_threads(threads)
            assert all(map(torch.equal, results(), wanted))
        if torch.set_flush_denormal(True):
            got = results()
            torch.set_flush_denormal(False)  # or the comparison would flush, too
            assert all(map(torch.equal, got, wanted))
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def test_a_call_leaves_storages_as_they_were() -> None:
    """`Tensor.numpy` would forbid to resize them, which some free memory by."""
    x, y, w = torch.zeros(5, requires_grad=True), torch.ones(5), torch.ones(5)
    portable_bce.bce_with_logits(x, y, weight=w).backward()
    for tensor in (x, y, w, x.grad):
        assert tensor.untyped_storage().resizable()


def test_lazily_negated_and_zero_tensors_are_right() -> None:
    x = torch.linspace(-2, 2, 5)
    negated = torch.complex(torch.zeros(5), x).conj().imag
    assert negated.is_neg()
    wanted = portable_bce.bce_with_logits(-x, 1, reduction="none")
    got = portable_bce.bce_with_logits(negated, 1, reduction="none")
    assert apart(got.numpy(), wanted.numpy()) <= TWO_EVALUATIONS
    zero = torch._efficientzerotensor(5)
    assert portable_bce.bce_with_logits(x, zero, weight=zero, reduction="sum") == 0


def test_the_default_device_is_not_where_results_lie() -> None:
    x = torch.zeros(3, requires_grad=True)
    with torch.device("meta"):
        portable_bce.bce_with_logits(x, 1).backward()
    assert x.grad.tolist() == pytest.approx([-1 / 6] * 3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_autograd_the_loss_has_no_graph(mode: Any) -> None:
    x = torch.linspace(-2, 2, 5, requires_grad=True)
    wanted = portable_bce.bce_with_logits(x, 1)
    with mode():
        got = portable_bce.bce_with_logits(x, 1)
        _, grad = portable_bce.bce_with_logits_value_and_grad(x, 1)
    assert not got.requires_grad
    assert not grad.requires_grad
    assert torch.equal(got, wanted)
    assert got.is_inference() == (mode is torch.inference_mode)


def test_saved_tensors_may_be_kept_elsewhere() -> None:
    x, w = torch.linspace(-2, 2, 5, requires_grad=True), torch.ones(5)
    kept: list[Any] = []

    def pack(tensor: Any) -> int:
        kept.append(tensor.detach().clone())
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, kept.__getitem__):
        loss = portable_bce.bce_with_logits(x, 1, weight=w)
    (grad,) = torch.autograd.grad(loss, x)
    assert torch.equal(grad, portable_bce.bce_with_logits_value_and_grad(x.detach(), 1)[1])
    assert sorted(map(len, kept)) == [5, 5, 5]  # the slope, the logits and the weight


def test_threads_of_python_differentiate_apart() -> None:
    from concurrent.futures import ThreadPoolExecutor

    xs = [torch.full((20_000,), float(number)) for number in range(8)]

    def grad(x: Any) -> Any:
        x = x.detach().requires_grad_()
        portable_bce.bce_with_logits(x, 1).backward()
        return x.grad

    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(grad, xs), map(grad, xs), strict=True):
            assert torch.equal(got, wanted)


class Losses(torch.utils.data.Dataset):  # type: ignore[misc, name-defined]
    """Losses that a worker of a DataLoader computes, in a process that was forked."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return portable_bce.bce_with_logits(torch.zeros(300_000), float(index))


@pytest.mark.skipif("fork" not in torch.multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork")  # JAX's, where a test before this one imported it
def test_call_fork_call() -> None:
    wanted = [Losses()[index] for index in range(2)]
    loader = torch.utils.data.DataLoader(
        Losses(), batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    assert all(map(torch.equal, loader, wanted))
    assert torch.equal(Losses()[1], wanted[1])
