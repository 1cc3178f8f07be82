"""Write docs/speed.md from what bench left in benchmarks/data.

python benchmarks/report.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
DATA = HERE / "data"
FLOOR = "floor: read x, y, write one, CuPy"
OURS, AUTOGRAD = "portable_bce", "portable_bce, by autograd"


GPU = """
![float32: the time of each library in units of the floor](speed-gpu.svg)

Each sample waits for the device before and after. To see it on your GPU, and to write this section:

```console
$ python benchmarks/run.py 1 gpu
$ python benchmarks/report.py
$ python benchmarks/draw.py
```
"""


class Goal(NamedTuple):
    """A ratio that we set out to reach for the gradient of the mean."""

    group: str
    ours: str
    other: str
    dtype: str
    size: int
    ratio: float


GOALS = [
    Goal("numpy", OURS, "published formula", "float32", 1, 1.0),
    *(
        Goal("numpy", OURS, "published formula", "float32", *one)
        for one in ((10**4, 0.6), (10**6, 0.4), (10**7, 0.25))
    ),
    Goal("numpy", OURS, "scikit-learn", "float32", 10**6, 0.13),
    Goal("jax", OURS, "optax", "float32", 10**6, 0.22),
    Goal("jax", OURS, "optax", "float64", 10**6, 0.16),
    Goal("torch.compile", AUTOGRAD, "PyTorch", "float32", 10**6, 0.75),
    Goal("torch.compile", AUTOGRAD, "PyTorch", "float32", 10**7, 0.8),
    Goal("torch", AUTOGRAD, "PyTorch", "float32", 10**4, 1.0),
    Goal("torch", AUTOGRAD, "PyTorch", "float32", 10**6, 1.0),
    Goal("torch", AUTOGRAD, "PyTorch", "float32", 10**7, 0.35),
    *(
        Goal("gpu", f"{OURS}, CuPy", other, dtype, 10**8, ratio)
        for other, ratio in ((FLOOR, 1.25), ("PyTorch, PyTorch", 0.33))
        for dtype in ("float16", "float32", "float64")
    ),
]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}, {ratio['high']:.2f})"


def load(name: str) -> dict[str, Any] | None:
    path = DATA / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def goals(run: dict[str, Any]) -> str:
    rows = []
    for goal in GOALS:
        key = (goal.group, goal.ours, goal.other, goal.dtype, goal.size, "value_and_grad")
        names = ("group", "ours", "other", "dtype", "size", "task")
        found = [one for one in run["results"] if tuple(one[name] for name in names) == key]
        for one in found:
            met = one["ratio"]["median"] <= goal.ratio
            rows.append(
                [
                    f"{goal.group}, {goal.dtype}, n = {goal.size:,}",
                    f"{goal.other}",
                    f"{goal.ratio:.2f}",
                    f"{shown(one['ratio'])}",
                    "yes" if met else "**no**",
                ]
            )
    return table(("ours on", "against", "goal", "ratio (quartiles)", "reached"), rows)


def ratios(run: dict[str, Any], task: str) -> Iterator[str]:
    """Yield a table for each dtype: a line for each pair, a column for each size."""
    for dtype in run["request"]["dtypes"]:
        rows: dict[str, list[str]] = {}
        for one in run["results"]:
            if one["task"] == task and one["dtype"] == dtype and is_shown(one):
                ours = one["ours"].replace("portable_bce", "ours")
                name = f"{one['group']}: {ours} / {one['other']}"
                rows.setdefault(name, []).append(shown(one["ratio"]))
        sizes = [f"n = {size:,}" for size in run["request"]["sizes"]]
        yield f"{task}, {dtype}\n\n" + table(
            ("", *sizes), ([name, *cells] for name, cells in rows.items())
        )


def all_ratios(run: dict[str, Any]) -> Iterator[str]:
    for task in run["request"]["tasks"]:
        yield from ratios(run, task)


def is_shown(one: dict[str, Any]) -> bool:
    """Tell whether a pair is of interest: on a GPU, of one library, or ours on CuPy."""
    mine, its = (one[who].rpartition(", ")[2] for who in ("ours", "other"))
    return one["group"] != "gpu" or mine in ("CuPy", its)


def medians(run: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Return nanoseconds an element of the gradient of the mean, float32, by who and size."""
    found: dict[str, dict[int, float]] = {}
    for one in run["results"]:
        if (one["task"], one["dtype"]) == ("value_and_grad", "float32"):
            for who, key in ((one["ours"], "our"), (one["other"], "their")):
                cells = found.setdefault(f"{one['group']}: {who}", {})
                cells[one["size"]] = one[f"{key} median, ns an element"]
    return found


def nanoseconds(run: dict[str, Any]) -> str:
    """Return what a call cost, for whoever wants more than ratios."""
    sizes = run["request"]["sizes"]
    return table(
        ("", *(f"n = {size:,}" for size in sizes)),
        ([name, *(_digits(cells[size]) for size in sizes)] for name, cells in medians(run).items()),
    )


def _digits(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def machine(run: dict[str, Any]) -> str:
    about, versions = run["machine"], run.get("versions", {})
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    uses = about["numpy dispatch"]
    device = "".join(f"{name} {value}, " for name, value in about.get("device", {}).items())
    return (
        f"{device}{about['cpu']}, {about['system']}, Python {about['python']}, {packages}; "
        f"NumPy computes exp by {uses['exp float32']} and log1p by {uses['log1p float32']}; "
        f"{about['date']}"
    )


def memory() -> str:
    found = load("memory")
    if found is None:
        return ""
    rows = [[name, f"{value:.2f}"] for name, value in found.items() if name != "machine"]
    return table(("10⁸ float32, value and gradient", "peak, in gradients"), rows)


def main() -> None:
    run = load("one-thread")
    assert run is not None
    parts = [(HERE / "head.md").read_text().format(machine=machine(run)), goals(run)]
    parts += [(HERE / "why.md").read_text(), "## All ratios, one thread, CPU time"]
    parts += all_ratios(run)
    parts += ["## Nanoseconds an element, value_and_grad, float32", nanoseconds(run)]
    titles = {
        "two-threads": "## Two threads, by the wall",
        "without-avx512": "## Without AVX-512",
        "without-avx2": "## Without AVX2",
    }
    for name, title in titles.items():
        other = load(name)
        if other is not None:
            parts += [title, machine(other) + ".", *all_ratios(other)]
    on_a_gpu = load("gpu")
    if on_a_gpu is not None:
        parts += ["## On a GPU", machine(on_a_gpu) + ".", GPU, goals(on_a_gpu)]
        parts += [*all_ratios(on_a_gpu), nanoseconds(on_a_gpu)]
    parts += ["## Memory", memory()]
    PAGE.write_text("\n\n".join(part.strip() for part in parts) + "\n")


if __name__ == "__main__":
    main()
