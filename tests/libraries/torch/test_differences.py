"""docs/torch.md lists what differs from PyTorch, and each of it does."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests import pages

torch = pytest.importorskip("torch")
ours = pytest.importorskip("portable_bce.torch")
F = torch.nn.functional

LOGITS, PROBABILITIES = "binary_cross_entropy_with_logits", "binary_cross_entropy"


def tensor(*values: Any, dtype: Any = torch.float32) -> Any:
    return torch.tensor(values, dtype=dtype)


def both(function: str, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
    """Return what PyTorch returns, or the error that it raises, and what we return."""
    try:
        theirs = getattr(F, function)(*arguments, **keywords)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        theirs = error
    return theirs, getattr(ours, function)(*arguments, **keywords)


def slopes(function: str, x: Any, y: Any, order: int = 1) -> list[Any]:
    """Return a derivative by the input, PyTorch's and ours."""
    found = []
    for module in (F, ours):
        x = x.detach().requires_grad_()
        value = getattr(module, function)(x, y, reduction="sum")
        for _ in range(order):
            (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        found.append(value.detach())
    return found


def infinite_logits() -> None:
    x, y = tensor(torch.inf, -torch.inf, -torch.inf), tensor(1, 0, 1)
    theirs, got = both(LOGITS, x, y, reduction="none")
    assert theirs.isnan().all()
    assert got.tolist() == [0, 0, torch.inf]


def tail_of_the_loss() -> None:
    theirs, got = both(LOGITS, tensor(-20), tensor(0))
    assert theirs == 0
    assert ulp.error(got, reference.logit_loss(-20, 0), "float32") <= contract.HARD.loss


def tail_of_the_gradient() -> None:
    theirs, got = slopes(LOGITS, tensor(17), tensor(1))
    assert theirs == 0
    assert ulp.error(got, reference.logit_grad(17, 1), "float32") <= contract.HARD.grad


def tail_of_the_hessian() -> None:
    theirs, got = slopes(LOGITS, tensor(20), tensor(1), order=2)
    assert theirs == 0
    assert ulp.error(got, reference.logit_hess(20, 1), "float32") <= contract.HARD.hess


def soft_labels_at_large_logits() -> None:
    theirs, got = both(LOGITS, tensor(-100), tensor(2.0**-23))
    exact = reference.logit_loss(-100, 2.0**-23)
    assert ulp.error(theirs, exact, "float32") > 1e6
    assert ulp.error(got, exact, "float32") <= contract.SOFT.loss


def halves() -> None:
    x = tensor(5, dtype=torch.float16)
    exact = reference.logit_loss(-5, 0)
    theirs, got = both(LOGITS, -x, 0 * x)
    assert ulp.error(theirs, exact, "float16") > 100
    assert ulp.error(got, exact, "float16") <= contract.ONCE.loss


def certain_and_wrong() -> None:
    p, y = tensor(0, 1), tensor(1, 0)
    theirs, got = both(PROBABILITIES, p, y, reduction="none")
    assert theirs.tolist() == [100, 100]
    assert got.tolist() == [torch.inf, torch.inf]
    assert ours.BCELoss(eps=1e-7)(p, y).isfinite()


def gradient_at_certainty() -> None:
    theirs, got = slopes(PROBABILITIES, tensor(1, 0, 0), tensor(1, 0, 1))
    assert theirs.tolist() == [0, 0, pytest.approx(-1e12, rel=1e-6)]
    assert got.tolist() == [-1, 1, -torch.inf]


def hessian_by_probabilities() -> None:
    x, y = tensor(0.3, dtype=torch.float64), tensor(1, dtype=torch.float64)
    theirs, got = slopes(PROBABILITIES, x, y, order=2)
    exact = reference.probability_hess(0.3, 1)
    assert ulp.error(theirs, exact, "float64") > 1e4
    assert ulp.error(got, exact, "float64") <= contract.PROBABILITY_HESS


def probabilities_outside() -> None:
    for p in (-0.5, 1.5, torch.nan):
        theirs, got = both(PROBABILITIES, tensor(p), tensor(0.5))
        assert "between 0 and 1" in str(theirs)
        assert got.isnan()


def gradient_by_weights() -> None:
    for name in ("weight", "pos_weight"):
        factor = torch.ones(2, requires_grad=True)
        theirs, got = both(LOGITS, tensor(1, 2), tensor(1, 0), **{name: factor})
        assert f"not differentiable with respect to argument '{name}'" in str(theirs)
        (slope,) = torch.autograd.grad(got, factor)
        assert slope[0] > 0


def dtype_of_the_loss() -> None:
    theirs, got = both(LOGITS, tensor(1), tensor(1, dtype=torch.float64))
    assert (theirs.dtype, got.dtype) == (torch.float64, torch.float32)
    theirs, got = both(PROBABILITIES, tensor(0.5), tensor(1, dtype=torch.float64))
    assert isinstance(theirs, RuntimeError)
    assert got.dtype == torch.float32


def other_targets() -> None:
    for function in (LOGITS, PROBABILITIES):
        wanted = getattr(F, function)(tensor(0.5), tensor(1))
        for y in (tensor(1, dtype=torch.int64), tensor(True, dtype=torch.bool), 1):
            theirs, got = both(function, tensor(0.5), y)
            assert isinstance(theirs, Exception)
            assert ulp.distance(got.numpy(), wanted.numpy()) <= 2 * contract.SOFT.loss


def reductions() -> None:
    for name in ("BCEWithLogitsLoss", "BCELoss"):
        for reduction in ("median", "elementwise_mean"):
            getattr(torch.nn, name)(reduction=reduction)  # an error, or a warning, when called
            with pytest.raises(ValueError, match="`reduction` must be"):
                getattr(ours, name)(reduction=reduction)
    theirs, got = both(LOGITS, tensor(1, 2), tensor(1, 0), reduction=None)
    assert isinstance(theirs, ValueError)
    assert got.shape == (2,)


def errors() -> None:
    x, y = torch.zeros(3), torch.zeros(3)
    for function in (LOGITS, PROBABILITIES):
        with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
            getattr(F, function)(x, y, weight=torch.ones(2, 3))
        with pytest.raises(ValueError, match="`weight` must broadcast"):
            getattr(ours, function)(x, y, weight=torch.ones(2, 3))


def scripted_modules() -> None:
    x, y = tensor(1), tensor(0)
    torch.jit.save(torch.jit.script(torch.nn.BCEWithLogitsLoss()), io.BytesIO())
    scripted = torch.jit.script(ours.BCEWithLogitsLoss())
    assert scripted(x, y) == ours.BCEWithLogitsLoss()(x, y)
    with pytest.raises(RuntimeError, match="Could not export Python function call"):
        torch.jit.save(scripted, io.BytesIO())


def exported_graphs() -> None:
    graphs = [
        torch.export.export(loss, (tensor(1), tensor(0))).graph
        for loss in (torch.nn.BCEWithLogitsLoss(), ours.BCEWithLogitsLoss())
    ]
    calls = [[one for one in graph.nodes if one.op == "call_function"] for graph in graphs]
    assert [len(calls[0]), len(calls[1]) > 1] == [1, True]


DIFFERENCES: dict[str, Callable[[], None]] = {
    "Infinite logits": infinite_logits,
    "Tail of the loss": tail_of_the_loss,
    "Tail of the gradient": tail_of_the_gradient,
    "Tail of the Hessian": tail_of_the_hessian,
    "Soft labels at large logits": soft_labels_at_large_logits,
    "Halves": halves,
    "Certain and wrong": certain_and_wrong,
    "Gradient at certainty": gradient_at_certainty,
    "Hessian with respect to probabilities": hessian_by_probabilities,
    "Probabilities outside [0, 1]": probabilities_outside,
    "Gradient with respect to weights": gradient_by_weights,
    "Dtype of the loss": dtype_of_the_loss,
    "Other targets": other_targets,
    "Reductions": reductions,
    "Errors": errors,
    "Scripted modules": scripted_modules,
    "Exported graphs": exported_graphs,
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_every_listed_difference_is_there(difference: str) -> None:
    DIFFERENCES[difference]()


def test_the_page_lists_these_differences_and_no_others() -> None:
    rows = re.findall(r"^\| \*\*(.*?)\*\* \|", pages.text("docs/torch.md"), flags=re.MULTILINE)
    assert rows == list(DIFFERENCES)
