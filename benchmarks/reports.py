"""The reports of verify and of kernels/sweep.py in docs/accuracy/data, and how pages name them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pages import DOCS, superscript

from portable_bce._commands.subjects import Spec
from portable_bce._commands.sweep import EVERY, VALUES

DATA = DOCS / "accuracy" / "data"
SPECIAL = "special cases"
INFINITE_CASES = 3  # with the right label, the wrong one and a soft one
SPACE = "\N{NO-BREAK SPACE}"  # a figure and its bound stay on one line
FACTORS = ("weight", "pos_weight", "weight, pos_weight, smoothing")
# How tables name the values.
NAMES = {"loss": "loss", "grad": "gradient", "hess": "Hessian"}


def runs(pattern: str) -> list[dict[str, Any]]:
    """Return the reports whose file matches, in the order of their names."""
    return [report(path) for path in sorted(DATA.glob(pattern))]


@cache
def report(path: Path) -> dict[str, Any]:
    """Read a report."""
    return {**bounded(json.loads(path.read_text())), "name": path.stem}


def row(run: dict[str, Any]) -> str:
    """Name what NumPy's arrays were computed by: "plain", as all was before 2026-11-25."""
    return str(run["machine"].get("kernels", "plain"))


def bounded(run: dict[str, Any]) -> dict[str, Any]:
    """Give each cell what the contract allows today, whatever it did when it was measured."""
    for result in run.get("results", ()):
        spec = Spec(
            result["implementation"],
            result["backend"],
            result["dtype"],
            compute_dtype=result["compute_dtype"],
        )
        has_kernels = row(run) != "plain" and is_ours(result) and spec.is_on_cpu
        for one in result["cells"]:
            cell = one["targets"], one["logits"], one["value"]
            one["bound"] = spec.bound(cell, has_kernels=has_kernels)
    return run


def is_ours(result: dict[str, Any]) -> bool:
    """Tell whether ours was measured, and no peer."""
    return bool(result["implementation"] == "portable_bce")


def numpy_runs() -> list[dict[str, Any]]:
    others = ("libraries", "peers", "constants")
    return [run for run in runs("*.json") if not run["name"].startswith(others)]


def level(run: dict[str, Any]) -> str:
    """Name the instruction set that NumPy computed exp with."""
    return str(run["machine"]["numpy dispatch"]["exp float32"]).replace(
        "baseline(X86_V2)", "X86_V2"
    )


def ulps(number: float) -> str:
    if number == float("inf"):
        return "∞"
    if number < 1e4:
        return f"{number:.4f}" if number < 0.6 else f"{number:.2f}"
    return rounded(number)


def rounded(number: float) -> str:
    """Write two digits and a power of ten, on one line."""
    digits, power = f"{number:.1e}".split("e")
    return f"{digits} · 10{superscript(int(power))}".replace(" ", SPACE)


def worst(cells: Iterable[dict[str, Any]], value: str) -> dict[str, Any] | None:
    return max(
        (one for one in cells if one["value"] == value), key=lambda one: one["ulps"], default=None
    )


def shown(cells: list[dict[str, Any]], *, bounds: bool) -> list[str]:
    """Return the largest error of each value, and its bound."""
    found = (worst(cells, value) for value in VALUES)
    return ["" if one is None else figure(one, bounds=bounds) for one in found]


def figure(cell: dict[str, Any], *, bounds: bool) -> str:
    return ulps(cell["ulps"]) + (f"{SPACE}≤{SPACE}{cell['bound']:g}" if bounds else "")


def points(cells: list[dict[str, Any]]) -> str:
    """Return how many points were tried, such as 8.6 · 10⁹."""
    return rounded(sum(one["points"] for one in cells if one["value"] == "loss"))


def by_kind(result: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the cells of hard targets, of all, of soft ones, and of both with factors."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, cells in by_targets(result):
        soft = "soft" if name not in ("hard", EVERY) else name
        kinds.setdefault("with factors" if name in FACTORS else soft, []).extend(cells)
    yield from kinds.items()


def by_targets(result: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name in dict.fromkeys(one["targets"] for one in result["cells"]):
        yield name, [one for one in result["cells"] if one["targets"] == name]


def title(result: dict[str, Any]) -> str:
    parts = [result["backend"], *(["under jit"] if result["compiled"] else [])]
    return " ".join(parts)


def computed(result: dict[str, Any]) -> str:
    double = f" in {result['compute_dtype']}" if result["compute_dtype"] else ""
    return f"{result['dtype']}{double}"


def title_of_row(run: dict[str, Any]) -> str:
    """Name the row of NumPy's, and for the plain one the functions that NumPy chose."""
    if row(run) != "plain":
        return row(run).replace("compiled", "Compiled")
    return {
        "X86_V2": "Plain row on the baseline (X86_V2)",
        "X86_V3": "Plain row on AVX2 (X86_V3)",
        "X86_V4": "Plain row on AVX-512 (X86_V4)",
    }.get(level(run), f"Plain row, NumPy's exp by {level(run)}")


def tried(run: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """Say how many points were tried, and whether these are all logits."""
    request = run["request"]
    if not request["exhaustive"]:
        return points(cells)
    every = request["every"]
    return f"{points(cells)}, {'every logit' if every == 1 else f'one logit in {every}'}"


def machine(run: dict[str, Any]) -> str:
    """Say where and when a report was measured."""
    about = run["machine"]
    versions = f"Python {about['python']}, NumPy {about['numpy']}, {about['libc']}"
    return f"{about['cpu']} ({about['system']}), {versions}, {about['date']}"


def wrong_cases(result: dict[str, Any]) -> str:
    """Say which values are wrong at which special cases."""
    cases: dict[str, list[str]] = {}
    for one in result[SPECIAL]:
        if not one["right"]:
            cases.setdefault(one["case"], []).append(NAMES[one["value"]])
    by_values: dict[str, list[str]] = {}
    for case, values in cases.items():
        by_values.setdefault(", ".join(values), []).append(case)
    return "; ".join(f"{values}: {together(names)}" for values, names in by_values.items())


def together(cases: list[str]) -> str:
    """Name the cases of infinite logits as one, and the others each by itself."""
    start = "infinite, "
    labels = [case.removeprefix(start) for case in cases if case.startswith(start)]
    others = [
        case.replace(", beside others", " among others")
        for case in cases
        if not case.startswith(start)
    ]
    infinite = [f"infinite logits with the {' or '.join(labels)}"] if labels else []
    if len(labels) == INFINITE_CASES:
        infinite = ["infinite logits"]
    return ", ".join([*infinite, *others])
