"""Jagged tensors give what their rows give; every other layout is refused in our words.

https://github.com/pytorch/pytorch/issues/89125: a jagged tensor has no number for the length of its
rows, so a mean counts them.
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

# What PyTorch says of these tensors when it makes them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors"),
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]
# Jagged tensors are evaluated operation by operation, dense ones by the kernels.
TWO_EVALUATIONS = 2 * contract.bounds_for("float64", weighted=True, factors=2).grad
REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]
KEYWORDS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "alone": lambda y, keep: {},
    "masked": lambda y, keep: {"where": keep},
    "all": lambda y, keep: {
        "weight": y + 0.5,
        "pos_weight": torch.tensor(2.0),
        "label_smoothing": 0.1,
        "where": keep,
    },
}
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
each_keyword = pytest.mark.parametrize("keywords", KEYWORDS)


def jagged(values: Any) -> Any:
    """Return rows of three and of five elements."""
    return torch.nested.nested_tensor_from_jagged(values, OFFSETS)


OFFSETS = torch.tensor([0, 3, 8])
LOGITS = torch.tensor([-20.0, 0.5, -0.3, 2.0, 0.0, 30.0, -1.0, 1.5], dtype=torch.float64)
TARGETS = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
KEEP = torch.tensor([True, True, False, True, True, True, False, True])


def flat(result: Any) -> Any:
    """Return what a jagged tensor holds, or a dense one."""
    return (result.values() if result.is_nested else result).detach().numpy()


def functions() -> dict[str, Callable[..., Any]]:
    functions: dict[str, Callable[..., Any]] = {
        name: getattr(portable_bce, name)
        for name in portable_bce.__all__
        if name.startswith("bce") and not name.endswith("vjp")
    }
    functions["pullback"] = lambda *values, **keywords: portable_bce.bce_with_logits_vjp(
        *values, **keywords
    )[1]()
    functions["module"] = lambda x, y, where=None, **keywords: ours.BCEWithLogitsLoss(**keywords)(
        x, y, where
    )
    return functions


def wrapped(wrap: Callable[[Any], Any], keywords: str) -> dict[str, Any]:
    given = KEYWORDS[keywords](TARGETS, KEEP)
    return {
        name: wrap(value) if getattr(value, "ndim", 0) else value for name, value in given.items()
    }


@each_keyword
@each_reduction
@pytest.mark.parametrize("name", functions())
def test_jagged_tensors_give_what_their_values_give(
    name: str, reduction: str, keywords: str
) -> None:
    def results(wrap: Callable[[Any], Any]) -> Any:
        x = LOGITS.sigmoid() if name in PROBABILITIES else LOGITS
        given = wrapped(wrap, keywords)
        got = functions()[name](wrap(x), wrap(TARGETS), reduction=reduction, **given)
        return got if isinstance(got, tuple) else (got,)

    for got, wanted in zip(results(jagged), results(lambda x: x), strict=True):
        assert apart(flat(got), flat(wanted)) <= TWO_EVALUATIONS


PROBABILITIES = ("bce", "bce_value_and_grad", "bce_grad_and_hess")


@each_keyword
@each_reduction
def test_jagged_tensors_are_differentiated_twice(reduction: str, keywords: str) -> None:
    def derivatives(wrap: Callable[[Any], Any]) -> list[Any]:
        x = wrap(LOGITS.clone()).requires_grad_()
        given = wrapped(wrap, keywords)
        loss = portable_bce.bce_with_logits(x, wrap(TARGETS), reduction=reduction, **given)
        (grad,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
        (hess,) = torch.autograd.grad(grad.sum(), x)
        return [flat(grad), flat(hess)]

    for got, wanted in zip(derivatives(jagged), derivatives(lambda x: x), strict=True):
        assert apart(got, wanted) <= TWO_EVALUATIONS


def test_jagged_rows_have_a_mean_each() -> None:
    _, grad = portable_bce.bce_with_logits_value_and_grad(jagged(LOGITS), jagged(TARGETS), axis=1)
    for row, got in enumerate(grad.unbind()):
        part = slice(int(OFFSETS[row]), int(OFFSETS[row + 1]))
        _, wanted = portable_bce.bce_with_logits_value_and_grad(LOGITS[part], TARGETS[part])
        assert apart(got.numpy(), wanted.numpy()) <= TWO_EVALUATIONS


def test_check_inputs_names_a_bad_value_by_row_and_position() -> None:
    bad = TARGETS.clone()
    bad[4] = -1
    with pytest.raises(ValueError, match=r"1 of 8 do not, the first is -1.0 at index \(1, 1\)$"):
        portable_bce.check_inputs(jagged(LOGITS), jagged(bad))
    portable_bce.check_inputs(jagged(LOGITS), jagged(bad), where=jagged(bad >= 0))
    weight = torch.tensor([[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"1 of 2 are not, the first is -1.0 at index \(1, 0\)$"):
        portable_bce.check_inputs(
            jagged(LOGITS), jagged(TARGETS), weight=weight, where=jagged(KEEP)
        )


def sparse(layout: str) -> Callable[[Any], Any]:
    options = {"blocksize": (1, 2)} if layout.startswith("bs") else {}
    name = "to_sparse" if layout == "coo" else f"to_sparse_{layout}"
    return lambda x: getattr(x, name)(**options)


def nested(x: Any) -> Any:
    return torch.nested.nested_tensor(list(x))


def masked(x: Any) -> Any:
    return torch.masked.masked_tensor(x, torch.ones_like(x, dtype=torch.bool))


def quantized(x: Any) -> Any:
    return torch.quantize_per_tensor(x.float(), 0.5, 0, torch.quint8)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    **{
        layout: (
            sparse(layout),
            rf"must be a dense tensor; got one of layout torch.sparse_{layout}. "
            "Use `{name}.to_dense()`",
        )
        for layout in ("coo", "csr", "csc", "bsr", "bsc")
    },
    "mkldnn": (
        lambda x: x.float().to_mkldnn(),
        "must be a dense tensor; got one of layout torch._mkldnn. Use `{name}.to_dense()`",
    ),
    "nested": (
        nested,
        "must be a dense or a jagged tensor; got a nested one of layout torch.strided. Use "
        "`torch.nested.as_nested_tensor({name}.unbind(), layout=torch.jagged)`",
    ),
    "masked": (
        masked,
        "must be a tensor without a mask of its own; got "
        "torch.masked.maskedtensor.core.MaskedTensor. Use `{name}.get_data()` and "
        "`where={name}.get_mask()`",
    ),
    "quantized": (quantized, "got torch.quint8. Use `{name}.dequantize()`"),
}


def operands() -> dict[str, Any]:
    x = torch.tensor([[0.0, -1.0, 2.0, 1.0], [3.0, 0.5, -2.0, 0.0]])
    y = (x > 0).float()
    return {"logits": x, "targets": y, "weight": y + 1, "pos_weight": y + 1, "where": y > 0}


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (layout, name)
        for layout in REFUSED
        for name in operands()
        if name != "where" or layout not in ("mkldnn", "quantized")  # which are never of bool
    ],
)
def test_other_layouts_are_refused_before_any_work(layout: str, name: str) -> None:
    change, words = REFUSED[layout]
    given = operands()
    given[name] = change(given[name])
    for call in (
        portable_bce.bce_with_logits,
        portable_bce.bce_with_logits_value_and_grad,
        portable_bce.bce_with_logits_grad_and_hess,
        portable_bce.bce_with_logits_vjp,
        portable_bce.check_inputs,
    ):
        with pytest.raises(TypeError) as raised:
            call(**given)
        assert str(raised.value).endswith(words.format(name=name))
        assert str(raised.value).startswith(f"`{name}` must ")


@pytest.mark.parametrize("layout", REFUSED)
def test_other_layouts_are_refused_of_an_argument_alone(layout: str) -> None:
    change, words = REFUSED[layout]
    x = operands()["logits"]
    for name in ("sigmoid", "log_sigmoid", "softplus"):
        with pytest.raises(TypeError) as raised:
            getattr(portable_bce, name)(change(x))
        assert str(raised.value).endswith(words.format(name="x"))
    _, pullback = portable_bce.bce_with_logits_vjp(x, 1, reduction="none")
    with pytest.raises(TypeError, match=r"^`cotangent` must "):
        pullback(change(x))
