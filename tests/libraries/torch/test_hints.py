"""What an error about a tensor tells its reader to do, done literally, mends the call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import portable_bce

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors"),
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]
# What hints say in words, as a reader would write it.
IN_WORDS: dict[str, str] = {
    "Convert it, for example to float32": "{name}.to(torch.float32)",
    "Take its real part": "{name}.real",
    "Move one of them": "{name}.to(logits.device)",
    "Leave it out": "None",
}
X = torch.tensor([[0.0, -1.0, 2.0, 1.0], [3.0, 0.5, -2.0, 0.0]])
Y = (X > 0).float()


def nested(x: Any) -> Any:
    return torch.nested.nested_tensor(list(x))


# name -> the arguments that are not right, and how many errors lead to the mend
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "integer logits": ({"logits": X.int()}, 1),
    "complex logits": ({"logits": X.cfloat()}, 1),
    "logits in a list": ({"logits": X.tolist()}, 2),
    "complex labels": ({"targets": Y.cfloat()}, 1),
    "labels in a list": ({"targets": Y.tolist()}, 1),
    "labels of NumPy": ({"targets": Y.numpy()}, 1),
    "labels of NumPy in float16": ({"targets": Y.half().numpy()}, 1),
    "labels without an axis": ({"logits": X[:, :1], "targets": Y[:, 0]}, 1),
    "labels with an axis": ({"logits": X[:, 0], "targets": Y[:, :1]}, 1),
    "one label": ({"targets": Y[0, 0]}, 1),
    "weights of rows": ({"weight": Y[:, 0]}, 1),
    "weights of NumPy": ({"weight": Y.numpy()}, 1),
    "complex weights": ({"weight": Y.cfloat()}, 1),
    "a mask of numbers": ({"where": Y}, 1),
    "a mask of NumPy": ({"where": Y.numpy() > 0}, 1),
    "a mask that is a number": ({"where": True}, 1),
    "a mask in a list": ({"where": (Y > 0).tolist()}, 1),
    "sparse labels": ({"targets": Y.to_sparse}, 1),
    "sparse logits": ({"logits": X.to_sparse_csr}, 1),
    "sparse weights": ({"weight": Y.to_sparse_csc}, 1),
    "a sparse mask": ({"where": (Y > 0).to_sparse}, 1),
    "labels of oneDNN": ({"targets": Y.to_mkldnn}, 1),
    "quantized logits": ({"logits": lambda: torch.quantize_per_tensor(X, 0.5, 0, torch.qint8)}, 1),
    "quantized labels": ({"targets": lambda: torch.quantize_per_tensor(Y, 1, 0, torch.quint8)}, 1),
    "masked logits": ({"logits": lambda: torch.masked.masked_tensor(X, Y > 0)}, 1),
    "masked labels": ({"targets": lambda: torch.masked.masked_tensor(Y, Y > 0)}, 1),
    "nested logits": ({"logits": lambda: nested(X), "targets": 1.0}, 1),
    "nested logits and labels": (
        {"logits": lambda: nested(X), "targets": lambda: nested(Y)},
        3,
    ),
    "nested weights": (
        {"logits": lambda: nested(X), "targets": 1.0, "weight": lambda: nested(Y)},
        3,
    ),
}


def literal(message: str, arguments: dict[str, Any]) -> None:
    """Do what an error's last sentence says."""
    match = re.match(r"`(\w+)` must", message)
    assert match, message
    name = match.group(1)
    code = re.search(r"[Uu]se `(.*?)`(?: and `where=(.*?)`)?", message)
    if code:
        hints = {"where": code.group(2), name: code.group(1)}
    else:
        words = next(words for words in IN_WORDS if words in message)
        hints = {name: IN_WORDS[words].format(name=name)}
    scope = {"torch": torch, "numpy": numpy, **arguments}
    for key, hint in hints.items():
        if hint:
            arguments[key] = eval(hint, scope)


def mend(function: Callable[..., Any], arguments: dict[str, Any]) -> int:
    """Follow hints until a call succeeds; return how many it took."""
    for steps in range(5):
        try:
            function(**arguments)
        except (TypeError, ValueError) as error:  # ours
            literal(str(error), arguments)
        else:
            return steps
    raise AssertionError("hints lead in a circle")


@pytest.mark.parametrize("case", CASES)
def test_a_hint_followed_literally_mends_the_call(case: str) -> None:
    wrong, steps = CASES[case]
    arguments = {
        name: value() if callable(value) else value
        for name, value in {"logits": X, "targets": Y, **wrong}.items()
    }
    assert mend(portable_bce.bce_with_logits, arguments) == steps
