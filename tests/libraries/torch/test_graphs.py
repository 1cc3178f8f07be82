"""The modules of portable_bce.torch are compiled, exported, traced and scripted as PyTorch's."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from portable_bce import _contract as contract

torch = pytest.importorskip("torch")
ours = pytest.importorskip("portable_bce.torch")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit"),
    pytest.mark.filterwarnings(
        "ignore:.*Function.> should not be instantiated"
    ),  # PyTorch's compiler does
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

# Another order of the same operations and sums: each of two results is within its bound.
TWO_EVALUATIONS = 2 * (contract.bounds_for("float64", weighted=True, factors=2).grad + contract.SUM)
WEIGHTS = torch.tensor([1.0, 3.0, 0.5])
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "none": {"reduction": "none"},
    "all": {
        "weight": WEIGHTS,
        "pos_weight": 2 * WEIGHTS,
        "label_smoothing": 0.1,
        "reduction": "weighted_mean",
        "axis": 0,
    },
}
NAMES = ["BCEWithLogitsLoss", "BCELoss"]
each_module = pytest.mark.parametrize("name", NAMES)
each_setting = pytest.mark.parametrize("setting", SETTINGS)


def given(name: str, rows: int = 4) -> tuple[Any, Any]:
    x = torch.linspace(-3, 3, 3 * rows, dtype=torch.float64).reshape(rows, 3)
    return torch.sigmoid(x) if name == "BCELoss" else x, torch.linspace(0, 1, 3 * rows).reshape(
        rows, 3
    )


def assert_near(got: Any, wanted: Any) -> None:
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    unit = torch.finfo(wanted.dtype).eps * (1 + wanted.abs())
    assert float(((got - wanted).abs() / unit).detach().max()) <= TWO_EVALUATIONS


def assert_same(one: Callable[..., Any], other: Callable[..., Any], *arguments: Any) -> None:
    """Require the same losses and, of a sum of them, the same gradients."""
    found = []
    for function in (one, other):
        x = arguments[0].detach().requires_grad_()
        loss = function(x, *arguments[1:])
        found.append((loss, torch.autograd.grad(loss.sum(), x)[0]))
    for got, wanted in zip(*found, strict=True):
        assert_near(got, wanted)


@each_module
@each_setting
def test_one_graph_holds_the_loss_whatever_the_length(name: str, setting: str) -> None:
    """A second length makes PyTorch trace again with lengths left open."""
    torch._dynamo.reset()
    loss = getattr(ours, name)(**SETTINGS[setting])
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for rows in (4, 7, 9):
        x, y = given(name, rows)
        assert_same(compiled, loss, x, y)
    assert_same(compiled, loss, x, y, y > 0.5)


@pytest.mark.parametrize("strict", [True, False])
@each_module
@each_setting
def test_exported_losses_keep_lengths_open(name: str, setting: str, strict: bool) -> None:
    """In training too, where the gradient is computed and divided with the loss."""
    loss = getattr(ours, name)(**SETTINGS[setting])
    rows = {0: torch.export.Dim("rows", min=2)}
    for training in (False, True):
        x, y = given(name)
        example = (x.requires_grad_(training), y)
        program = torch.export.export(loss, example, dynamic_shapes=(rows, rows), strict=strict)
        for length in (4, 9):
            assert_near(program.module()(*given(name, length)), loss(*given(name, length)))


@each_module
@each_setting
def test_traced_losses_are_saved_and_take_other_lengths(name: str, setting: str) -> None:
    loss = getattr(ours, name)(**SETTINGS[setting])
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(loss, given(name)), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for length in (4, 9):
        assert_same(loaded, loss, *given(name, length))


@each_module
@each_setting
def test_scripted_losses_differentiate(name: str, setting: str) -> None:
    loss = getattr(ours, name)(**SETTINGS[setting])
    scripted = torch.jit.script(loss)
    x, y = given(name)
    assert_same(scripted, loss, x, y)
    assert_same(scripted, loss, x, y, y > 0.5)
    assert_near(scripted(input=x, target=y), loss(x, y))


@each_module
def test_symbolic_traces_hold_one_node(name: str) -> None:
    loss = getattr(ours, name)(**SETTINGS["all"])
    traced = torch.fx.symbolic_trace(loss)
    calls = [one for one in traced.graph.nodes if one.op == "call_function"]
    assert [one.target for one in calls] == [
        ours.binary_cross_entropy if name == "BCELoss" else ours.binary_cross_entropy_with_logits
    ]
    assert_same(traced, loss, *given(name))


@each_module
def test_overrides_see_one_call_with_every_argument(name: str) -> None:
    seen = []

    class Spy(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if "portable_bce" in str(getattr(function, "__module__", "")):
                seen.append((function, kwargs))
            return function(*args, **(kwargs or {}))

    x, y = given(name)
    loss = getattr(ours, name)(**SETTINGS["all"])
    with Spy():
        got = loss(x, y, y > 0.5)
    assert_near(got, loss(x, y, y > 0.5))
    ((function, keywords),) = seen
    assert function.__name__.startswith("binary_cross_entropy")
    assert keywords["label_smoothing"] == 0.1
    assert (keywords["where"] == (y > 0.5)).all()


@each_module
def test_transforms_find_the_gradient(name: str) -> None:
    x, y = given(name)
    loss = getattr(ours, name)(reduction="sum", weight=WEIGHTS)
    (wanted,) = torch.autograd.grad(loss(one := x.clone().requires_grad_(), y), one)
    assert_near(torch.func.grad(loss)(x, y), wanted)
    assert_near(torch.func.vmap(torch.func.grad(loss))(x, y), wanted)
    assert_near(torch.func.jacfwd(loss)(x, y), wanted)
