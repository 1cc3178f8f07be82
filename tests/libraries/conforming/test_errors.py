"""What no library of the list may be given is refused before any work, in the same words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from tests.libraries.conforming.libraries import Library

ROW = np.zeros(8, np.float32)
# What the namespace of a library's arrays is called, where its name is another.
NAMESPACES = {"mlx": "mlx.core", "onnx": "ndonnx", "sparse.COO": "sparse"}


def message(library: Library, **given: Any) -> str:
    """Return how a call is refused: the type of the error and its text."""
    numbers = {name: given.pop(name) for name in ("reduction", "label_smoothing") if name in given}
    with pytest.raises((TypeError, ValueError)) as caught:
        library.run(lambda **arrays: portable_bce.bce_with_logits(**arrays, **numbers), **given)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_integer_logits_are_refused(library: Library) -> None:
    got = message(library, logits=np.zeros(8, np.int64), targets=1.0)
    assert got.startswith("TypeError: `logits` must have a real floating dtype; got ")
    assert got.endswith(". Convert it, for example to float32")


def test_targets_of_another_shape_are_refused(library: Library) -> None:
    if library.name == "onnx":
        pytest.skip("the lengths of its axes are open")
    assert message(library, logits=ROW[:, None], targets=ROW) == (
        "ValueError: `targets` must have the shape of `logits`, (8, 1); got (8,). "
        "Use `targets[:, None]`"
    )


def test_weight_that_would_expand_the_logits_is_refused(library: Library) -> None:
    got = message(library, logits=ROW, targets=1.0, weight=ROW[None])
    assert got.startswith("ValueError: `weight` must broadcast to the shape of `logits`, (")


def test_mask_that_is_no_bool_is_refused(library: Library) -> None:
    got = message(library, logits=ROW, targets=1.0, where=ROW)
    assert got.startswith("TypeError: `where` must have a bool dtype; got ")
    assert got.endswith(". Use `where != 0`")


def test_targets_left_in_numpy_are_refused(library: Library) -> None:
    name = NAMESPACES.get(library.name, library.name)
    with pytest.raises(TypeError) as caught:
        library.run(lambda logits: portable_bce.bce_with_logits(logits, ROW), logits=ROW)
    assert str(caught.value) == (
        f"`targets` must be a Python scalar or an array of the library of `logits`, {name}; got "
        f"numpy.ndarray. Use `{name}.asarray(targets)`"
    )


def test_check_inputs_finds_a_target_outside_its_range(library: Library) -> None:
    if library.name == "onnx":
        pytest.skip("it has no values yet")
    targets = np.asarray([0, 1, 2, 1, 0, 0, 1, 1])
    error: type[Exception] = ValueError
    wanted = "1 of 8 do not, the first is 2 at index"
    if library.name == "sparse.COO":
        error, wanted = AttributeError, "the library must have `arange` of the array API standard"
    with pytest.raises(error, match=wanted):
        portable_bce.check_inputs(library.of(ROW), library.of(targets))
    portable_bce.check_inputs(library.of(ROW), library.of(targets % 2))
