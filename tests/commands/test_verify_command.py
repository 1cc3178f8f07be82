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
from portable_bce._commands import machine, subjects, verify
from portable_bce._commands.machine import UnavailableError
from portable_bce._commands.sweep import Worst, measure
from portable_bce._commands.verify import Request, State
from tests.backends import missing

# A few seconds' work: one block for each class of logit.
QUICK = ("verify", "--backend", "numpy", "--dtype", "float32", "--targets", "hard", "--points", "9")


def run(*arguments: str) -> int:
    return command.main([*QUICK, "--jobs", "1", *arguments])


def test_a_kept_contract_is_success_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert out.startswith(f"CPU kernels: {_kernels.describe()}\n")
    assert out.endswith("The contract is kept on all 2 rows.\n")
    promised = "0.501" if _kernels.levels else "4"
    assert re.search(rf"numpy float32 +│ +\d\.\d+ \| {promised} ", out)
    assert "Zero, infinities and NaN give what they should." in out
    assert re.search(r"Errors of float32 are measured in float64, within \S+ ULP of mpmath", out)


def test_one_row_is_named_and_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--compute-dtype", "float64") == 0
    out = capsys.readouterr().out
    assert out.endswith("The contract is kept on numpy float32 computed in float64.\n")


@pytest.mark.parametrize("columns", ["40", "80"])
def test_no_figure_is_cut(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run("--dtype", "float16", "--targets", "all") == 0
    out = capsys.readouterr().out
    assert "0.5001 | 0.501 " in out  # the widest that there are
    assert "…" not in out


def test_without_mpmath_it_measures_and_says_what_brings_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mpmath" else honest(name)
    )
    for name in [one for one in sys.modules if one.partition(".")[0] == "mpmath"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert run() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not compared with mpmath" in said
    assert 'pip install "portable-bce[verify]"' in said


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
    assert " NO " in out
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

    monkeypatch.setattr(verify, "measure", interrupted)
    capsys.readouterr()
    assert run("--state", str(state)) == 130
    assert capsys.readouterr().err == (
        "python -m portable_bce verify: stopped after 5 of 14 pieces; "
        f"the same command goes on from {state}\n"
    )
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

    monkeypatch.setattr(verify, "measure", interrupted)
    assert run() == 130
    assert capsys.readouterr().err.endswith(
        "; nothing was kept: give --state FILE to go on later\n"
    )


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = State({"seed": 0, "points": 5}, path)
    worst = Worst(1.0, 2, 0.5, 1.0, None, None, 0.0, 0.25)
    state.add(3, {("hard", "eps to 1", "loss"): worst})
    state.write()
    assert State.resumed({"seed": 0, "points": 5}, path).done == state.done
    with pytest.raises(UnavailableError, match="left by another run, which differs in seed; "):
        State.resumed({"seed": 1, "points": 5}, path)


def test_a_state_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("chapter one")
    assert run("--state", str(path)) == 2
    assert path.read_text() == "chapter one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--json", "nowhere/found.json"],
            "`--json` must be a file in a folder that exists; nowhere does not",
        ),
        (["--json", "/"], "`--json` must be a file; / is a folder"),
        (["--state", "/"], "`--state` must be a file; / is a folder"),
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
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "measure", None)
    assert command.main(["verify", *arguments]) == 2
    assert capsys.readouterr().err == f"python -m portable_bce verify: {message}\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--points", "0", "must be at least 1; got 0"),
        ("--every", "0", "must be at least 1; got 0"),
        ("--jobs", "-1", "must be at least 1; got -1"),
        ("--seed", "-1", "must be at least 0; got -1"),
        ("--points", "many", "invalid integer value: 'many'"),
    ],
)
def test_numbers_out_of_range_are_errors_of_usage(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        run(option, value)
    assert exited.value.code == 2
    assert f"argument {option}: {message}\n" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_run_says_how_far_it_is(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar on a terminal, and a line now and then in a file; standard output has neither."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(machine, "PAUSE", 0.0)
    assert run() == 0
    out, err = capsys.readouterr()
    assert "elapsed, " in err
    assert "elapsed" not in out
    assert terminal or re.match(
        r"7% of 126 points, 0:00:0\d elapsed, .* left: numpy float32\n", err
    )


def test_every_class_that_can_be_asked_for_is_known() -> None:
    """The command line lists them without importing what measures."""
    choices = command._parser().parse_args(["verify"]).parser._option_string_actions
    assert tuple(choices["--targets"].choices) == tuple(verify.CLASSES)


def test_a_dtype_without_a_reference_is_left_out_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where NumPy's long double is a double (macOS on Arm, Windows)."""
    monkeypatch.setattr(
        "portable_bce._commands.verify.has_reference", lambda form: form.name != "float64"
    )
    quick = ["--backend", "numpy", "--targets", "hard", "--points", "9", "--jobs", "1"]
    assert command.main(["verify", *quick, "--dtype", "float32", "float64"]) == 0
    assert "float64 is left out: NumPy has no wider dtype on this platform" in (
        " ".join(capsys.readouterr().out.split())
    )


def test_a_library_that_is_not_asked_for_and_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portable_bce._commands.verify.installed", lambda name: name == "numpy")
    assert {spec.backend for spec in Request().specs()} == {"numpy"}


def test_a_library_that_is_asked_for_and_has_no_device_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("cupy")
    if missing("cupy") is None:
        pytest.skip("CuPy has a device here")
    assert command.main(["verify", "--backend", "cupy"]) == 2
    assert "CuPy finds no CUDA device" in capsys.readouterr().err
