"""portable_bce.torch is PyTorch's interface, as PyTorch tests its own (its test/test_nn.py)."""

from __future__ import annotations

import copy
import inspect
import io
import itertools
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import portable_bce
from portable_bce import _contract as contract

torch = pytest.importorskip("torch")
ours = pytest.importorskip("portable_bce.torch")
native = torch.nn
F = torch.nn.functional

NAMES = ["BCEWithLogitsLoss", "BCELoss"]
FUNCTIONS = ["binary_cross_entropy_with_logits", "binary_cross_entropy"]
# PyTorch adds and subtracts terms of the size of the logit: its roundings, in ULP of their
# largest, beside ours; its derivatives multiply four factors.
ROUNDINGS = 4.0 + contract.bounds_for("float64", weighted=True, factors=1).hess


def given(name: str, shape: tuple[int, ...], dtype: Any = torch.float64) -> tuple[Any, Any]:
    """Return logits or probabilities, where PyTorch is right, and soft targets."""
    generator = torch.Generator().manual_seed(sum(shape))
    x = 4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 2
    y = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (torch.sigmoid(x) if "BCELoss" in name else x).to(dtype), y.to(dtype)


def derivatives(loss: Callable[[Any, Any], Any], x: Any, y: Any) -> list[Any]:
    """Return the loss, and its first and second derivatives by the input, elementwise."""
    x = x.detach().requires_grad_()
    value = loss(x, y)
    (grad,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (hess,) = torch.autograd.grad(grad.sum(), x)
    return [value.detach(), grad.detach(), hess]


def apart(got: Any, wanted: Any, scale: Any) -> float:
    """Return the largest distance, in ULP of the larger of the result and ``scale``."""
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    unit = torch.finfo(wanted.dtype).eps * torch.maximum(wanted.abs(), scale)
    return float(((got - wanted).abs() / unit).max())


# name of the case -> (shape, shape of the weight, shape of pos_weight)
CASES: dict[str, tuple[tuple[int, ...], Any, Any]] = {
    "no dimension": ((), (), ()),
    "one element": ((1,), None, None),
    "row": ((5,), None, None),
    "matrix": ((5, 5), None, None),
    "cube": ((5, 5, 5), None, None),
    "weight of classes": ((15, 10), (10,), None),
    "scalar weight": ((15, 10), (), None),
    "weight of one": ((5, 5), (1,), None),
    "weight of rows": ((16, 4), (16, 1), None),
    "weight of elements": ((5, 5), (5, 5), (5,)),
    "pos_weight of classes": ((64, 4), None, (4,)),
    "pos_weight with a batch axis": ((64, 4), None, (1, 4)),
    "pos_weight of channels": ((2, 3, 4, 5), (2, 1, 1, 1), (3, 1, 1)),
    "pos_weight of elements": ((2, 3, 4, 5), None, (2, 3, 4, 5)),
}


def keywords(name: str, case: str) -> dict[str, Any]:
    _, *shapes = CASES[case]
    found = {
        key: torch.linspace(0.5, 2, max(1, torch.Size(shape).numel()), dtype=torch.float64)
        for key, shape in zip(("weight", "pos_weight"), shapes, strict=True)
        if shape is not None and (key == "weight" or name != "BCELoss")
    }
    sizes = dict(zip(("weight", "pos_weight"), shapes, strict=True))
    return {key: one.reshape(sizes[key]) for key, one in found.items()}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_derivatives_are_those_of_pytorch(name: str, case: str, reduction: str) -> None:
    x, y = given(name, CASES[case][0])
    settings = {**keywords(name, case), "reduction": reduction}
    got = derivatives(getattr(ours, name)(**settings), x, y)
    wanted = derivatives(getattr(native, name)(**settings), x, y)
    # The weights are at most 2; 1 + |x|, or 1 / x and 1 / (1 - x), are what is added up.
    size = 4 * (1 / x + 1 / (1 - x) if name == "BCELoss" else 1 + x.abs())
    share = 1 / x.numel() if reduction == "mean" else 1.0
    scales = [size if reduction == "none" else share * size.sum(), share * size, share * size]
    compared = 2 if name == "BCELoss" else 3  # its Hessian is 1e-12 off: a listed difference
    for one, other, scale in list(zip(got, wanted, scales, strict=True))[:compared]:
        assert apart(one, other, scale) <= ROUNDINGS


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", NAMES)
def test_losses_of_nothing_are_those_of_pytorch(name: str, reduction: str) -> None:
    x, y = given(name, (0, 3))
    got = getattr(ours, name)(reduction=reduction)(x, y)
    torch.testing.assert_close(
        got, getattr(native, name)(reduction=reduction)(x, y), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("case", [one for one in CASES if CASES[one][2]])
def test_pos_weight_is_what_it_expands_to(case: str) -> None:
    x, y = given("logits", CASES[case][0])
    pos_weight = keywords("BCEWithLogitsLoss", case)["pos_weight"]
    got = ours.BCEWithLogitsLoss(pos_weight=pos_weight)(x, y)
    assert got == ours.BCEWithLogitsLoss(pos_weight=pos_weight.expand(x.shape))(x, y)


def test_ones_in_pos_weight_are_the_same_as_none() -> None:
    x, y = given("logits", (64, 4))
    got = ours.BCEWithLogitsLoss(pos_weight=torch.ones(64, 4).double(), reduction="none")(x, y)
    assert apart(got, ours.BCEWithLogitsLoss(reduction="none")(x, y), 1 + x.abs()) <= ROUNDINGS


@pytest.mark.parametrize("pos_weight", [None, torch.ones(3, 1)])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_gradient_at_zero_is_one_half(target: float, pos_weight: Any) -> None:
    x = torch.zeros(3, 1, requires_grad=True)
    loss = ours.BCEWithLogitsLoss(reduction="sum", pos_weight=pos_weight)
    loss(x, torch.full((3, 1), target)).backward()
    assert torch.equal(x.grad, torch.full((3, 1), 0.5 - target))


def test_large_logits_are_stable() -> None:
    x, y = torch.tensor([0.0, -120.0]), torch.tensor([0.0, 1.0])
    for pos_weight in (None, torch.ones(2)):
        loss = ours.BCEWithLogitsLoss(pos_weight=pos_weight, reduction="none")(x, y)
        assert loss[1] == 120
        assert torch.isfinite(loss).all()


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_never_negative(name: str) -> None:
    x, y = given(name, (40, 40), torch.float32)
    for target in (y, y.round()):
        assert (getattr(ours, name)(reduction="none")(x, target) >= 0).all()


@pytest.mark.parametrize("settings", ["", "weight", "pos_weight", "label_smoothing", "all"])
@pytest.mark.parametrize("name", NAMES)
def test_modules_differentiate_twice(name: str, settings: str) -> None:
    x, y = given(name, (4, 3))
    weights = torch.linspace(0.5, 2, 3, dtype=torch.float64)
    every = {"weight": weights, "pos_weight": weights, "label_smoothing": 0.1}
    chosen = {key: one for key, one in every.items() if settings in (key, "all")}
    loss = getattr(ours, name)(**chosen)
    arguments = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(loss, arguments)
    assert torch.autograd.gradgradcheck(loss, arguments)


LEGACY = [
    one
    for one in itertools.product([None, True, False], repeat=2)
    if any(value is not None for value in one)
]


def heard(call: Callable[[], Any]) -> tuple[Any, list[tuple[type, str]]]:
    """Return a result and the warnings on the way to it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    return result, [(one.category, str(one.message)) for one in found]


@pytest.mark.parametrize(("size_average", "reduce"), LEGACY)
@pytest.mark.parametrize(("name", "function"), list(zip(NAMES, FUNCTIONS, strict=True)))
def test_deprecated_arguments_warn_and_mean_what_they_do_in_pytorch(
    name: str, function: str, size_average: Any, reduce: Any
) -> None:
    x, y = given(name, (5,))
    legacy = {"size_average": size_average, "reduce": reduce, "reduction": "ignored"}
    module, said = heard(lambda: getattr(ours, name)(**legacy))
    theirs, expected = heard(lambda: getattr(native, name)(**legacy))
    assert (module.reduction, said) == (theirs.reduction, expected)
    assert said
    loss, said = heard(lambda: getattr(ours, function)(x, y, **legacy))
    other, expected = heard(lambda: getattr(F, function)(x, y, **legacy))
    assert said == expected
    assert apart(loss, other, 5 / x.abs().min()) <= ROUNDINGS


@pytest.mark.parametrize("name", [*NAMES, *FUNCTIONS, "forward"])
def test_signatures_begin_with_those_of_pytorch(name: str) -> None:
    def parameters(module: Any) -> list[tuple[str, Any]]:
        one = module.BCELoss.forward if name == "forward" else getattr(module, name)
        return [(key, value.default) for key, value in inspect.signature(one).parameters.items()]

    theirs = parameters(F if name in FUNCTIONS else native)
    assert parameters(ours)[: len(theirs)] == theirs


def buffered(module: Any, name: str) -> list[Any]:
    weight = torch.tensor([1.0, 2.0])
    settings: list[dict[str, Any]] = [{}, {"weight": weight}, {"reduction": "sum"}]
    if name == "BCEWithLogitsLoss":
        settings += [{"weight": weight, "pos_weight": 2 * weight}, {"pos_weight": weight}]
    return [getattr(module, name)(**one) for one in settings]


@pytest.mark.parametrize("name", NAMES)
def test_state_buffers_and_repr_are_those_of_pytorch(name: str) -> None:
    for one, other in zip(buffered(ours, name), buffered(native, name), strict=True):
        assert repr(one) == repr(other)
        assert isinstance(one, getattr(native, name))
        assert list(one.state_dict()) == list(other.state_dict())
        assert [key for key, _ in one.named_buffers()] == list(other.state_dict())
        for source, target in ((one, other), (other, one)):
            for buffer in target.buffers():
                buffer.zero_()
            target.load_state_dict(source.state_dict())
            assert all(map(torch.equal, source.buffers(), target.buffers()))
        for module in (one, other):
            with pytest.raises(RuntimeError, match="Unexpected key"):
                module.load_state_dict({**module.state_dict(), "more": torch.ones(1)})


@pytest.mark.parametrize("name", NAMES)
def test_copies_pickles_and_casts_keep_buffers_and_settings(name: str) -> None:
    settings = {"weight": torch.tensor([1.0, 2.0]), "label_smoothing": 0.1, "axis": 0}
    loss = getattr(ours, name)(**settings, compute_dtype=torch.float64)
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    x, y = given(name, (3, 2), torch.float32)
    same = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))]
    for one in [*same, torch.load(file, weights_only=False)]:
        assert repr(one) == repr(loss)
        assert torch.equal(one(x, y), loss(x, y))
    assert loss.to(torch.float16).weight.dtype == torch.float16
    assert loss.to("meta").weight.device.type == "meta"


def test_repr_shows_our_settings_where_they_are_in_use() -> None:
    loss = ours.BCELoss(label_smoothing=0.1, axis=(0, 1), compute_dtype=torch.float64, eps=1e-3)
    assert repr(loss) == (
        "BCELoss(label_smoothing=0.1, axis=(0, 1), compute_dtype=torch.float64, eps=0.001)"
    )


KEYWORDS: dict[str, dict[str, Any]] = {
    "label_smoothing": {"label_smoothing": 0.1},
    "weighted mean": {"reduction": "weighted_mean", "weight": torch.tensor([1.0, 3.0, 0.5])},
    "axis": {"axis": 1, "reduction": "sum"},
    "compute_dtype": {"compute_dtype": torch.float64, "reduction": "none"},
    "pos_weight": {"pos_weight": torch.tensor([1.0, 3.0, 0.5])},
    "no reduction": {"reduction": None},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", KEYWORDS)
@pytest.mark.parametrize("name", NAMES)
def test_our_keywords_mean_what_they_mean_in_our_functions(
    name: str, case: str, masked: bool
) -> None:
    x, y = given(name, (4, 3), torch.float32)
    function = portable_bce.bce if name == "BCELoss" else portable_bce.bce_with_logits
    where = y > 0.3 if masked else None
    got = getattr(ours, name)(**KEYWORDS[case])(x, y, where)
    assert torch.equal(got, function(x, y, where=where, **KEYWORDS[case]))
    if case == "compute_dtype":  # kernels compute in float64 anyway
        with pytest.raises(TypeError, match="`compute_dtype` must be at least as precise"):
            getattr(ours, name)(compute_dtype=torch.float16)(x, y, where)
    else:
        assert not torch.equal(got, function(x, y, where=where))


def test_eps_is_that_of_bce() -> None:
    x, y = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.0, 0.0, 1.0])
    got = ours.BCELoss(reduction="none", eps=1e-7)(x, y)
    assert torch.equal(got, portable_bce.bce(x, y, eps=1e-7, reduction="none"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_autocast_returns_the_dtype_that_pytorch_returns(
    name: str, enabled: bool, dtype: str
) -> None:
    x, y = given(name, (5,), getattr(torch, dtype))
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        for reduction in ("none", "mean"):
            loss = getattr(ours, name)(reduction=reduction)(x, y)
            theirs = getattr(native, name)(reduction=reduction)(x, y)
            single = enabled and dtype != "float64"  # a float64 is left alone, by us
            assert loss.dtype == (theirs.dtype if single or not enabled else torch.float64)
    loss.backward()
    assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_those_of_our_functions(name: str) -> None:
    x, y = given(name, (8, 1))
    loss = getattr(ours, name)
    with pytest.raises(ValueError, match=r"got \(8,\)\. Use `targets\[:, None\]`$"):
        loss()(x, y[:, 0])
    with pytest.raises(ValueError, match=r"^`weight` must broadcast .* without expanding it"):
        loss(weight=torch.ones(8))(x, y)
    with pytest.raises(ValueError, match=r"^`reduction` must be .*; got 'elementwise_mean'$"):
        loss(reduction="elementwise_mean")
    with pytest.raises(ValueError, match=r"^`label_smoothing` must lie in \[0, 1\]; got 2"):
        loss(label_smoothing=2)
    with pytest.raises(TypeError, match=r"^`(logits|probabilities)` must be an array .* got list"):
        loss()([0.0], y)
    with pytest.raises(TypeError, match=r"^`where` must have a bool dtype; got torch.float64"):
        loss()(x, y, where=y)


MODULE_METHODS = [
    *("cuda", "cpu", "to", "half", "state_dict", "load_state_dict", "parameters", "named_buffers"),
    *("children", "modules", "train", "eval", "forward", "zero_grad", "requires_grad_", "compile"),
]


@pytest.mark.parametrize("method", MODULE_METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_loss_objects_say_where_the_module_is(name: str, method: str) -> None:
    """`portable_bce.BCEWithLogitsLoss` has the name of PyTorch's module, and is none."""
    loss = getattr(portable_bce, name)()
    with pytest.raises(AttributeError) as raised:
        getattr(loss, method)
    assert str(raised.value) == (
        f"'{name}' object has no attribute '{method}': it is no torch.nn.Module. Use "
        f"`portable_bce.torch.{name}`"
    )
    assert not hasattr(loss, method)
    assert hasattr(getattr(ours, name)(), method)


@pytest.mark.parametrize("name", NAMES)
def test_loss_objects_do_not_take_a_mistyped_setting_for_a_module(name: str) -> None:
    loss = getattr(portable_bce, name)(weight=2.0)
    with pytest.raises(AttributeError, match=r"object has no attribute 'wieght'$"):
        loss.wieght  # noqa: B018
    assert copy.deepcopy(loss).weight == pickle.loads(pickle.dumps(loss)).weight == 2.0


MISSING = """
import sys
sys.modules["torch"] = None
try:
    import portable_bce.torch
except ImportError as error:
    print(error.name, "|", error)
"""


def test_missing_pytorch_is_an_error_that_names_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == (
        "torch | portable_bce.torch needs PyTorch, which is not installed: "
        'pip install "portable-bce[torch]"'
    )


WARNINGS = """
import warnings
warnings.simplefilter("error")
import torch.jit
for module in (torch.jit._script, torch.jit._trace, torch._jit_internal):
    module.DeprecationWarning = FutureWarning  # as PyTorch 2.14 warns of TorchScript
import portable_bce.torch
x = torch.zeros(3, requires_grad=True)
portable_bce.torch.BCEWithLogitsLoss(pos_weight=torch.ones(3))(x, torch.ones(3)).backward()
portable_bce.torch.BCELoss(eps=1e-6)(x.sigmoid(), torch.ones(3)).backward()
"""


def test_importing_and_training_never_warns_of_torchscript() -> None:
    """PyTorch 2.14 warns of `torch.jit` by a FutureWarning, which users see."""
    subprocess.run([sys.executable, "-c", WARNINGS], check=True, timeout=60)
