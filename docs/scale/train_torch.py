"""Logistic regression on real data, data parallel over the processes that torchrun starts.

    pip install "portable-bce[torch]" scikit-learn
    python docs/scale/train_torch.py
    torchrun --nproc-per-node 2 docs/scale/train_torch.py

The processes have parts of different length of each batch, and all of them descend the mean
over the whole batch: the parameters are those of one process that has all rows.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch.nn.parallel import DistributedDataParallel

from portable_bce.torch import BCEWithLogitsLoss

EPOCHS, BATCH, RATE = 5, 100, 0.5


def batches(rank: int, processes: int) -> Iterator[tuple[Any, Any]]:
    """Yield this process's part of each batch: of two, the first has a quarter of the rows."""
    features, labels = load_breast_cancer(return_X_y=True)
    inputs = torch.asarray(StandardScaler().fit_transform(features))
    targets = torch.asarray(labels, dtype=torch.float64)[:, None]
    for batch in zip(inputs.split(BATCH), targets.split(BATCH), strict=True):
        rows = len(batch[0])
        first, last = (int(rows * (one / processes) ** 2) for one in (rank, rank + 1))
        yield batch[0][first:last], batch[1][first:last]


def step(model: Any, optimizer: Any, inputs: Any, targets: Any) -> Any:
    """Descend the mean over the batches of all processes, and return it."""
    count = torch.tensor(targets.numel())
    dist.all_reduce(count)  # how many all processes have
    share = BCEWithLogitsLoss(reduction="sum")(model(inputs), targets) / count
    optimizer.zero_grad()
    # DistributedDataParallel divides the sum of the gradients by the number of processes.
    (share * dist.get_world_size()).backward()
    optimizer.step()
    loss = share.detach()
    dist.all_reduce(loss)
    return loss


def train() -> tuple[Any, Any]:
    """Return the weights of the model after all epochs, and the last loss."""
    linear = torch.nn.Linear(30, 1, dtype=torch.float64)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    model = DistributedDataParallel(linear)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for inputs, targets in batches(dist.get_rank(), dist.get_world_size()):
            loss = step(model, optimizer, inputs, targets)
    return linear.weight.detach()[0], loss


def start() -> None:
    """Join the other processes; without torchrun there are none."""
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


if __name__ == "__main__":
    start()
    weights, loss = train()
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} process(es): loss {loss:.13f}")
        print("first weights:", *(f"{one:.13f}" for one in weights[:3]))
    dist.barrier()  # a process that leaves while the others still talk may be aborted
    dist.destroy_process_group()
