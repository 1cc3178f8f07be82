"""Names for what is passed and returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

# An array of any library of the array API standard; the standard has no common type yet
# (https://github.com/data-apis/array-api-typing).
Array: TypeAlias = Any
# An array, or one Python number for all elements.
ArrayOrScalar: TypeAlias = Any
# A dtype object of the library of the arrays.
DType: TypeAlias = Any
# (cotangent, *, targets=True) -> (gradient by the first argument, by the targets or None)
Pullback: TypeAlias = Callable[..., tuple[Array, Array]]
