"""Laws of every command, bench among them: how it ends, and what it says then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

import portable_bce
from portable_bce import __main__ as command
from portable_bce import _kernels
from portable_bce._commands import machine

pytest.importorskip("rich")

COMMANDS = ("demo", "verify", "source")
PROGRAMS = {name: f"python -m portable_bce {name}" for name in COMMANDS} | {
    "bench": "nox -s bench --"
}
# A module whose import does not succeed, and what there is in place of the import.
HINDRANCE = """
import sys

class Hindrance:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise {error}

sys.meta_path.insert(0, Hindrance())
"""
RUN = dict.fromkeys(COMMANDS, "from portable_bce.__main__ import main") | {
    "bench": "from bench import main"
}


def ended(name: str, options: str, module: str, error: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process in which the import of a module ends in an error."""
    arguments = [*([name] if name in COMMANDS else []), *options.split()]
    code = HINDRANCE.format(module=module, error=error)
    return subprocess.run(
        [sys.executable, "-c", f"{code}{RUN[name]}\nsys.exit(main({arguments}))"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize(
    ("name", "options", "module", "package", "extra"),
    [
        ("demo", "", "rich", "rich", "demo"),
        ("demo", "", "sklearn", "scikit-learn", "demo"),
        ("demo", "--plot convergence.png", "matplotlib", "matplotlib", "demo"),
        ("demo", "--backend torch", "torch", "torch", "torch"),
        ("verify", "", "rich", "rich", "verify"),
        ("verify", "--backend torch", "torch", "torch", "torch"),
        ("verify", "--backend dask", "dask", "dask", "dask"),
        ("bench", "--backend numpy", "rich", "rich", "verify"),
        ("bench", "--backend torch", "torch", "torch", "torch"),
        ("bench", "--backend numpy jax", "jax", "jax", "jax"),
        ("bench", "--backend gpu", "cupy", "cupy", "cupy"),
    ],
)
def test_a_missing_library_is_refused_with_what_installs_it(
    name: str, options: str, module: str, package: str, extra: str
) -> None:
    if package == "scikit-learn" or "--plot" in options:
        pytest.importorskip("sklearn")
    missing = f"ModuleNotFoundError('no {module}', name={module!r})"
    done = ended(name, options, module, missing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{PROGRAMS[name]} needs {package}, which is not installed: "
        f'pip install "portable-bce[{extra}]"\n'
    )


def test_a_missing_module_that_no_extra_brings_is_not_hidden() -> None:
    def broken() -> int:
        raise ModuleNotFoundError("no such module", name="ours")

    with pytest.raises(ModuleNotFoundError, match="no such module"):
        machine.ended("program", "demo", broken)


@pytest.mark.parametrize(
    ("name", "options", "module"),
    [
        ("demo", "", "portable_bce._commands.demo"),
        ("demo", "", "rich"),
        ("verify", "", "rich"),
        ("verify", "--backend torch", "torch"),
        ("source", "", "portable_bce._commands.source"),
        ("bench", "--backend torch", "torch"),
        ("bench", "--backend numpy", "rich"),
    ],
)
def test_an_interrupted_import_ends_a_command_in_one_line(
    name: str, options: str, module: str
) -> None:
    done = ended(name, options, module, "KeyboardInterrupt")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{PROGRAMS[name]}: stopped\n"


def test_an_interrupt_from_the_terminal_ends_a_run_in_one_line() -> None:
    """It reaches all processes of the group at once."""
    options = ["--backend", "numpy", "--points", str(10**9), "--jobs", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "portable_bce", "verify", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("CPU kernels: ")
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert re.fullmatch(r"python -m portable_bce verify: stopped.*\n", said)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_prints_the_usage_of_its_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main([name, "--frob", "1"])
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: python -m portable_bce {name} [-h]")
    assert said.endswith(f"portable_bce {name}: error: unrecognized arguments: --frob 1\n")


@pytest.mark.parametrize(
    ("name", "option"),
    [("demo", "--backend"), ("demo", "--solver"), ("verify", "--dtype"), ("source", "--as")],
)
def test_an_unknown_choice_is_an_error_of_usage(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main([name, option, "abacus"])
    assert exited.value.code == 2
    assert f"argument {option}: invalid choice: 'abacus'" in capsys.readouterr().err


def test_version_names_the_package_and_the_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(["--version"])
    assert exited.value.code == 0
    about = f"portable_bce {portable_bce.__version__}, CPU kernels: {_kernels.describe()}\n"
    assert capsys.readouterr().out == about


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m portable_bce")
    assert all(name in err for name in COMMANDS)
