"""Anybody's loss with its keywords, called as a caller would."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeAlias

import numpy as np

from portable_bce._contract import Bounds
from portable_bce.testing._law import FailureError, Law, Trial, told
from portable_bce.testing._library import Library, Values

# (function of logits that returns a number, logits) -> its gradient
Autodiff: TypeAlias = Callable[[Callable[[Any], Any], Any], Any]
# logits, targets and keywords, as arrays of the library
Passed: TypeAlias = tuple[Any, Any, dict[str, Any]]

KEYWORDS = ("reduction", "weight", "pos_weight", "where", "label_smoothing")
REDUCTIONS = ("none", "sum", "mean")
# Where libraries rightly differ. The first of each is taken if nothing is said.
CONVENTIONS = {
    "reduction": REDUCTIONS,  # of a loss that has no such keyword
    "mean_divides_by": ("elements", "weights"),
    "masked_mean_divides_by": ("kept", "all"),
    "mean_of_nothing": ("nan", "zero"),
    "certain_and_wrong": ("infinite", "clamped"),
    "targets": ("same_shape", "broadcast"),
}
# way in which a value is computed -> what the value is, and its name in reports
WAYS = {
    "loss": ("loss", "loss"),
    "value": ("loss", "value of `value_and_grad`"),
    "value_and_grad": ("grad", "gradient of `value_and_grad`"),
    "gradient": ("grad", "gradient"),
    "autodiff": ("grad", "gradient by autodiff"),
    "hessian": ("hess", "Hessian"),
    "autodiff twice": ("hess", "Hessian by autodiff"),
}


@dataclass(frozen=True, slots=True)
class Interface:
    """A loss, what else its author gave, and what its author said of it, in one dtype."""

    library: Library
    functions: Mapping[str, Callable[..., Any]]  # by way
    autodiff: Autodiff | None = None
    is_autodiff_nested: bool = False  # whether it may be applied to its own result
    supports: frozenset[str] = frozenset()
    names: Mapping[str, Any] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(
        default_factory=lambda: {name: known[0] for name, known in CONVENTIONS.items()}
    )
    bounds: Bounds | None = None
    flushes: bool = False
    dtype: str = "float32"

    def of(self, dtype: str) -> Interface:
        """Return the same in another dtype."""
        return replace(self, dtype=dtype)

    @property
    def reductions(self) -> Sequence[str]:
        """The reductions that a caller may ask for."""
        return REDUCTIONS if "reduction" in self.supports else (self.conventions["reduction"],)

    def given_for(self, law: Law) -> set[str]:
        """Return what there is of what a law may need, in the words of `Law.needs`."""
        if law._shapes is None and "none" not in self.reductions:
            return set()
        kinds = {WAYS[way][0] for way in self.ways("loss", "grad", "hess")}
        library = self.library.xp.__name__
        groups = {
            "jit": "jax" in library,
            "lazy": "dask" in library,
            "weights": not self.supports.isdisjoint(("weight", "pos_weight")),
            "factors": not self.supports.isdisjoint(("weight", "pos_weight", "where")),
        }
        calls = {name for name, is_given in groups.items() if is_given}
        return {*self.supports, *self.reductions, *kinds, *calls}

    def ways(self, *kinds: str) -> list[str]:
        """Return the ways in which losses, gradients or Hessians are computed."""
        has = dict.fromkeys(self.functions, True) | {
            "value": "value_and_grad" in self.functions,
            "autodiff": self.autodiff is not None,
            "autodiff twice": self.is_autodiff_nested,
        }
        return [way for way, (kind, _) in WAYS.items() if kind in kinds and has.get(way)]

    def array(self, value: Any) -> Any:
        """Return a new array of the library for one of NumPy, and anything else as it is."""
        if not isinstance(value, np.ndarray | np.generic):
            return value
        if value.dtype.kind in "biu":
            return self.library.xp.asarray(value.copy())
        return self.library.array(np.asarray(value), self.dtype)

    def run(self, way: str, logits: Any, targets: Any, keywords: Mapping[str, Any]) -> Any:
        """Call the implementation with arrays of the library."""
        if way in ("autodiff", "autodiff twice"):
            return self._differentiated(way, logits, targets, keywords)
        args, named = self.placed(logits, targets, keywords)
        with np.errstate(all="ignore"):
            result = self.functions["value_and_grad" if way == "value" else way](*args, **named)
        return result[way == "value_and_grad"] if way.startswith("value") else result

    def placed(
        self, logits: Any, targets: Any, keywords: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return positional arguments and keywords, as the implementation's author names them."""
        asked = dict(keywords)
        if "reduction" not in self.supports:
            asked.pop("reduction", None)
        elif "reduction" in asked:
            asked["reduction"] = self.names.get(asked["reduction"], asked["reduction"])
        by_name = {self.names.get(name, name): value for name, value in asked.items()}
        by_position: dict[int, Any] = {}
        arrays = {"logits": logits, "targets": targets}
        for name, value in sorted(arrays.items(), key=lambda item: item[0] not in self.names):
            key = self.names.get(name, next(i for i in count() if i not in by_position))
            (by_position if isinstance(key, int) else by_name)[key] = value
        return [by_position[i] for i in sorted(by_position)], by_name

    def _differentiated(
        self, way: str, logits: Any, targets: Any, keywords: Mapping[str, Any]
    ) -> Any:
        differentiate, xp = self.autodiff, self.library.xp
        assert differentiate is not None

        def total(x: Any) -> Any:
            loss = self.run("loss", x, targets, keywords)
            return xp.sum(loss) if keywords.get("reduction", "none") == "none" else loss

        if way == "autodiff":
            return differentiate(total, logits)
        return differentiate(lambda x: xp.sum(differentiate(total, x)), logits)

    def arrays(self, x: Any, y: Any, keywords: Mapping[str, Any]) -> Passed:
        """Return new arrays of the library of what a caller passes."""
        given = {name: self.array(value) for name, value in keywords.items()}
        return self.array(x), self.array(y), given

    def call(
        self, way: str, x: Any, y: Any, keywords: Mapping[str, Any], passed: Passed | None = None
    ) -> Any:
        """Return what is returned for these values, by new arrays or by those passed."""
        try:
            return self.run(way, *(passed or self.arrays(x, y, keywords)))
        except Exception as error:
            required = f"a {WAYS[way][1]}, no exception"
            raise FailureError(x, y, told(error), required, **keywords) from error

    def values(self, way: str, x: Any, y: Any, **keywords: Any) -> Values:
        """Return the values of what is returned, and require the shape that it has to have."""
        kind, word = WAYS[way]
        result = self.call(way, x, y, keywords)
        try:
            values = self.library.values(result)
        except Exception as error:
            got = f"{type(result).__name__}, which is no array"
            raise FailureError(x, y, got, f"an array of the {word}", **keywords) from error
        is_reduced = kind == "loss" and keywords.get("reduction", "none") != "none"
        shape = () if is_reduced else np.shape(x)
        if values.shape != shape:
            got = f"{word} of shape {values.shape}"
            raise FailureError(x, y, got, f"shape {shape}", **keywords)
        return values

    def elementwise(self) -> Trial:
        """Return what the laws of one value per element are tried on."""
        ways = {kind: self.ways(kind)[:1] for kind in ("loss", "grad", "hess")}

        def function(way: str) -> Callable[[Any, Any], Any]:
            return lambda x, y: self.run(way, x, y, {"reduction": "none"})

        functions = {kind: function(way) for kind, found in ways.items() for way in found}
        return Trial(self.library, functions, self.dtype, self.bounds, self.flushes)


def named_autodiff(name: str) -> Autodiff:
    """Return how PyTorch or JAX differentiates."""
    if name == "jax":
        jax = importlib.import_module("jax")
        return lambda function, logits: jax.grad(function)(logits)
    torch = importlib.import_module("torch")

    def differentiated(function: Callable[[Any], Any], logits: Any) -> Any:
        if not logits.requires_grad:
            logits = logits.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(logits), logits, create_graph=True)
        return slope

    return differentiated
