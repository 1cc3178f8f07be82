"""Write the tables of accuracy, and tests/laws/golden.json, from the reports of verify.

The reports are in docs/accuracy/data; the tables in docs/accuracy.md, derivation.md and README.md.

python benchmarks/accuracy_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pages import DOCS, README, ROOT, fill, superscript, table

from portable_bce._commands.subjects import Spec
from portable_bce._commands.sweep import VALUES
from portable_bce._contract import bounds_for

DATA = DOCS / "accuracy" / "data"
SPECIAL = "special cases"
SPACE = "\N{NO-BREAK SPACE}"  # a figure and its bound stay on one line


def runs(pattern: str) -> list[dict[str, Any]]:
    """Return the reports whose file matches, in the order of their names."""
    return [
        {**bounded(json.loads(path.read_text())), "name": path.stem}
        for path in sorted(DATA.glob(pattern))
    ]


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
    digits, power = f"{number:.1e}".split("e")
    return f"{digits} · 10^{int(power)}^".replace(f"^{int(power)}^", superscript(int(power)))


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
    total = sum(one["points"] for one in cells if one["value"] == "loss")
    digits, power = f"{total:.1e}".split("e")
    return f"{digits} · 10{superscript(int(power))}".replace(" ", SPACE)


def by_kind(result: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the cells of hard targets, of soft ones, and of both with factors."""
    factors = ("weight", "pos_weight", "weight, pos_weight, smoothing")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, cells in by_targets(result):
        kind = "with factors" if name in factors else name if name == "hard" else "soft"
        kinds.setdefault(kind, []).extend(cells)
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


def numpy_tables() -> str:
    """Return a table for each row of NumPy's, the compiled ones first."""
    order = ["float16", "bfloat16", "float32", "float32 in float64", "float64"]
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
                key = order.index(computed(result)), not run["request"]["exhaustive"]
                tables.setdefault(title, []).append((key, line))
    head = ["dtype", "targets", "points", "loss", "gradient", "Hessian"]
    parts = []
    for title, lines in tables.items():
        lines.sort(key=lambda line: line[0])
        body = table(head, (line for _, line in lines))
        parts.append(f"### {title}\n\n{machines[title]}.\n\n{body}")
    return "\n".join(parts)


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
    return table(["", "loss", "gradient", "Hessian"], rows)


def worst_table() -> str:
    """Return the logits of the largest errors, for the exhaustive float32 sweeps."""
    rows = []
    for run in runs("*-float32-hard.json"):
        for result in run["results"]:
            for value in VALUES:
                one = worst(result["cells"], value)
                assert one is not None
                x, y = float.fromhex(one["x"]), float.fromhex(one["y"])
                figures = [ulps(one["ulps"]), f"`{one['x']}`", f"{x:.9g}", f"{y:g}"]
                rows.append([title_of_row(run), value, *figures])
    return table(["row", "value", "ULP", "logit", "in decimals", "target"], rows)


def libraries_table() -> str:
    rows = []
    for run in runs("libraries*.json"):
        for result in run["results"]:
            plain = [one for one in result["cells"] if one["targets"] != "hard"]
            hard = [one for one in result["cells"] if one["targets"] == "hard"]
            for name, cells in (("hard", hard), ("soft", plain)):
                if cells:
                    rows.append(
                        [
                            title(result),
                            computed(result),
                            name,
                            tried(run, cells),
                            *shown(cells, bounds=True),
                        ]
                    )
    head = ["library", "dtype", "targets", "points", "loss", "gradient", "Hessian"]
    found = {result["version"] for run in runs("libraries*.json") for result in run["results"]}
    return f"{', '.join(sorted(found))}.\n\n{table(head, rows)}"


def peers_table(dtype: str) -> str:
    rows = []
    for run in runs("peers.json"):
        for result in run["results"]:
            if result["dtype"] != dtype:
                continue
            ours = f"**portable_bce** on NumPy, {row(run)}"
            name = result["implementation"].replace("portable_bce", ours)
            for kind, wanted in (("hard", True), ("soft", False)):
                cells = [one for one in result["cells"] if (one["targets"] == "hard") is wanted]
                wrong = wrong_cases(result) if kind == "hard" else ""
                rows.append([name, result["version"], kind, *shown(cells, bounds=False), wrong])
    head = ["implementation", "version", "targets", "loss", "gradient", "Hessian", "wrong at"]
    return table(head, rows)


def wrong_cases(result: dict[str, Any]) -> str:
    cases: dict[str, list[str]] = {}
    for one in result[SPECIAL]:
        if not one["right"]:
            cases.setdefault(one["case"], []).append(one["value"])
    return "; ".join(f"{case} ({', '.join(values)})" for case, values in cases.items())


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


def machine(run: dict[str, Any]) -> str:
    """Say where and when a report was measured."""
    about = run["machine"]
    versions = f"Python {about['python']}, NumPy {about['numpy']}, {about['libc']}"
    return f"{about['cpu']} ({about['system']}), {versions}, {about['date']}"


def reference() -> str:
    found: dict[str, dict[str, Any]] = {}
    for run in numpy_runs():
        found |= run["reference"]
    return table(
        ["errors of", "were measured against", "which is off from mpmath by at most"],
        ([name, one["dtype"], f"{one['ulps from mpmath']:.1e} ULP"] for name, one in found.items()),
    )


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


def main() -> None:
    """Fill the pages and write the golden cases."""
    fill(
        DOCS / "accuracy.md",
        {
            "summary": summary,
            "numpy": numpy_tables,
            "worst": worst_table,
            "reference": reference,
            "libraries": libraries_table,
            "peers float32": lambda: peers_table("float32"),
            "peers float64": lambda: peers_table("float64"),
        },
    )
    fill(README, {"accuracy": summary})
    fill(DOCS / "derivation.md", {"constants": constants_table})
    cases = list({json.dumps({**one, "on": "", "ulps": 0}): one for one in golden()}.values())
    lines = ",\n ".join(json.dumps(one) for one in cases)
    (ROOT / "tests" / "laws" / "golden.json").write_text(f"[{lines}]\n")


if __name__ == "__main__":
    main()
