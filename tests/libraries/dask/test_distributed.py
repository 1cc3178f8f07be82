"""A cluster gives what one process gives, to the bit, and goes on when a worker is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portable_bce

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

CHUNKS = 12
HOST = np.random.default_rng(3).normal(0, 6, (CHUNKS * 50, 4)).astype(np.float32)
CALLS = [
    ("bce_with_logits", "none", None),
    ("bce_with_logits", "sum", None),
    ("bce_with_logits", "mean", None),
    ("bce_with_logits", "mean", 0),
    ("bce_with_logits", "weighted_mean", (0, 1)),
    ("bce", "weighted_mean", 0),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes, of one thread each; on any port, because there may be more clusters."""
    before = set(multiprocessing.active_children())
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit="1GiB",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as opened,
    ):
        yield opened
    assert set(multiprocessing.active_children()) == before


def both_ways(client: Any, *lazy: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Compute on the cluster, and in this process."""
    return (
        dask.compute(*lazy, scheduler=client.get),
        dask.compute(*lazy, scheduler="synchronous"),
    )


def equal(results: tuple[Any, ...], others: tuple[Any, ...]) -> None:
    for one, other in zip(results, others, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "reduction", "axis"), CALLS)
def test_a_cluster_gives_the_bits_of_one_process(
    client: Any, name: str, reduction: str, axis: Any
) -> None:
    """Whatever the order in which chunks come in; with factors, a mask and unequal chunks."""
    host = HOST if name == "bce_with_logits" else portable_bce.sigmoid(HOST)
    x = da.from_array(host, chunks=((7, 193, 50, 350), 3))
    keywords = {
        "weight": da.from_array(np.abs(HOST), chunks=(80, 4)),
        "pos_weight": da.from_array(np.asarray([1.0, 2.0, 0.5, 4.0], dtype=np.float32), chunks=2),
        "where": x > 0.25,
        "label_smoothing": 0.1,
        "reduction": reduction,
        "axis": axis,
    }
    loss, pullback = getattr(portable_bce, f"{name}_vjp")(x, x > 0.5, **keywords)
    grad, hess = getattr(portable_bce, f"{name}_grad_and_hess")(x, x > 0.5, **keywords)
    equal(*both_ways(client, loss, grad, hess, *pullback(2.0), *pullback(loss)))


def test_a_cluster_counts_chunks_of_unknown_size(client: Any) -> None:
    x = da.from_array(HOST, chunks=(60, 4))
    some = x[x > 0]
    equal(*both_ways(client, *portable_bce.bce_with_logits_value_and_grad(some, some > 1)))


def test_a_cluster_gets_nothing_to_do_before_it_is_asked(client: Any) -> None:
    x = da.from_array(HOST, chunks=(60, 4))
    with client.as_current():
        both = portable_bce.bce_with_logits_value_and_grad(x, x > 0, where=x > 2)
        asked = set(dask.core.flatten([one.__dask_keys__() for one in both]))
        every = {key for one in both for key in dict(one.dask)}

        def known(dask_scheduler: Any) -> set[Any]:
            return every & set(dask_scheduler.tasks)

        assert not client.run_on_scheduler(known)
        kept = client.persist(both)
        distributed.wait(kept)
        assert client.run_on_scheduler(known) >= asked


def test_lengths_that_turn_out_different_are_our_error_from_a_cluster_too(client: Any) -> None:
    x = da.from_array(HOST[:, 0], chunks=100)
    few = x[x > 0] > 1
    with pytest.raises(ValueError, match=r"^`targets` must have the shape of `logits`, \(100,\)"):
        dask.compute(portable_bce.bce_with_logits(x[x < 999], few), scheduler=client.get)


# What a worker has evaluated by itself, in its own process.
_evaluated: list[int] = []


def stumble(block: Any, marker: str, spared: int) -> Any:
    """Pass a chunk on; the first worker that has passed on three kills itself at its fourth."""
    if os.getpid() == spared:
        return block
    _evaluated.append(len(block))
    if len(_evaluated) > 3:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return block
        os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.parametrize("option", ["mean", "masked"])
def test_a_worker_killed_in_the_middle_changes_nothing(
    client: Any, option: str, tmp_path: Path
) -> None:
    """One of two workers has a fourth of twelve chunks, and loses what it had of three."""
    marker = tmp_path / "killed"
    pids = set(client.run(os.getpid).values())
    client.run(_evaluated.clear)
    x = da.from_array(HOST, chunks=(50, 4)).map_blocks(
        stumble, str(marker), os.getpid(), meta=HOST[:0]
    )
    keywords = {"where": x > 0, "weight": abs(x)} if option == "masked" else {}
    lazy = portable_bce.bce_with_logits_value_and_grad(x, x > 1, **keywords)
    got = dask.compute(*lazy, scheduler=client.get)
    assert marker.exists()
    client.wait_for_workers(2, timeout=60)
    assert len(pids & set(client.run(os.getpid).values())) == 1
    equal(got, dask.compute(*lazy, scheduler="synchronous"))
