"""Write the figures of benchmarks/data/speed.json into README and the pages that have some.

    python benchmarks/speed_page.py [another report.json]

With another report the tables are printed, and the page is left alone. What bench left of a GPU in
benchmarks/data/gpu.json comes along.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pages import DOCS, README, Sections, fill, load, power, shown, table

FLOOR = "floor: read x, y, write one, CuPy"
OURS, PLAIN = "portable_bce", "plain"
Pair: TypeAlias = tuple[str, str, str, str]
# (group, ours, other, task) -> what the reader is told
BY_FORMULA: dict[Pair, str] = {
    ("numpy", OURS, name, "value_and_grad"): f"NumPy / {label}"
    for name, label in (
        ("shortest formula", "shortest formula, 1/(1 + exp(-x))"),
        ("published formula", "published formula, sigmoid by `where`"),
        ("scikit-learn", "scikit-learn"),
    )
}
ON_TENSORS: dict[Pair, str] = {
    ("torch", f"{OURS}, by autograd", "PyTorch", "value_and_grad"): "PyTorch, autograd / its own",
    ("torch", OURS, "PyTorch", "losses"): "PyTorch, one loss per element / its own",
}
PAIRS: dict[Pair, str] = {
    **BY_FORMULA,
    ("torch", f"{OURS} on NumPy", "PyTorch", "value_and_grad"): "NumPy / PyTorch, autograd",
    **ON_TENSORS,
    ("torch.compile", f"{OURS}, by autograd", "PyTorch", "value_and_grad"): (
        "PyTorch, compiled / its own, compiled"
    ),
    ("jax", OURS, "optax", "value_and_grad"): "JAX, jit / optax, jit",
}
# (row, pair, what the reader is told) of the short table, in README too
SHORT: list[tuple[str, Pair, str]] = [
    ("compiled", ("numpy", OURS, "shortest formula", "value_and_grad"), "NumPy / shortest formula"),
    (
        "compiled",
        ("numpy", OURS, "scikit-learn", "value_and_grad"),
        "NumPy / scikit-learn",
    ),
    (
        "compiled",
        ("torch", f"{OURS}, by autograd", "PyTorch", "value_and_grad"),
        "PyTorch / its own, eager",
    ),
    (
        "compiled",
        ("torch.compile", f"{OURS}, by autograd", "PyTorch", "value_and_grad"),
        "PyTorch / its own, compiled",
    ),
    ("compiled", ("jax", OURS, "optax", "value_and_grad"), "JAX / optax, jit"),
    (
        PLAIN,
        ("numpy", OURS, "shortest formula", "value_and_grad"),
        "NumPy without a compiler / shortest formula",
    ),
]
SHORT_SIZES = (1, 10_000, 1_000_000, 10_000_000)
RATIO = "ours / other"
GPU = """
![float32: the time of each library in units of the floor](speed-gpu.svg)

Each sample waits for the device before and after. "Floor" is the cost of reading both arrays and
writing one.
"""


def cells(run: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """Return the pairs of a report that have these values."""
    return [
        one
        for one in run["results"]
        if "other" in one and all(one.get(key) == value for key, value in wanted.items())
    ]


def default(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what one thread took in a fresh process, on the row that is installed."""
    return cells(run, row=run["request"]["rows"][0], threads=1, heap="fresh")


def ratios(
    found: Sequence[dict[str, Any]],
    pairs: dict[Pair, str],
    keys: Sequence[tuple[str, int]],
    head: Iterable[str],
) -> str:
    """Return a table: a line for each pair, a column for each dtype and size."""
    by_cell = {
        (one["group"], one["ours"], one["other"], one["task"], one["dtype"], one["size"]): one
        for one in found
    }
    rows = []
    for pair, label in pairs.items():
        row = [by_cell.get((*pair, *key)) for key in keys]
        if any(row):
            rows.append([label, *(shown(one["ratio"]) if one else "" for one in row)])
    return table((RATIO, *head), rows)


def by_size(run: dict[str, Any], found: Sequence[dict[str, Any]], pairs: dict[Pair, str]) -> str:
    sizes = run["request"]["sizes"]
    return "\n\n".join(
        f"{dtype}\n\n"
        + ratios(found, pairs, [(dtype, n) for n in sizes], (f"n = {power(n)}" for n in sizes))
        for dtype in run["request"]["dtypes"]
    )


def by_dtype(run: dict[str, Any], found: Sequence[dict[str, Any]], pairs: dict[Pair, str]) -> str:
    """Return one table of all dtypes, with the sizes that were measured."""
    sizes = sorted({one["size"] for one in found})
    keys = [(dtype, n) for dtype in run["request"]["dtypes"] for n in sizes]
    return ratios(found, pairs, keys, (f"{dtype}, {power(n)}" for dtype, n in keys))


def keywords(run: dict[str, Any]) -> str:
    dtypes = run["request"]["dtypes"]
    by_name: dict[str, dict[str, str]] = {}
    for one in run["results"]:
        if one["group"] == "keywords":
            by_name.setdefault(one["name"], {})[one["dtype"]] = shown(one["ratio"])
    rows = [[name, *(row.get(dtype, "") for dtype in dtypes)] for name, row in by_name.items()]
    return table(("time per element / the plain call's", *dtypes), rows)


def medians(results: Iterable[dict[str, Any]], dtype: str) -> dict[str, dict[int, float]]:
    """Return nanoseconds per element of the gradient of the mean, by implementation and size."""
    found: dict[str, dict[int, float]] = {}
    for one in results:
        if (one["task"], one["dtype"]) == ("value_and_grad", dtype):
            for name, key in ((one["ours"], "our"), (one["other"], "their")):
                by_name = found.setdefault(f"{one['group']}: {name}", {})
                by_name[one["size"]] = one[f"{key} median, ns an element"]
    return found


def nanoseconds(found: dict[str, dict[int, float]], sizes: Sequence[int]) -> str:
    return table(
        ("", *(f"n = {power(size)}" for size in sizes)),
        (
            [name, *(digits(by_size[size]) if size in by_size else "" for size in sizes)]
            for name, by_size in found.items()
        ),
    )


def digits(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def machine(run: dict[str, Any]) -> str:
    about, versions = run["machine"], run.get("versions", {})
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    uses = about["numpy dispatch"]
    device = "".join(f"{name} {value}, " for name, value in about.get("device", {}).items())
    return (
        f"{device}{about['cpu']}, {about['system']}, {about['libc']}, Python {about['python']}, "
        f"{packages}; NumPy computes exp by {uses['exp float32']} and log1p by "
        f"{uses['log1p float32']}; {about['date']}."
    )


def on_a_gpu(run: dict[str, Any]) -> Iterator[str]:
    """Yield the section of a GPU: pairs of one library, and ours on CuPy beside all."""
    yield from ("## On a GPU", machine(run), GPU.strip())
    sizes, pairs = run["request"]["sizes"], {}
    for one in run["results"]:
        mine, its = (one[name].rpartition(", ")[2] for name in ("ours", "other"))
        if mine in ("CuPy", its):
            pair = (one["group"], one["ours"], one["other"], one["task"])
            pairs[pair] = f"{one['ours'].replace(OURS, 'ours')} / {one['other']}"
    yield by_size(run, run["results"], pairs)
    yield nanoseconds(medians(run["results"], "float32"), sizes)


def of_row(run: dict[str, Any], row: str, title: str, pairs: dict[Pair, str]) -> Iterator[str]:
    """Yield the tables of a row of NumPy's."""
    yield f"## {title}"
    yield by_size(run, cells(run, row=row, threads=1, heap="fresh"), pairs)
    warm, both = cells(run, row=row, heap="warm"), cells(run, row=row, threads=2)
    if warm:
        yield "**With a warm heap**, in a process that freed a larger array before:"
        yield by_dtype(run, warm, pairs)
    if both:
        yield "**Two threads for PyTorch, by the wall:**"
        yield by_dtype(run, both, ON_TENSORS)


def summary(run: dict[str, Any], library: str = "") -> str:
    """Return what most readers want of all libraries or of one: float32, medians alone."""
    lines = []
    for row, pair, label in SHORT:
        found = [short(run, row, pair, size) for size in SHORT_SIZES]
        if label.startswith(library):
            lines.append([label, *("" if one is None else f"{one:.2f}" for one in found)])
    about = run["machine"]
    head = (RATIO, *(f"n = {power(size)}" for size in SHORT_SIZES))
    return f"{table(head, lines)}\n\n{about['cpu']}, {about['kernels']}, {about['date']}."


def short(run: dict[str, Any], row: str, pair: Pair, size: int) -> float | None:
    """Return the median ratio of a pair in float32, or None where it was not measured."""
    group, ours, other, task = pair
    wanted = {"group": group, "ours": ours, "other": other, "task": task, "size": size}
    level = PLAIN if row == PLAIN else run["request"]["rows"][0]
    found = cells(run, **wanted, dtype="float32", row=level, threads=1, heap="fresh")
    return float(found[-1]["ratio"]["median"]) if found else None


def share(run: dict[str, Any]) -> str:
    """Return what NumPy needs of the shortest formula's time, at a million elements."""
    row, pair, _ = SHORT[0]
    return f"{short(run, row, pair, 1_000_000):.0%}".replace("%", "\N{NO-BREAK SPACE}%")


def gradients(run: dict[str, Any], name: str) -> str:
    """Return the memory that an implementation takes, in gradients."""
    return f"{run['memory'][name]:.1f}"


def page(run: dict[str, Any]) -> str:
    request, (row, *_) = run["request"], run["request"]["rows"]
    plain = cells(run, row=PLAIN, threads=1, heap="fresh")
    parts = [f"Measured on: {machine(run)}"]
    if row != PLAIN:
        parts += of_row(run, row, f"With the compiled kernels ({row})", PAIRS)
    parts += of_row(run, PLAIN, "Without a compiler", PAIRS if row == PLAIN else BY_FORMULA)
    parts += [
        "## Keywords, dtypes and layouts",
        "The plain call has a million elements, of shape (1000, 1000), and a warm heap. Every line "
        "is the gradient and the mean loss on NumPy, if it names nothing else; over one axis "
        "there is a mean for each row or column.",
        keywords(run),
        "## Nanoseconds per element",
        "Medians for loss and gradient of the mean, in fresh processes.",
    ]
    for dtype in request["dtypes"]:
        found = medians(default(run), dtype)
        if row != PLAIN:
            of_plain = medians(plain, dtype).get(f"numpy: {OURS}", {})
            found[f"numpy: {OURS}, without a compiler"] = of_plain
        parts += [dtype, nanoseconds(found, request["sizes"])]
    rows = [[name, f"{value:.2f}"] for name, value in run["memory"].items()]
    head = (f"{power(request['memory'])} float32, loss and gradient", "peak, in gradients")
    parts += ["## Memory", table(head, rows)]
    gpu = load("gpu")
    return "\n\n".join([*parts, *(on_a_gpu(gpu) if gpu else ())])


def pages(run: dict[str, Any]) -> dict[Path, Sections]:
    """Return what each page has of the published report."""
    return {
        DOCS / "speed.md": {"speed": lambda: summary(run), "figures": lambda: page(run)},
        DOCS / "torch.md": {"speed": lambda: summary(run, "PyTorch")},
        DOCS / "jax.md": {"speed": lambda: summary(run, "JAX")},
        README: {
            "share": lambda: share(run),
            "memory": lambda: gradients(run, f"{OURS} on NumPy"),
            "their memory": lambda: gradients(run, "shortest formula in NumPy"),
            "speed": lambda: summary(run),
        },
    }


def main(report: str = "") -> None:
    """Print the tables of another report, or put those of the published one into the pages."""
    run = json.loads(Path(report).read_text()) if report else load("speed")
    if run is None:
        sys.exit("there is no benchmarks/data/speed.json: python benchmarks/speed.py makes it")
    if report:
        sys.stdout.write(page(run) + "\n")
        return
    for path, sections in pages(run).items():
        fill(path, sections)


if __name__ == "__main__":
    main(*sys.argv[1:])
