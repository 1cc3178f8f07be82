"""What `jax.jit` makes of sharded arrays: this module prints it as JSON, with `python -m`.

In a process of its own, because the number of devices is settled when JAX starts.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import portable_bce
from tests.autodiff import apart
from tests.libraries.jax.sharded_cases import ALL_CALLS, CALLS, CASES, LAYOUTS, SHAPE, Call, Layout

EXAMPLE = Path(__file__).parents[3] / "docs/scale/train_jax.py"
COLLECTIVE = re.compile(
    r"= (?P<shapes>.*?) (?P<name>all-reduce|all-gather|all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast|ragged-all-to-all)(-start)?\("
)


def function_of(call: Call) -> Callable[..., Any]:
    """Return a function of logits, targets and keywords."""
    import jax

    def pulled(x: Any, y: Any, **keywords: Any) -> Any:
        loss, pullback = portable_bce.bce_with_logits_vjp(x, y, **keywords)
        return loss, *pullback(1.0)

    def gradient(x: Any, y: Any, **keywords: Any) -> Any:
        return (portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)[1],)

    own: dict[str, Callable[..., Any]] = {
        "pulled": pulled,
        "gradient": gradient,
        "grad": jax.grad(portable_bce.bce_with_logits),
        "value_and_grad": jax.value_and_grad(portable_bce.bce_with_logits),
    }
    if call.function in own:
        return own[call.function]
    found: Callable[..., Any] = getattr(portable_bce, call.function)
    return found


def arrays(function: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return arguments on the host; with hard labels nothing cancels."""
    rng = np.random.default_rng(3)
    x = rng.normal(0, 6, SHAPE).astype(np.float32)
    return {
        "x": portable_bce.sigmoid(x) if function.startswith("bce_value") else x,
        "y": rng.integers(0, 2, SHAPE, dtype=np.int32),
        "weight": rng.uniform(0.5, 2, SHAPE).astype(np.float32),
        "where": rng.random(SHAPE) < 0.7,
        "copied": rng.uniform(0.5, 2, SHAPE[1]).astype(np.float32),
        "columns": rng.uniform(0.5, 2, SHAPE[1]).astype(np.float32),
    }


def placements(layout: Layout) -> tuple[Any, Any, Any]:
    """Return the shardings of a whole array, of one that has its columns, and of a copy."""
    import jax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    kind = AxisType.Auto if layout.automatic else AxisType.Explicit
    names = ("a", "b")[: len(layout.mesh)]
    mesh = jax.make_mesh(layout.mesh, names, axis_types=(kind,) * len(names))
    cuts = (layout.cut, layout.cut[1:], ())
    whole, columns, copy = (NamedSharding(mesh, PartitionSpec(*cut)) for cut in cuts)
    return whole, columns, copy


def collectives(compiled: Any) -> dict[str, list[int]]:
    """Return how many numbers each collective of a compiled module moves, by its name."""
    found = defaultdict(list)
    for match in COLLECTIVE.finditer(compiled.as_text()):
        shapes = re.findall(r"\w+\[([\d,]*)\]", match["shapes"])
        numbers = [int(np.prod([int(one) for one in s.split(",") if one])) for s in shapes]
        found[match["name"]].append(sum(numbers))
    return found


def called(call: Call) -> Callable[..., Any]:
    """Return what is compiled: a tuple of results by keywords."""
    function = function_of(call)

    def results(x: Any, y: Any, **keywords: Any) -> Any:
        found = function(x, y, **keywords, reduction=call.reduction)
        return found if isinstance(found, tuple) else (found,)

    return results


@cache
def alone(call: Call, x64: bool) -> list[np.ndarray[Any, Any]]:
    """Return the results on one device."""
    import jax

    host = arrays(call.function)
    given = {key: host[one] for key, one in call.arguments.items()}
    with jax.enable_x64(x64):
        return [np.asarray(one) for one in jax.jit(called(call))(**given)]


def exact_loss(call: Call) -> np.ndarray[Any, Any]:
    """Return the loss by NumPy in float64, rounded once."""
    host = arrays(call.function)
    given = {key: host[one] for key, one in call.arguments.items()}
    logits = portable_bce.bce_with_logits
    function = portable_bce.bce if call.function.startswith("bce_value") else logits
    return np.asarray(
        function(
            given.pop("x"),
            given.pop("y"),
            **given,
            reduction=call.reduction,
            compute_dtype=np.float64,
        )
    )


def observed(layout: Layout, call: Call) -> dict[str, Any]:
    """Compile and run one call; compare it with the same on one device."""
    import jax

    whole, columns, copy = placements(layout)
    where, host = {"copied": copy, "columns": columns}, arrays(call.function)
    given = {
        key: jax.device_put(host[one], where.get(one, whole)) for key, one in call.arguments.items()
    }
    compiled = jax.jit(called(call)).lower(**given).compile()
    results = jax.block_until_ready(compiled(**given))
    pairs = zip(map(np.asarray, results), alone(call, layout.x64), strict=True)
    return {
        "collectives": collectives(compiled),
        "kept": [one.sharding.is_equivalent_to(whole, 2) for one in results if one.ndim],
        "everywhere": [one.sharding.is_fully_replicated for one in results if not one.ndim],
        "apart": dict(zip(call.results, [apart(*two) for two in pairs], strict=True)),
        "error": apart(np.asarray(results[0]), exact_loss(call)) if "loss" in call.results else 0.0,
    }


def along_an_axis() -> Iterator[tuple[Any, list[int]]]:
    """Yield the sharding of a mean over each axis of rows, and what its collectives move."""
    import jax

    whole, _, _ = placements(LAYOUTS["rows"])
    host = arrays("")
    x, y = (jax.device_put(host[name], whole) for name in "xy")
    for axis in (0, 1):
        mean = jax.jit(lambda x, y, axis=axis: portable_bce.bce_with_logits(x, y, axis=axis))
        compiled = mean.lower(x, y).compile()
        yield str(compiled(x, y).sharding.spec), collectives(compiled)["all-reduce"]


def by_hand() -> tuple[dict[str, list[int]], list[float]]:
    """Return what travels, and how far results are from one device's, by shard_map and psum."""
    import jax
    from jax.sharding import PartitionSpec

    whole, _, _ = placements(LAYOUTS["rows and columns"])
    host, cut = arrays(""), PartitionSpec("a", "b")
    given = [jax.device_put(host[name], whole) for name in ("x", "y", "where")]

    def of_part(x: Any, y: Any, where: Any) -> Any:
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, where=where, reduction="sum")
        loss, count = jax.lax.psum((loss, where.sum(dtype=loss.dtype)), ("a", "b"))
        return loss / count, grad / count

    specs = {"in_specs": (cut,) * 3, "out_specs": (PartitionSpec(), cut)}
    mapped = jax.jit(jax.shard_map(of_part, mesh=whole.mesh, **specs))
    compiled = mapped.lower(*given).compile()
    results = map(np.asarray, jax.block_until_ready(compiled(*given)))
    wanted = alone(CALLS["masked loss and gradient"], False)
    pairs = zip(results, wanted, strict=True)
    return collectives(compiled), [apart(*two) for two in pairs]


def eager() -> list[bool]:
    """Return whether loss and gradient lie where they should without jit."""
    import jax

    whole, _, copy = placements(LAYOUTS["rows"])
    host = arrays("")
    x, y, where = (jax.device_put(host[name], whole) for name in ("x", "y", "where"))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, where=where)
    return [loss.sharding.is_equivalent_to(copy, 0), grad.sharding.is_equivalent_to(whole, 2)]


def checked() -> list[str]:
    """Return what `check_inputs` says of good values and of bad ones that a mesh cuts."""
    import jax

    said = []
    for layout in LAYOUTS.values():
        whole, _, _ = placements(layout)
        host = arrays("")
        bad = host["y"].astype(np.float32)
        bad[1, 1] = bad[2, 0] = 7
        x, y, wrong = (jax.device_put(one, whole) for one in (host["x"], host["y"], bad))
        portable_bce.check_inputs(x, y)
        try:
            portable_bce.check_inputs(x, wrong)
        except ValueError as error:
            said.append(str(error))
    return said


def main() -> None:
    import jax

    assert jax.device_count() == 8
    found: dict[str, Any] = defaultdict(dict)
    for layout, call in CASES:
        with jax.enable_x64(LAYOUTS[layout].x64):
            found[layout][call] = observed(LAYOUTS[layout], ALL_CALLS[call])
    whole, _, copy = placements(LAYOUTS["rows"])
    x = jax.device_put(arrays("")["x"], whole)
    gathered = jax.jit(lambda x: x, out_shardings=copy).lower(x).compile()
    found["gathered"] = collectives(gathered)
    found["along an axis"] = list(along_an_axis())
    found["by hand"] = by_hand()
    found["eager"] = eager()
    found["checked"] = checked()
    found["example"] = trained()
    sys.stdout.write(json.dumps(found))


def trained() -> float:
    """Return how far apart the example's parameters are, in ULP of the largest."""
    train = runpy.run_path(str(EXAMPLE))["train"]
    import jax

    one, all_of_them = (np.asarray(train(jax.devices()[:n])) for n in (1, 8))
    return apart(all_of_them, one, np.abs(one).max())


if __name__ == "__main__":
    main()
