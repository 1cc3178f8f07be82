"""How arrays lie on eight devices, what is called on them, and what that may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SHAPE = (40, 24)  # neither is a power of two for each of 8 devices


@dataclass(frozen=True)
class Layout:
    """How an array lies on the devices.

    ``cut`` names, for each axis of the array, the axes of the mesh that cut it.
    ``sums`` is how many all-reduces XLA needs for the sum of such an array: it takes one
    for each axis of the array that is cut.
    """

    mesh: tuple[int, ...]
    cut: tuple[Any, ...]
    sums: int = 1
    automatic: bool = False
    x64: bool = False


LAYOUTS = {
    "rows": Layout((8,), ("a",)),
    "rows, x64": Layout((8,), ("a",), x64=True),
    "columns": Layout((8,), (None, "a")),
    "rows over one axis of a 2-D mesh": Layout((4, 2), ("a",)),
    "rows over both axes of a 2-D mesh": Layout((4, 2), (("a", "b"),)),
    "rows and columns": Layout((4, 2), ("a", "b"), sums=2),
    "rows and columns, automatic mesh": Layout((4, 2), ("a", "b"), sums=2, automatic=True),
    "a copy on every device": Layout((8,), (), sums=0),
}


@dataclass(frozen=True)
class Call:
    """A call, and what it may cost.

    ``given`` names arrays by keyword; ``results`` what comes back; ``moved`` how many
    numbers have to be summed over the devices.
    """

    function: str
    results: tuple[str, ...]
    moved: int
    given: tuple[tuple[str, str], ...] = ()
    reduction: str = "mean"

    @property
    def arguments(self) -> dict[str, str]:
        """The names of all arrays by keyword."""
        return {"x": "x", "y": "y", **dict(self.given)}


MASK = (("where", "where"),)
WEIGHT = (("weight", "weight"),)
BOTH = ("loss", "grad")
CALLS = {
    "loss and gradient": Call("bce_with_logits_value_and_grad", BOTH, 1),
    "gradient": Call("gradient", ("grad",), 0),
    "jax.value_and_grad": Call("value_and_grad", BOTH, 1),
    "masked loss and gradient": Call("bce_with_logits_value_and_grad", BOTH, 2, MASK),
    "weighted mean": Call(
        "bce_with_logits_value_and_grad", BOTH, 2, WEIGHT, reduction="weighted_mean"
    ),
    "class weights, a copy on every device": Call(
        "bce_with_logits_value_and_grad",
        BOTH,
        1,
        (("weight", "copied"), ("pos_weight", "copied")),
    ),
}
MORE_CALLS = {
    "gradient and Hessian": Call("bce_with_logits_grad_and_hess", ("grad", "hess"), 0),
    "loss and pullback": Call("pulled", (*BOTH, "grad_targets"), 1),
    "jax.grad": Call("grad", ("grad",), 0),
    "masked jax.value_and_grad": Call("value_and_grad", BOTH, 2, MASK),
    "masked gradient": Call("gradient", ("grad",), 1, MASK),
    "sum": Call("bce_with_logits_value_and_grad", BOTH, 1, reduction="sum"),
    "each": Call("bce_with_logits_value_and_grad", ("each", "grad"), 0, reduction="none"),
    "class weights, cut": Call(
        "bce_with_logits_value_and_grad", BOTH, 1, (("pos_weight", "columns"),)
    ),
    "probabilities": Call("bce_value_and_grad", BOTH, 1, WEIGHT),
}
ALL_CALLS = {**CALLS, **MORE_CALLS}
EVERYWHERE = [(layout, call) for layout in LAYOUTS for call in CALLS]
CASES = EVERYWHERE + [
    (layout, call) for layout in ("rows", "rows and columns") for call in MORE_CALLS
]
