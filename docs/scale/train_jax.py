"""Logistic regression on real data, data parallel over all devices that JAX has.

    pip install "portable-bce[jax]" scikit-learn
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python docs/scale/train_jax.py

The flag makes eight devices of one CPU. The same code runs on eight GPUs without it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from portable_bce import bce_with_logits

STEPS, RATE = 200, 0.5


def batch(devices: Sequence[Any]) -> tuple[Any, ...]:
    """Return features, labels and mask, cut by rows, and the sharding of a copy on each device.

    569 rows are no multiple of 8, and JAX cuts in equal parts only: the last rows are
    padding, which the mask leaves out of the loss, the gradient and the count.
    """
    features, labels = load_breast_cancer(return_X_y=True)
    features = StandardScaler().fit_transform(features)
    design = np.column_stack([features, np.ones(len(labels))]).astype(np.float32)
    missing = -len(labels) % len(devices)
    mesh = jax.make_mesh((len(devices),), ("data",), devices=devices)
    rows, copy = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    padded = (
        np.pad(design, [(0, missing), (0, 0)]),
        np.pad(labels.astype(np.float32), (0, missing)),
        np.arange(len(labels) + missing) < len(labels),
    )
    return *(jax.device_put(one, rows) for one in padded), copy


def objective(parameters: Any, design: Any, labels: Any, real: Any) -> Any:
    """Return the mean loss of the rows that are real."""
    return bce_with_logits(design @ parameters, labels, where=real)


def step(parameters: Any, design: Any, labels: Any, real: Any) -> Any:
    """Return the parameters after a step of gradient descent, and the loss before it."""
    loss, slope = jax.value_and_grad(objective)(parameters, design, labels, real)
    return parameters - RATE * slope, loss


def train(devices: Sequence[Any]) -> Any:
    """Return the parameters after all steps on some devices."""
    *data, copy = batch(devices)
    compiled = jax.jit(step)
    parameters = jax.device_put(jnp.zeros(data[0].shape[1]), copy)
    for _ in range(STEPS):
        # Virtual devices share few threads: steps that are not waited for may block each other.
        parameters, loss = jax.block_until_ready(compiled(parameters, *data))
    print(f"{len(devices)} device(s): loss {loss:.7f} after {STEPS} steps")
    return parameters


if __name__ == "__main__":
    alone, together = (np.asarray(train(jax.devices()[:n])) for n in (1, jax.device_count()))
    unit = np.spacing(np.abs(alone).max())
    print(f"parameters differ by {np.abs(together - alone).max() / unit:.0f} ULP of the largest")
