"""Write docs/accuracy.md and tests/laws/golden.json from what verify left in docs/accuracy/data.

python docs/accuracy/page.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from portable_bce._verify.subjects import Spec
from portable_bce._verify.verdict import Verdict

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = HERE / "data"
VALUES = ("loss", "grad", "hess")
SPECIAL = "special cases"
SPACE = "\N{NO-BREAK SPACE}"  # a figure and its bound stay on one line


def runs(pattern: str) -> list[dict[str, Any]]:
    """Return the reports whose file matches, in the order of their names."""
    return [
        {**bounded(json.loads(path.read_text())), "name": path.stem}
        for path in sorted(DATA.glob(pattern))
    ]


class Recorded(Spec):
    """What was measured where there were no compiled kernels, whatever this machine has."""

    @property
    def is_compiled(self) -> bool:
        """Whether the compiled kernels computed."""
        return False


def row(run: dict[str, Any]) -> str:
    """Name what NumPy's arrays were computed by: "plain", as all was before 2026-11-25."""
    return str(run["machine"].get("kernels", "plain"))


def bounded(run: dict[str, Any]) -> dict[str, Any]:
    """Give each cell what the contract allows today, whatever it did when it was measured."""
    for result in run.get("results", ()):
        spec = (Recorded if row(run) == "plain" else Spec)(
            result["implementation"],
            result["backend"],
            result["dtype"],
            compute_dtype=result["compute_dtype"],
        )
        verdict = Verdict(spec, result["version"], {}, [])
        for one in result["cells"]:
            one["bound"] = verdict.bound((one["targets"], one["logits"], one["value"]))
    return run


def numpy_runs() -> list[dict[str, Any]]:
    others = ("libraries", "peers", "constants")
    return [run for run in runs("*.json") if not run["name"].startswith(others)]


def level(run: dict[str, Any]) -> str:
    """Name the instruction set that NumPy computed exp with."""
    return str(run["machine"]["numpy dispatch"]["exp float32"]).replace(
        "baseline(X86_V2)", "X86_V2"
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ulps(number: float) -> str:
    if number == float("inf"):
        return "∞"
    if number < 1e4:
        return f"{number:.4f}" if number < 0.6 else f"{number:.2f}"
    digits, power = f"{number:.1e}".split("e")
    return f"{digits} · 10^{int(power)}^".replace(f"^{int(power)}^", superscript(int(power)))


def superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


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
    total = sum(one["points"] for one in cells if one["value"] == "loss")
    return f"{total:,}"


def by_targets(result: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name in dict.fromkeys(one["targets"] for one in result["cells"]):
        yield name, [one for one in result["cells"] if one["targets"] == name]


def title(result: dict[str, Any]) -> str:
    parts = [result["backend"], *(["under jit"] if result["compiled"] else [])]
    return " ".join(parts)


def computed(result: dict[str, Any]) -> str:
    double = f" in {result['compute_dtype']}" if result["compute_dtype"] else ""
    return f"{result['dtype']}{double}"


def numpy_table() -> str:
    rows = []
    for run in numpy_runs():
        request = run["request"]
        how = "every logit" if request["exhaustive"] else "random"
        if request["every"] > 1:
            how = f"one logit in {request['every']}"
        for result in run["results"]:
            for name, cells in by_targets(result):
                kept = "yes" if all(one["ulps"] <= one["bound"] for one in cells) else "**no**"
                row = [computed(result), name, level(run), how, points(cells)]
                rows.append((row, [*row, *shown(cells, bounds=True), kept]))
    order = ["float16", "bfloat16", "float32", "float32 in float64", "float64"]
    rows.sort(key=lambda one: (order.index(one[0][0]), one[0][3] == "random"))
    head = ["dtype", "targets", "exp", "logits", "points", "loss", "gradient", "Hessian", "kept"]
    return table(head, (row for _, row in rows))


def worst_table() -> str:
    """Return the logits of the largest errors, for the exhaustive float32 sweeps."""
    rows = []
    for run in runs("*-float32-hard.json"):
        for result in run["results"]:
            for value in VALUES:
                one = worst(result["cells"], value)
                assert one is not None
                x, y = float.fromhex(one["x"]), float.fromhex(one["y"])
                rows.append(
                    [level(run), value, ulps(one["ulps"]), f"`{one['x']}`", f"{x:.9g}", f"{y:g}"]
                )
    return table(["exp", "value", "ULP", "logit", "in decimals", "target"], rows)


def libraries_table() -> str:
    rows = []
    for run in runs("libraries*.json"):
        request = run["request"]
        how = f"one logit in {request['every']}" if request["exhaustive"] else "random"
        for result in run["results"]:
            plain = [one for one in result["cells"] if one["targets"] != "hard"]
            hard = [one for one in result["cells"] if one["targets"] == "hard"]
            for name, cells in (("hard", hard), ("soft", plain)):
                if cells:
                    rows.append(
                        [
                            title(result),
                            result["version"],
                            computed(result),
                            name,
                            how,
                            points(cells),
                            *shown(cells, bounds=True),
                        ]
                    )
    head = [
        "library",
        "version",
        "dtype",
        "targets",
        "logits",
        "points",
        "loss",
        "gradient",
        "Hessian",
    ]
    return table(head, rows)


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


def machine() -> str:
    run = numpy_runs()[0]["machine"]
    versions = f"Python {run['python']}, NumPy {run['numpy']}, {run['libc']}"
    return f"{run['cpu']} ({run['system']}), {versions}, {run['date']}"


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


def fill(path: Path, sections: dict[str, Callable[[], str]]) -> None:
    """Replace what stands between the marks of each section."""
    text = path.read_text()
    for name, make in sections.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, mark, rest = text.partition(start)
        _, closing, after = rest.partition(end)
        if not (mark and closing):
            raise SystemExit(f"{path} has no section {name}")
        text = f"{before}{start}\n{make()}\n{end}{after}"
    path.write_text(text)


def main() -> None:
    """Fill the pages and write the golden cases."""
    fill(
        ROOT / "docs" / "accuracy.md",
        {
            "machine": machine,
            "numpy": numpy_table,
            "worst": worst_table,
            "reference": reference,
            "libraries": libraries_table,
            "peers float32": lambda: peers_table("float32"),
            "peers float64": lambda: peers_table("float64"),
        },
    )
    fill(ROOT / "docs" / "derivation.md", {"constants": constants_table})
    cases = list({json.dumps({**one, "on": "", "ulps": 0}): one for one in golden()}.values())
    lines = ",\n ".join(json.dumps(one) for one in cases)
    (ROOT / "tests" / "laws" / "golden.json").write_text(f"[{lines}]\n")


if __name__ == "__main__":
    main()
