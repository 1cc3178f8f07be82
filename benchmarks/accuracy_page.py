"""Write the tables of accuracy, and tests/laws/golden.json, from the reports of verify.

The reports are in docs/accuracy/data; the tables in README and in the pages about accuracy, about
the derivation and about what others have.

python benchmarks/accuracy_page.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import DOCS, README, ROOT, Sections, fill, table
from reports import (
    NAMES,
    by_kind,
    by_targets,
    computed,
    is_ours,
    level,
    machine,
    numpy_runs,
    row,
    runs,
    shown,
    title,
    title_of_row,
    tried,
    ulps,
    worst,
    wrong_cases,
)

from portable_bce._commands.sweep import VALUES
from portable_bce._contract import bounds_for

GOLDEN = ROOT / "tests" / "laws" / "golden.json"
DTYPES = ["float16", "bfloat16", "float32", "float32 in float64", "float64"]
# How tables name what others call.
PEERS = {
    "torch": "PyTorch",
    "published": "published formula",
    "sigmoid": "BCE on sigmoid outputs",
    "scikit-learn loss_gradient": "scikit-learn, `loss_gradient`",
}


def numpy_tables() -> str:
    """Return a table for each row of NumPy's, the compiled ones first."""
    tables: dict[str, list[tuple[tuple[int, bool], list[str]]]] = {}
    machines: dict[str, str] = {}
    for run in sorted(numpy_runs(), key=lambda run: (row(run) == "plain", level(run) != "X86_V3")):
        title = title_of_row(run)
        machines[title] = machine(run)
        for result in run["results"]:
            # Compiled, all classes of a kind have one bound.
            classes = by_targets(result) if row(run) == "plain" else by_kind(result)
            for name, cells in classes:
                if any(one["ulps"] > one["bound"] for one in cells):
                    raise SystemExit(
                        f"{run['name']} exceeds the contract: {computed(result)} {name}"
                    )
                line = [computed(result), name, tried(run, cells), *shown(cells, bounds=True)]
                key = DTYPES.index(computed(result)), not run["request"]["exhaustive"]
                tables.setdefault(title, []).append((key, line))
    head = ["dtype", "targets", "points", *NAMES.values()]
    parts = []
    for title, lines in tables.items():
        lines.sort(key=lambda line: line[0])
        body = table(head, (line for _, line in lines))
        parts.append(f"### {title}\n\n{machines[title]}.\n\n{body}")
    return "\n\n".join(parts)


def summary() -> str:
    """Return the five rows that most readers want: what is promised, and what others lose."""
    plain = [
        one
        for run in runs("*-float32-hard.json")
        if row(run) == "plain"
        for result in run["results"]
        for one in result["cells"]
    ]
    peers = {
        result["implementation"]: [one for one in result["cells"] if one["targets"] == "hard"]
        for run in runs("peers.json")
        for result in run["results"]
        if result["dtype"] == "float32"
    }
    promised = {
        name: [f"{getattr(bounds_for(dtype, compiled=True), value):g}" for value in VALUES]
        for name, dtype in (("float16, bfloat16, float32", "float32"), ("float64", "float64"))
    }
    rows = [
        *([f"compiled, {name}: promised", *bounds] for name, bounds in promised.items()),
        ["without a compiler, float32: measured", *shown(plain, bounds=False)],
        ["PyTorch and its autograd, float32: measured", *shown(peers["torch"], bounds=False)],
        ["optax and `jax.grad`, float32: measured", *shown(peers["optax"], bounds=False)],
    ]
    return table(["", *NAMES.values()], rows)


def worst_table() -> str:
    """Return the logits of the largest errors, for the exhaustive float32 sweeps."""
    rows = []
    for run in sorted(runs("*-float32-hard.json"), key=lambda run: row(run) == "plain"):
        for result in run["results"]:
            for value in VALUES:
                one = worst(result["cells"], value)
                assert one is not None
                x, y = float.fromhex(one["x"]), float.fromhex(one["y"])
                logit = re.sub(r"\.?0+p", "p", one["x"])
                figures = [ulps(one["ulps"]), f"`{logit}`", f"{x:.9g}", f"{y:g}"]
                rows.append([title_of_row(run), NAMES[value], *figures])
    return table(["row", "value", "ULP", "logit", "in decimals", "target"], rows)


def libraries_table() -> str:
    """Return a row for each library, dtype and kind of target, of sweeps and samples together."""
    found: dict[tuple[str, str, str], tuple[str, list[dict[str, Any]]]] = {}
    for run in sorted(runs("libraries*.json"), key=lambda run: not run["request"]["exhaustive"]):
        for result in run["results"]:
            for kind, cells in by_kind(result):
                key = title(result), computed(result), kind
                # A sweep comes first, and has more points than a sample.
                found.setdefault(key, (tried(run, cells), []))[1].extend(cells)
    rows: list[list[str]] = []
    for (library, *classes), (number, cells) in sorted(found.items(), key=order):
        line = [*classes, number, *shown(cells, bounds=True)]
        # XLA gives the same under jit, but not always.
        if ["jax", *line] not in rows or library != "jax under jit":
            rows.append([library, *line])
    head = ["library", "dtype", "targets", "points", *NAMES.values()]
    versions = {result["version"] for run in runs("libraries*.json") for result in run["results"]}
    return f"{', '.join(sorted(versions))}.\n\n{table(head, rows)}"


def order(item: tuple[tuple[str, str, str], object]) -> tuple[bool, bool, int, bool]:
    """Sort by library, dtype and targets."""
    (library, dtype, kind), _ = item
    jax, jit = library.startswith("jax"), library.endswith("jit")
    return jax, jit, DTYPES.index(dtype), kind != "hard"


def peers_of(dtype: str) -> Iterator[dict[str, Any]]:
    """Yield what was measured of others, and of ours beside them."""
    for run in runs("peers.json"):
        for result in run["results"]:
            if result["dtype"] == dtype:
                ours = f"portable_bce on NumPy, {row(run)}"
                name = result["implementation"]
                yield {**result, "name": ours if is_ours(result) else PEERS.get(name, name)}


def peers_table(dtype: str) -> str:
    rows = []
    for result in peers_of(dtype):
        for kind in ("hard", "soft"):
            hard = kind == "hard"
            cells = [one for one in result["cells"] if (one["targets"] == "hard") is hard]
            wrong = wrong_cases(result) if hard else ""
            rows.append([result["name"], kind, *shown(cells, bounds=False), wrong])
    versions = ", ".join(dict.fromkeys(result["version"] for result in peers_of(dtype)))
    head = ["implementation", "targets", *NAMES.values(), "wrong at"]
    return f"{dtype}, by {versions}:\n\n{table(head, rows)}"


def others() -> str:
    """Return the largest float32 errors of hard labels: of others, and of our compiled kernels."""
    (compiled,) = (run for run in runs("*-float32-hard.json") if row(run).startswith("compiled"))
    ours = [one for result in compiled["results"] for one in result["cells"]]
    (jax,) = (
        [one for one in result["cells"] if one["targets"] == "hard"]
        for run in runs("libraries-sweep.json")
        for result in run["results"]
        if title(result) == "jax under jit"
    )
    rows = [
        ["portable_bce, compiled", *shown(ours, bounds=False), ""],
        ["portable_bce on JAX", *shown(jax, bounds=False), ""],
    ]
    for result in peers_of("float32"):
        if result["name"] in ("PyTorch", "optax", "scikit-learn", "published formula"):
            cells = [one for one in result["cells"] if one["targets"] == "hard"]
            rows.append([result["name"], *shown(cells, bounds=False), wrong_cases(result)])
    return table(["", *NAMES.values(), "wrong at"], rows)


def lost() -> str:
    """Return PyTorch's error where its gradient is 0."""
    (torch,) = (one for one in peers_of("float32") if one["implementation"] == "torch")
    one = worst((cell for cell in torch["cells"] if cell["targets"] == "hard"), "grad")
    assert one is not None
    return f"{one['ulps']:,.0f}"


def promised() -> str:
    """Return the largest error that is promised of float32 results."""
    return f"{bounds_for('float32', compiled=True).grad:g}"


def constants_table() -> str:
    rows = []
    for run in runs("constants-*.json"):
        loss, q, near = (run[name] for name in ("Lambda", "Q", "Q_1"))
        rows.append(
            [
                run["library"],
                level(run) if run["library"].startswith("numpy") else "its own",
                "every one" if run["one logit in"] == 1 else f"one in {run['one logit in']}",
                *(f"{run[name]:.2f}" for name in ("Lambda", "Q", "Q_1", "C_l", "C_q")),
                f"{max(loss + 1.25, loss / 2 + 2.5):.2f}",
                f"{max(q + 1, near + 2, q / 2 + 2):.2f}",
            ]
        )
    head = [
        "library",
        "exp",
        "logits",
        "Λ",
        "Q",
        "Q₁",
        "C_l",
        "C_q",
        "loss at most",
        "gradient at most",
    ]
    return table(head, rows)


def reference() -> str:
    """Say how far from mpmath the values are that errors were measured against."""
    rows: dict[str, list[str]] = {}
    for run in numpy_runs():
        for name, one in run.get("reference", {}).items():
            off = f"{one['ulps from mpmath']:.1e}"
            rows[f"plain {name}"] = [f"plain row, {name}", f"{one['dtype']} of NumPy", off]
        if "instrument" in run:
            for result in run["results"]:
                largest = max(map(difference, result["cells"]))
                wide = "long double in C" if result["dtype"] == "float64" else "double in C"
                name = f"compiled, {result['dtype']}"
                before = float(rows.get(name, ["", "", "0"])[2])
                rows[name] = [name, wide, f"{max(largest, before):.1e}"]
    head = ["errors of", "were measured against", "which is off from mpmath by at most, in ULP"]
    return table(head, sorted(rows.values()))


def difference(cell: dict[str, Any]) -> float:
    """Return how far apart two measurements of one error are."""
    ours, exact = cell["ulps"], cell["ulps in mpmath"]
    # Next to a power of two, one of the two may be in units that are half as large.
    return float(min(abs(scale * ours - exact) for scale in (0.5, 1, 2)))


def golden() -> Iterator[dict[str, Any]]:
    """Yield the worst case of each class of target and value, of every run of ours."""
    for run in [*numpy_runs(), *runs("libraries*.json")]:
        for result in run["results"]:
            for _, cells in by_targets(result):
                for value in VALUES:
                    one = worst(cells, value)
                    if one is not None:
                        names = ("targets", "value", "ulps", "x", "y", "w", "p", "u")
                        yield {
                            "on": f"{title(result)} {level(run)}",
                            "dtype": result["dtype"],
                            "compute_dtype": result["compute_dtype"],
                            **{name: one[name] for name in names},
                        }


def golden_text() -> str:
    """Return what the file of the golden cases holds."""
    cases = list({json.dumps({**one, "on": "", "ulps": 0}): one for one in golden()}.values())
    lines = ",\n ".join(json.dumps(one) for one in cases)
    return f"[{lines}]\n"


def pages() -> dict[Path, Sections]:
    """Return what each page has of the reports."""
    return {
        DOCS / "accuracy.md": {
            "summary": summary,
            "numpy": numpy_tables,
            "worst": worst_table,
            "reference": reference,
            "libraries": libraries_table,
            "peers float32": lambda: peers_table("float32"),
            "peers float64": lambda: peers_table("float64"),
        },
        DOCS / "derivation.md": {"constants": constants_table},
        DOCS / "why.md": {"others": others},
        README: {"accuracy": summary, "promised": promised, "lost": lost},
    }


def main() -> None:
    """Fill the pages and write the golden cases."""
    for path, sections in pages().items():
        fill(path, sections)
    GOLDEN.write_text(golden_text())


if __name__ == "__main__":
    main()
