"""Training on a part of each batch: `python -m tests.libraries.torch.data_parallel RANK STORE`.

Each process prints the parameters and the losses of each case as JSON; `alone` is what they
are held to, one process that has all rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import portable_bce
import portable_bce.torch as modules

PROCESSES, ROWS, CLASSES, STEPS, RATE = 2, 24, 3, 20, 0.5
# name of a case -> the rows of the first process; the second has the others
CUTS = {"uneven": 5, "even": 12, "empty": 0}


class Batch(NamedTuple):
    """Rows of a batch; `where` is false for what is to be left out, which is NaN."""

    inputs: Any
    targets: Any
    weight: Any
    where: Any

    def rows(self, first: int, last: int) -> Batch:
        return Batch(*(one[first:last] for one in self))


def whole() -> Batch:
    generator = torch.Generator().manual_seed(5)

    def drawn(columns: int) -> Any:
        return torch.rand(ROWS, columns, generator=generator, dtype=torch.float64)

    inputs, weight = 4 * drawn(4) - 2, 0.5 + 2 * drawn(1)
    targets, where = (drawn(CLASSES) < 0.4).double(), drawn(CLASSES) < 0.6
    # Later rows are another population, so that it shows whose mean is taken.
    inputs[5:] += 1
    return Batch(inputs, targets.masked_fill(~where, torch.nan), weight, where)


def plain(batch: Batch) -> Batch:
    """Return a batch in which everything is known."""
    return batch._replace(targets=batch.targets.nan_to_num(1.0))


# (logits, batch, reduction) -> loss
Loss = Callable[[Any, Batch, str], Any]
LOSSES: dict[str, Loss] = {
    "module": lambda x, b, r: modules.BCEWithLogitsLoss(reduction=r)(x, plain(b).targets),
    "module of probabilities": lambda x, b, r: modules.BCELoss(reduction=r)(
        x.sigmoid(), plain(b).targets
    ),
    "masked module": lambda x, b, r: modules.BCEWithLogitsLoss(reduction=r)(
        x, b.targets, where=b.where
    ),
    "function": lambda x, b, r: portable_bce.bce_with_logits(x, plain(b).targets, reduction=r),
    "masked and weighted function": lambda x, b, r: portable_bce.bce_with_logits(
        x, b.targets, where=b.where, weight=b.weight, reduction=r
    ),
}
# What each process adds to the denominator, and the reduction of one process that is meant.
COUNTS: dict[str, Callable[[Batch], Any]] = {
    "masked module": lambda b: b.where.sum(),
    "masked and weighted function": lambda b: torch.where(b.where, b.weight, 0.0).sum(),
}
REDUCTIONS = {"masked and weighted function": "weighted_mean"}


def count_of(name: str, batch: Batch) -> Any:
    """Return the global denominator."""
    default = torch.tensor(batch.targets.numel())
    count = COUNTS[name](batch) if name in COUNTS else default
    count = count.double()
    dist.all_reduce(count)
    return count


def linear() -> Any:
    model = torch.nn.Linear(4, CLASSES, dtype=torch.float64)
    for one in model.parameters():
        torch.nn.init.zeros_(one)
    return model


def found(model: Any, losses: list[float]) -> dict[str, list[float]]:
    values = torch.cat([one.detach().flatten() for one in model.parameters()])
    return {"parameters": values.tolist(), "losses": losses}


def alone(name: str) -> dict[str, list[float]]:
    """Train on all rows in one process, by the reduction itself."""
    model, batch, losses = linear(), whole(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        loss = LOSSES[name](model(batch.inputs), batch, REDUCTIONS.get(name, "mean"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return found(model, losses)


def together(name: str, batch: Batch) -> dict[str, list[float]]:
    """Train on a part in each process: the sum over the global count, under DDP."""
    model, losses = DistributedDataParallel(linear()), []
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        share = LOSSES[name](model(batch.inputs), batch, "sum") / count_of(name, batch)
        optimizer.zero_grad()
        (share * PROCESSES).backward()
        optimizer.step()
        loss = share.detach()
        dist.all_reduce(loss)
        losses.append(loss.item())
    return found(model.module, losses)


def by_hand(batch: Batch) -> dict[str, list[float]]:
    """Train without autograd and DDP: what value_and_grad returns, summed over processes."""
    model, losses, batch = linear(), [], plain(batch)
    for _ in range(STEPS):
        with torch.no_grad():
            loss, grad = portable_bce.bce_with_logits_value_and_grad(
                model(batch.inputs), batch.targets, reduction="sum"
            )
            sums = [loss, grad.mT @ batch.inputs, grad.sum(dim=0)]
            for one in sums:
                dist.all_reduce(one)
            loss, *slopes = (one / count_of("function", batch) for one in sums)
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter.sub_(RATE * slope)
        losses.append(loss.item())
    return found(model, losses)


def naive(batch: Batch) -> dict[str, list[float]]:
    """Train as if the mean of the means were the mean: what DDP does with a mean."""
    model = DistributedDataParallel(linear())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        LOSSES["module"](model(batch.inputs), batch, "mean").backward()
        optimizer.step()
    return found(model.module, [])


def main() -> None:
    rank, store = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=120),
    )
    results: dict[str, dict[str, Any]] = {}
    for cut, rows in CUTS.items():
        batch = whole().rows(*((0, rows), (rows, ROWS))[rank])
        results[cut] = {name: together(name, batch) for name in LOSSES}
        results[cut].update({"by hand": by_hand(batch), "naive": naive(batch)})
    dist.destroy_process_group()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
