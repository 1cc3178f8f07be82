"""A new library is one file and one row; a new option is one field, and nothing is forgotten."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _evaluate
from portable_bce._arguments import Arguments
from portable_bce.boosting import BinaryObjective
from tests import rows
from tests.house.docstrings import entries, sections
from tests.house.toy import RUNNER, Toy

# What `Arguments` has that no user passes by keyword.
FOUND = {"xp", "x", "targets", "result_dtype", "device"}
OPTIONS = set(Arguments._fields) - FOUND
# They tell how losses become a result, and make the Reduction.
REDUCTION = {"reduction", "axis"}
OF_PROBABILITIES = {"eps"}
LOGITS = ("", "_value_and_grad", "_grad_and_hess", "_vjp")
FUNCTIONS = {
    f"{start}{end}": options
    for start, options in (("bce_with_logits", OPTIONS - OF_PROBABILITIES), ("bce", OPTIONS))
    for end in LOGITS
}
X, Y = np.asarray([[0.5, -30.0], [40.0, 2.0]]), np.asarray([[1.0, 0.0], [1.0, 0.25]])
KEYWORDS: list[dict[str, Any]] = [
    {},
    {"reduction": "none"},
    {"reduction": "sum", "axis": 0},
    {"weight": 3.0, "pos_weight": 2.0, "label_smoothing": 0.1, "reduction": "weighted_mean"},
    {"where": X > 0},
]


def toy(keywords: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Toy(value) if isinstance(value, np.ndarray) else value
        for name, value in keywords.items()
    }


@pytest.mark.parametrize("keywords", KEYWORDS, ids=str)
def test_a_new_library_takes_plain_operations(keywords: dict[str, Any]) -> None:
    with rows.in_use(rows.PLAIN):
        exact = portable_bce.bce_with_logits_value_and_grad(X, Y, **keywords)
    assert_same(portable_bce.bce_with_logits_value_and_grad(Toy(X), Toy(Y), **toy(keywords)), exact)


@pytest.mark.parametrize("keywords", KEYWORDS, ids=str)
def test_a_new_library_with_a_row_takes_its_own_runner(
    keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_evaluate._RUNNERS, "toy", RUNNER)
    exact = portable_bce.bce_with_logits_value_and_grad(X, Y, **keywords)
    assert_same(portable_bce.bce_with_logits_value_and_grad(Toy(X), Toy(Y), **toy(keywords)), exact)


def assert_same(found: tuple[Any, ...], exact: tuple[Any, ...]) -> None:
    for one, other in zip(found, exact, strict=True):
        assert isinstance(one, Toy)
        np.testing.assert_array_equal(one.data, other)


def test_errors_name_a_new_library() -> None:
    with pytest.raises(TypeError, match=r"of the library of `logits`, toy; got numpy.ndarray"):
        portable_bce.bce_with_logits(Toy(X), Y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_every_option_by_keyword_and_documents_it(name: str) -> None:
    function = getattr(portable_bce, name)
    keywords = {
        key
        for key, one in inspect.signature(function).parameters.items()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    }
    said = entries(sections(function)["Parameters"])
    assert keywords == FUNCTIONS[name] | REDUCTION
    assert keywords <= {key for entry in said for key in entry.names}


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "BCELoss"])
def test_loss_objects_store_every_option_but_the_mask_which_is_of_a_call(name: str) -> None:
    kind = getattr(portable_bce, name)
    of_functions = FUNCTIONS["bce_with_logits" if "Logits" in name else "bce"]
    assert {one.name for one in fields(kind)} == of_functions - {"where"} | REDUCTION
    assert {"weight", "where"} <= set(inspect.signature(kind.__call__).parameters)


@pytest.mark.parametrize("name", ["BCEWithLogitsLoss", "BCELoss"])
def test_modules_and_functions_of_pytorch_take_every_option(name: str) -> None:
    module = pytest.importorskip("portable_bce.torch")
    function = "binary_cross_entropy" + ("_with_logits" if "Logits" in name else "")
    options = FUNCTIONS["bce_with_logits" if "Logits" in name else "bce"] | REDUCTION
    assert options <= set(inspect.signature(getattr(module, function)).parameters)
    # A mask is of a call.
    assert options - {"where"} <= set(inspect.signature(getattr(module, name)).parameters)
    assert "where" in inspect.signature(getattr(module, name).forward).parameters


def test_the_boosting_objective_takes_the_options_of_a_label() -> None:
    """Weights come with the dataset, and trees have neither masks nor a reduction."""
    assert {"pos_weight", "label_smoothing"} <= set(inspect.signature(BinaryObjective).parameters)
