"""python -m portable_bce verify: its verdict, its errors, and what an interrupt leaves."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from portable_bce import __main__ as command
from portable_bce import _kernels, bce_with_logits_value_and_grad
from portable_bce._backends import UnavailableError
from portable_bce._verify import peers, subjects, workers
from portable_bce._verify.measure import Worst, measure
from portable_bce._verify.progress import Progress
from portable_bce._verify.request import Request
from tests.backends import missing

# A few seconds' work: one block for each class of logit.
QUICK = ("verify", "--backend", "numpy", "--dtype", "float32", "--targets", "hard", "--points", "9")


def run(*arguments: str) -> int:
    return command.main([*QUICK, "--jobs", "1", *arguments])


def test_a_kept_contract_is_success_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert out.startswith(f"CPU kernels: {_kernels.describe()}\n")
    assert "The contract is kept on all 2." in out
    assert "numpy float32 computed in float64" in out
    promised = "0.501" if _kernels.levels else "4"
    assert re.search(rf"y hard +│ +\d\.\d+ \| {promised} ", out)
    assert "zero, infinities and NaN: as they should be" in out
    assert re.search(r"reference of float32: float64, within \S+e-\d+ ULP of mpmath", out)


def test_no_figure_is_cut_in_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--dtype", "float16", "--targets", "all") == 0
    out = capsys.readouterr().out
    assert " | 0.501 " in out  # beside 0.5001: the widest that there are
    assert "…" not in out


def test_without_mpmath_it_measures_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mpmath" else honest(name)
    )
    for name in [one for one in sys.modules if one.partition(".")[0] == "mpmath"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert run() == 0
    assert "reference of float32: float64, not held against mpmath" in capsys.readouterr().out


def test_a_broken_contract_is_failure_and_says_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = bce_with_logits_value_and_grad

    def wrong(*arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        loss, grad = honest(*arguments, **keywords)
        return loss, grad * loss.dtype.type(1 + 1e-6)

    monkeypatch.setattr(subjects, "bce_with_logits_value_and_grad", wrong)
    assert run() == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert (
        "The contract is broken on numpy float32; numpy float32 computed in float64."
        in " ".join(out.split())
    )


def test_json_has_every_cell_with_its_arguments(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    assert run("--json", str(path)) == 0
    found = json.loads(path.read_text())
    assert found["kept"] is True
    assert found["machine"]["numpy dispatch"]
    assert found["machine"]["kernels"] == _kernels.describe()
    assert found["reference"]["float32"]["ulps from mpmath"] < 2**-25
    native, double = found["results"]
    assert (native["compute_dtype"], double["compute_dtype"]) == (None, "float64")
    assert {cell["value"] for cell in native["cells"]} == {"loss", "grad", "hess"}
    for cell in native["cells"]:
        assert cell["ulps"] <= cell["bound"]
        assert math.isfinite(float.fromhex(cell["x"]))
        assert float.fromhex(cell["y"]) in (0.0, 1.0)
        assert cell["points"] == 9


def test_json_to_standard_output_is_nothing_but_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["kept"] is True


def test_jobs_change_nothing(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert run("--json", str(one)) == 0
    assert command.main([*QUICK, "--jobs", "2", "--json", str(two)]) == 0
    assert json.loads(one.read_text())["results"] == json.loads(two.read_text())["results"]


def test_an_interrupted_run_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, resumed, state = (tmp_path / name for name in ("whole", "resumed", "state"))
    assert run("--json", str(whole)) == 0
    measured: Any = measure
    calls: list[Any] = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(workers, "measure", interrupted)
    capsys.readouterr()
    assert run("--state", str(state)) == 130
    said = " ".join(capsys.readouterr().out.split())
    assert "stopped after 5 of 14 pieces; the same command goes on from" in said
    assert len(json.loads(state.read_text())["done"]) == 5
    assert run("--state", str(state), "--json", str(resumed)) == 0
    assert len(calls) == 6 + 14 - 5
    assert not state.exists()
    one, other = (json.loads(path.read_text()) for path in (whole, resumed))
    assert one["results"] == other["results"]


def test_a_run_may_go_on_with_other_jobs(tmp_path: Path) -> None:
    one, other = (Request(jobs=jobs, state=tmp_path / str(jobs)) for jobs in (1, 2))
    assert one.identity() == other.identity()
    assert one.identity() != Request(seed=1).identity()


def test_an_interrupt_without_a_state_says_how_to_keep_it_next_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "measure", interrupted)
    assert run() == 130
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing was kept: give --state FILE to go on later" in said


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    progress = Progress({"seed": 0, "points": 5}, path)
    worst = Worst(1.0, 2, 0.5, 1.0, None, None, 0.0, 0.25)
    progress.add(3, "numpy", {("hard", "eps to 1", "loss"): worst})
    progress.write()
    again = Progress.resumed({"seed": 0, "points": 5}, path)
    assert (again.done, again.worst) == (progress.done, progress.worst)
    with pytest.raises(UnavailableError, match="left by another run, which differs in seed; "):
        Progress.resumed({"seed": 1, "points": 5}, path)


def test_a_state_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("chapter one")
    assert run("--state", str(path)) == 2
    assert path.read_text() == "chapter one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--points", "0"], "`--points` must be at least 1; got 0"),
        (["--jobs", "-1"], "`--jobs` must be at least 1; got -1"),
        (
            ["--json", "nowhere/found.json"],
            "`--json` must be a file in a folder that exists; nowhere does not",
        ),
        (["--json", "/"], "`--json` must be a file; / is a folder"),
        (["--state", "/"], "`--state` must be a file; / is a folder"),
        (["--seed", "-1"], "`--seed` must not be negative; got -1"),
        (["--every", "4"], "`--every` thins a sweep; add --exhaustive, or use --points"),
        (
            ["--exhaustive", "--dtype", "float64"],
            "`--exhaustive` takes float16, bfloat16 and float32; float64 has 2^64 logits. "
            "Leave it out and raise --points",
        ),
        (
            ["--dtype", "float16", "--compute-dtype", "float64"],
            "`--compute-dtype float64` is measured for float32; got --dtype float16. "
            "Leave --dtype out",
        ),
        (
            ["--backend", "numpy", "--device", "cuda:7"],
            "`--device` must be a device of numpy, cpu; got cuda:7",
        ),
        (
            ["--peers", "--targets", "weighted"],
            "`--peers` compares native loss, gradient and Hessian without weights; leave "
            "--compute-dtype out and give --targets hard, soft or plain",
        ),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "measure", None)
    assert command.main(["verify", *arguments]) == 2
    assert capsys.readouterr().err == f"python -m portable_bce verify: {message}\n"


@pytest.mark.parametrize("name", ["verify", "bench"])
def test_without_rich_the_extra_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in list(sys.modules):
        if module.partition(".")[0] == "rich" or module.startswith(
            ("portable_bce._verify.command", "portable_bce._verify.report", "portable_bce._bench")
        ):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rich", None)
    for package, attribute in (("portable_bce._verify", "command"), ("portable_bce", "_bench")):
        owner = sys.modules[package]
        monkeypatch.delattr(owner, attribute, raising=False)
    assert command.main([name]) == 2
    assert 'pip install "portable-bce[verify]"' in capsys.readouterr().err


def test_a_dtype_without_a_reference_is_left_out_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where NumPy's long double is a double (macOS on Arm, Windows)."""
    monkeypatch.setattr(
        "portable_bce._verify.request.has_reference", lambda form: form.name != "float64"
    )
    quick = ["--backend", "numpy", "--targets", "hard", "--points", "9", "--jobs", "1"]
    assert command.main(["verify", *quick, "--dtype", "float32", "float64"]) == 0
    assert "float64 is left out: NumPy has no wider dtype on this platform" in (
        " ".join(capsys.readouterr().out.split())
    )


def test_a_library_that_is_not_asked_for_and_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portable_bce._verify.request.installed", lambda name: name == "numpy")
    assert {spec.backend for spec in Request().specs()} == {"numpy"}


def test_a_library_that_is_asked_for_and_has_no_device_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("cupy")
    if missing("cupy") is None:
        pytest.skip("CuPy has a device here")
    assert command.main(["verify", "--backend", "cupy"]) == 2
    assert "CuPy finds no CUDA device" in capsys.readouterr().err


# name -> values of float32 hard labels that it loses altogether (DESIGN.md, section 5)
LOST = {
    "torch": {"loss", "grad", "hess"},
    "optax": {"hess"},
    "scikit-learn": {"loss"},  # computed in float64, from |x| = 33.3 on
    "scikit-learn loss_gradient": set(),
    "published": {"grad", "hess"},
    "sigmoid": {"loss", "grad", "hess"},
}


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_lose_what_they_are_known_to_lose(name: str, tmp_path: Path) -> None:
    package = {"torch": "torch", "optax": "optax"}.get(name, "sklearn" if "sc" in name else "numpy")
    pytest.importorskip(package)
    path = tmp_path / "peers.json"
    arguments = ["--peers", "--dtype", "float32", "--targets", "hard", "--points", "99"]
    assert command.main(["verify", *arguments, "--jobs", "1", "--json", str(path)]) == 0
    results = json.loads(path.read_text())["results"]
    (found,) = (one for one in results if one["implementation"] == name)
    lost = {cell["value"] for cell in found["cells"] if cell["ulps"] > 1e6}
    assert lost == LOST[name]
