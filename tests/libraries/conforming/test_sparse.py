"""What the formats of sparse take, and what they say of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from tests.libraries.conforming.libraries import named, names_here

pytestmark = pytest.mark.skipif("sparse.COO" not in names_here(), reason="sparse is not installed")

X = np.asarray([[0.0, 3.0, 0.0], [0.0, 0.0, -40.0]], np.float32)


@pytest.fixture
def sparse() -> Any:
    named("sparse.COO")
    import sparse

    return sparse


def test_missing_logits_share_one_loss(sparse: Any) -> None:
    """A logit that is not stored is 0, and its loss is not stored either."""
    x, y = (sparse.COO.from_numpy(one) for one in (X, X > 0))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    assert loss.nnz == grad.nnz == x.nnz
    assert loss.fill_value == np.float32(np.log(2))
    assert grad.fill_value == 0.5


def test_dense_targets_beside_sparse_logits_are_refused(sparse: Any) -> None:
    with pytest.raises(TypeError, match=r"of the library of `logits`, sparse; got numpy\.ndarray"):
        portable_bce.bce_with_logits(sparse.COO.from_numpy(X), X)


def test_compressed_rows_are_taken_whole_and_not_along_an_axis(sparse: Any) -> None:
    """sparse's GCXS has no squeeze. If this fails, docs/libraries.md has to be changed."""
    x = sparse.GCXS.from_numpy(X)
    whole = portable_bce.bce_with_logits(x, 1.0)
    assert whole.todense() == portable_bce.bce_with_logits(sparse.COO.from_numpy(X), 1.0).todense()
    with pytest.raises(AttributeError, match="squeeze"):
        portable_bce.bce_with_logits(x, 1.0, axis=0)


def test_dictionaries_of_keys_have_no_operators(sparse: Any) -> None:
    """sparse's DOK cannot compute. If this fails, docs/libraries.md has to be changed."""
    with pytest.raises(TypeError, match="DOK"):
        portable_bce.bce_with_logits(sparse.DOK.from_numpy(X), 1.0)
