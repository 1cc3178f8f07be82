"""Types of what is passed and returned, for the type checkers of those who call us.

The array API standard has no type for arrays yet (https://github.com/data-apis/array-api-typing),
so here an array is what has a dtype and a shape. The first argument decides: the results have its
type, `torch.Tensor` for `torch.Tensor`, ``ndarray`` of the same dtype for ``ndarray``. Libraries,
dtypes and shapes are checked when a function is called, not by the type checker.

A reduced loss has the type of the logits too, as in the standard, where a sum is an array without
dimensions. On NumPy it is a scalar of that dtype (``np.float32``), which has an ``ndarray``'s
attributes and methods but cannot be indexed, and a sum over an axis has fewer dimensions than a
shape type says. NumPy's own stubs answer Any there; that would leave the most common result of
all unchecked, and the exact answer takes an overload for each reduction of each function.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload


class Array(Protocol):
    """An array of any library of the array API standard."""

    @property
    def dtype(self) -> Any:
        """Type of the elements."""

    @property
    def shape(self) -> Any:
        """Lengths, which may be unknown."""

    @property
    def ndim(self) -> Any:
        """Number of dimensions."""


# An array, or one Python number for all elements.
ArrayOrScalar: TypeAlias = Array | float
# A dtype of the library of the arrays. The standard gives them nothing but `==`, which a string
# has too, so no type would accept the one and not the other.
DType: TypeAlias = Any


class Dataset(Protocol):
    """A dataset of XGBoost or LightGBM."""

    def get_label(self) -> Any:
        """Return the labels."""

    def get_weight(self) -> Any:
        """Return the sample weights, if there are any."""


# The array that was passed first, and so those returned.
ArrayT = TypeVar("ArrayT", bound=Array)
_ArrayT_co = TypeVar("_ArrayT_co", bound=Array, covariant=True)


class Pullback(Protocol[_ArrayT_co]):
    """Cotangent of the loss to gradients with respect to the first argument and the targets.

    The gradient with respect to the targets has their shape, and their dtype if that is
    floating. It is None if ``targets`` is false.
    """

    @overload
    def __call__(
        self, cotangent: ArrayOrScalar = 1.0, *, targets: Literal[True] = True
    ) -> tuple[_ArrayT_co, _ArrayT_co]: ...
    @overload
    def __call__(
        self, cotangent: ArrayOrScalar = 1.0, *, targets: Literal[False]
    ) -> tuple[_ArrayT_co, None]: ...
    @overload
    def __call__(
        self, cotangent: ArrayOrScalar = 1.0, *, targets: bool
    ) -> tuple[_ArrayT_co, _ArrayT_co | None]: ...
