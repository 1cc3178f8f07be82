"""The modules in a model that is trained, cast, copied, stacked and sharded, as Lightning does."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import portable_bce
from portable_bce import _contract as contract
from tests.autodiff import apart

torch = pytest.importorskip("torch")
ours = pytest.importorskip("portable_bce.torch")

X = torch.tensor([[-2.0, 0.0], [3.0, 1.0], [0.5, -1.0], [-0.25, 4.0]], dtype=torch.float64)
Y = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
POS_WEIGHT = torch.tensor([2.0, 0.5])
# Operation by operation, and by the kernels.
TWO_EVALUATIONS = 2 * contract.bounds_for("float64", weighted=True, factors=2).grad


class Classifier(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model that holds its loss, with a training step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(2, 2)
        self.criterion = ours.BCEWithLogitsLoss(pos_weight=POS_WEIGHT)

    def training_step(self, features: Any, labels: Any) -> Any:
        return self.criterion(self.linear(features), labels)


def trained(model: Any, dtype: Any, steps: int = 20) -> list[float]:
    """Return the losses of some steps of gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.training_step(X.to(dtype), Y.to(dtype))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_a_model_that_was_cast_learns(dtype: str) -> None:
    model = Classifier().to(getattr(torch, dtype))
    assert model.criterion.pos_weight.dtype == getattr(torch, dtype)
    losses = trained(model, getattr(torch, dtype))
    assert losses[-1] < losses[0]


def test_a_step_under_autocast_has_gradients_of_the_parameters_dtype() -> None:
    model = Classifier()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.training_step(X.float(), Y)
    assert loss.dtype == torch.float32
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad != 0).all()


def test_copies_of_a_model_compute_its_loss() -> None:
    model = Classifier()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = Classifier()
    trained(other, torch.float32, steps=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    for one in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(one.state_dict()) == ["linear.weight", "linear.bias", "criterion.pos_weight"]
        assert trained(one, torch.float32) == trained(copy.deepcopy(model), torch.float32)


def test_functional_calls_differentiate_with_respect_to_buffers() -> None:
    loss = ours.BCEWithLogitsLoss(pos_weight=POS_WEIGHT.double())

    def called(pos_weight: Any) -> Any:
        return torch.func.functional_call(loss, {"pos_weight": pos_weight}, (X, Y))

    got = torch.func.grad(called)(POS_WEIGHT.double())
    wanted = torch.func.grad(lambda p: portable_bce.bce_with_logits(X, Y, pos_weight=p))(
        POS_WEIGHT.double()
    )
    assert torch.equal(got, wanted)


def test_stacked_modules_are_evaluated_at_once() -> None:
    modules = [ours.BCEWithLogitsLoss(pos_weight=k * POS_WEIGHT.double()) for k in (1.0, 2.0)]
    parameters, buffers = torch.func.stack_module_state(modules)
    base = copy.deepcopy(modules[0]).to("meta")

    def called(parameters: Any, buffers: Any) -> Any:
        return torch.func.functional_call(base, (parameters, buffers), (X, Y))

    got = torch.func.vmap(called)(parameters, buffers)
    wanted = torch.stack([module(X, Y) for module in modules])
    assert apart(got.numpy(), wanted.numpy()) <= TWO_EVALUATIONS


@pytest.mark.parametrize("default", ["float16", "float64"])
def test_the_default_dtype_decides_nothing(default: str) -> None:
    before = torch.get_default_dtype()
    calls = {
        "numbers": lambda x: portable_bce.bce_with_logits(x, 1.0, weight=2.0, label_smoothing=0.1),
        "mask": lambda x: portable_bce.bce_with_logits(x, 1, where=x > 0, reduction="none"),
        "module": lambda x: ours.BCELoss(eps=1e-6)(x.sigmoid(), Y),
    }

    def results(call: Any) -> list[Any]:
        x = X.float().requires_grad_()
        value = call(x)
        _, pullback = portable_bce.bce_with_logits_vjp(x.detach(), 1)
        return [value.detach(), *torch.autograd.grad(value.sum(), x), *pullback(2.0)]

    for call in calls.values():
        wanted = results(call)
        torch.set_default_dtype(getattr(torch, default))
        try:
            got = results(call)
        finally:
            torch.set_default_dtype(before)
        assert [one.dtype for one in got] == [torch.float32] * 4
        assert all(map(torch.equal, got, wanted))


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """Return a mesh of this process alone."""
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("PyTorch was built without its distributed package")
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::FutureWarning:torch")  # of its distributed package's own
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_tensors_of_a_mesh_give_what_one_tensor_gives(mesh: Any, reduction: Any) -> None:
    """A DTensor is evaluated operation by operation, and its values are not read."""
    tensor = pytest.importorskip("torch.distributed.tensor")
    keywords = {"weight": Y + 1, "where": X < 4, "reduction": reduction}

    def results(wrap: Any) -> list[Any]:
        x = wrap(X).requires_grad_()
        given = {k: wrap(v) if isinstance(v, torch.Tensor) else v for k, v in keywords.items()}
        loss = portable_bce.bce_with_logits(x, wrap(Y), **given)
        (grad,) = torch.autograd.grad(loss.sum(), x)
        return [getattr(one, "full_tensor", lambda one=one: one)() for one in (loss, grad)]

    for placement in (tensor.Shard(0), tensor.Replicate()):
        got = results(lambda one, at=placement: tensor.distribute_tensor(one, mesh, [at]))
        for one, other in zip(got, results(lambda one: one), strict=True):
            assert apart(one.detach().numpy(), other.detach().numpy()) <= TWO_EVALUATIONS


@pytest.mark.filterwarnings("ignore::FutureWarning:torch")
def test_check_inputs_names_a_bad_value_on_a_mesh(mesh: Any) -> None:
    tensor = pytest.importorskip("torch.distributed.tensor")
    x, y = (tensor.distribute_tensor(one, mesh, [tensor.Shard(0)]) for one in (X, Y * 2))
    with pytest.raises(ValueError, match=r"5 of 8 do not, the first is 2.0 at index \(0, 1\)$"):
        portable_bce.check_inputs(x, y)
