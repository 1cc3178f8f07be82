"""The property suite passes ours on every library, and finds what is known of others."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich")  # which the commands print by

from peers import PEERS, Peer

import portable_bce
from portable_bce._commands.machine import open_backend
from portable_bce.testing import LAWS, Law, Report, check

EXAMPLES = 25


def loss(x: Any, y: Any) -> Any:
    return portable_bce.bce_with_logits(x, y, reduction="none")


def gradient(x: Any, y: Any) -> Any:
    return portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")[1]


def hessian(x: Any, y: Any) -> Any:
    return portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none")[1]


@dataclass(frozen=True)
class Library:
    xp: Any
    dtypes: tuple[str, ...]
    flushes: bool = False


# module -> the dtypes that are tried
LIBRARIES = {
    "numpy": ("float16", "float32", "float64"),
    "torch": ("float16", "bfloat16", "float32", "float64"),
    "jax.numpy": ("float32",),
    "array_api_strict": ("float32", "float64"),
}


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    name = request.param
    package = name.partition(".")[0]
    pytest.importorskip(package)
    with open_backend("jax") if package == "jax" else nullcontext():
        xp = importlib.import_module(name)
        yield Library(xp, LIBRARIES[name], flushes=package == "jax")


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_ours_keeps(law: Law, library: Library) -> None:
    check(
        loss,
        xp=library.xp,
        dtypes=library.dtypes,
        laws=[law],
        gradient=gradient,
        hessian=hessian,
        examples=EXAMPLES,
        flushes_subnormals=library.flushes,
    ).raise_if_broken()


# What may, by the CPU's exp and log1p, be broken along with the accuracy of a value.
ALONG = {
    "flipping_logit_and_label_keeps_the_loss",
    "flipping_logit_and_label_negates_the_gradient",
    "flipping_logit_and_label_keeps_the_hessian",
    "loss_is_linear_in_the_target",
}
LOSS = {"loss_of_hard_labels_is_within_its_bound", "loss_of_soft_labels_is_within_its_bound"}
GRADIENT = {
    "gradient_of_hard_labels_is_within_its_bound",
    "gradient_of_soft_labels_is_within_its_bound",
}
# name of the peer -> laws that it breaks
KNOWN: dict[str, set[str]] = {
    "torch": {
        *LOSS,  # for a soft label near 1, and as soon as 1 + exp(-|x|) rounds for a hard one
        *GRADIENT,
        "hessian_is_within_its_bound",
        "loss_keeps_its_tail",  # from |x| = 14.6 on: log1p was taken before exp was small
        # https://github.com/pytorch/pytorch/issues/195529 and /195677
        "gradient_keeps_its_tail",
        "hessian_keeps_its_tail",
        # https://github.com/pytorch/pytorch/issues/49844 and /102894
        "loss_at_infinite_logits_is_its_limit",
    },
    "optax": {
        *GRADIENT,  # 4.8 ULP and more at x = 8, y = 0
        "hessian_is_within_its_bound",
        "hessian_keeps_its_tail",
        "loss_at_infinite_logits_is_its_limit",
    },
    "scikit-learn": {
        *LOSS,
        "loss_keeps_its_tail",  # from x = 33.3 on, in float32 too: it computes in float64
        "loss_at_infinite_logits_is_its_limit",
    },
    "scikit-learn loss_gradient": {
        *LOSS,  # exp(-x) in place of log1p(exp(-x)) from 18 on
        "loss_at_infinite_logits_is_its_limit",
    },
    "published": {
        "loss_of_soft_labels_is_within_its_bound",
        *GRADIENT,
        "hessian_is_within_its_bound",
        "gradient_keeps_its_tail",
        "hessian_keeps_its_tail",
        "loss_at_infinite_logits_is_its_limit",
    },
    "sigmoid": {
        *LOSS,
        *GRADIENT,
        "hessian_is_within_its_bound",
        "loss_keeps_its_tail",
        "gradient_keeps_its_tail",
        "hessian_keeps_its_tail",
        "loss_of_finite_logits_is_finite",  # log(1 - q) of q = 1
        "loss_at_infinite_logits_is_its_limit",
    },
}
PACKAGES = {
    "torch": "torch",
    "optax": "optax",
    "scikit-learn": "sklearn",
    "scikit-learn loss_gradient": "sklearn",
}


def made(name: str) -> Peer:
    """Return a peer, or skip where its package is missing."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    return PEERS[name]()


def reported(name: str, **keywords: Any) -> Report:
    """Return what the suite says of a peer."""
    peer = made(name)
    with open_backend(peer.backend) as xp:
        return check(
            peer.values["loss"],
            xp=xp,
            gradient=peer.values["grad"],
            hessian=peer.values.get("hess"),
            examples=EXAMPLES,
            flushes_subnormals=peer.backend == "jax",
            **keywords,
        )


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_of_others_is_found(name: str) -> None:
    report = reported(name)
    broken = {one.law.name for one in report.broken}
    assert KNOWN[name] <= broken <= KNOWN[name] | ALONG


def found(name: str, law: str) -> list[tuple[str, float, float, str]]:
    """Return the dtypes and examples by which a peer breaks a law."""
    (chosen,) = (one for one in LAWS if one.name == law)
    broken = reported(name, laws=[chosen]).broken
    return [(one.dtype, float(one.logits), float(one.targets), one.got) for one in broken]


def test_pytorch_195529_and_195677_gradient_is_lost_from_17_and_37_on() -> None:
    assert found("torch", "gradient_keeps_its_tail") == [
        ("float32", 17.0, 1.0, "0.0"),
        ("float64", 37.0, 1.0, "0.0"),
    ]


def test_pytorch_102894_loss_is_nan_at_infinity_with_the_right_label() -> None:
    assert found("torch", "loss_at_infinite_logits_is_its_limit")[0][1:] == (np.inf, 1.0, "nan")


def test_scikit_learn_loss_is_lost_from_33_on() -> None:
    assert found("scikit-learn", "loss_keeps_its_tail")[1] == ("float64", 33.3, 1.0, "0.0")


def test_published_loss_of_a_soft_label_near_one_is_lost() -> None:
    _, logit, target, _ = found("published", "loss_of_soft_labels_is_within_its_bound")[0]
    assert logit > 10
    assert 0.99 < target < 1
