"""Every level and compiler gives the same bits: Arm under QEMU, Clang, and what this CPU runs.

The engine knows nothing of Python, so that a driver in C (benchmarks/kernels/cases.c) calls it
where there is no Python. `nox -s arm` requires Arm, and takes a quarter of a million elements of
each kind.
"""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import backends

ROOT = Path(__file__).parents[3]
ENGINES = ROOT / "benchmarks" / "kernels" / "engines.py"
GOLDEN = next(ROOT.glob("tests/**/golden.json"))
ARM, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
# name -> level, compiler, options
COMPARED = {
    "NEON, GCC": ("neon", (ARM,), ("-static",)),
    "NEON, Clang": ("neon", ("clang", "--target=aarch64-linux-gnu"), ("-static",)),
    "AVX2, Clang": ("avx2", ("clang",), ()),
    "AVX-512, GCC": ("avx512", ("gcc",), ()),
    "AVX-512, Clang": ("avx512", ("clang",), ()),
}
IS_REQUIRED = "arm" in backends.required()
ELEMENTS = 2**18 if IS_REQUIRED else 2**9
SEED = 1

if not (ROOT / "portable_bce" / "_kernels" / "engine.c").exists():
    pytest.skip("the sources of the kernels are not beside the tests", allow_module_level=True)
engines: Any = runpy.run_path(str(ENGINES))
NATIVE: list[str] = engines["native_levels"]()
if not NATIVE or shutil.which("gcc") is None:
    pytest.skip("there is no level to compare with: it takes GCC", allow_module_level=True)


def launcher(name: str) -> list[str]:
    """Return what runs a program of a level, or skip the test; fail it where it is required."""
    level, compiler, _ = COMPARED[name]
    needed = [compiler[0]]
    if level == "neon" and "neon" not in NATIVE:
        needed += [ARM, EMULATOR]
    missing = [program for program in dict.fromkeys(needed) if shutil.which(program) is None]
    if missing and IS_REQUIRED and name == "NEON, GCC":
        pytest.fail(f"{name} must be tested here; not installed: {' '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    if level in NATIVE:
        return []
    if level != "neon":
        pytest.skip(f"this CPU does not run {level}, which QEMU does not emulate")
    return [EMULATOR]


class Programs:
    """The driver, built once for each level and compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cache  # noqa: B019  it lives as long as the module's fixture
    def build(self, level: str, compiler: tuple[str, ...], *options: str) -> Path:
        folder = self.folder / "-".join((level, *compiler, *options)).replace("/", "-")
        folder.mkdir()
        program: Path = engines["build"]("cases.c", level, folder, *options, compiler=compiler)
        return program

    @cache  # noqa: B019
    def output(self, name: str, *arguments: str, given: str = "") -> list[str]:
        """Return the lines that the program of a name prints; of "" what others are compared to."""
        level, compiler, options = COMPARED[name] if name else (NATIVE[-1], ("gcc",), ())
        program = self.build(level, compiler, *options)
        command = [*(launcher(name) if name else []), str(program), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("levels"))


def differing(one: list[str], other: list[str]) -> list[str]:
    """Return the kinds of call whose digests differ."""
    pairs = zip(one, other, strict=True)
    return [line.partition(" ")[2] for line, same in pairs if line != same]


@pytest.mark.parametrize("name", COMPARED)
def test_random_elements_have_the_same_bits(programs: Programs, name: str) -> None:
    """Each dtype, formula, set of outputs and of factors; elementwise, masked, divided, summed."""
    launcher(name)
    arguments = (str(ELEMENTS), str(SEED))
    assert differing(programs.output("", *arguments), programs.output(name, *arguments)) == []


@pytest.mark.parametrize("name", COMPARED)
def test_golden_cases_have_the_same_bits(programs: Programs, name: str) -> None:
    launcher(name)
    cases = json.loads(GOLDEN.read_text())
    lines = [
        " ".join([case["dtype"], *(case[key] or "1" for key in ("x", "y", "w", "p", "u"))])
        for case in cases
    ]
    given = "\n".join(lines)
    bits = programs.output(name, given=given)
    assert len(bits) == len(cases)
    assert bits == programs.output("", given=given)


def test_the_state_of_the_processor_does_not_matter(programs: Programs) -> None:
    """Results are those of the usual state; the driver itself checks that a call restores it."""
    lines = programs.output("", str(ELEMENTS), str(SEED))
    upwards = {line.replace(", rounding upwards", "") for line in lines if "upwards" in line}
    assert len(upwards) > 0
    assert upwards <= set(lines)


def test_one_contracted_product_is_noticed(programs: Programs) -> None:
    """Without -ffp-contract=off a compiler may fuse what the formula rounds apart."""
    contracted = programs.build(NATIVE[-1], ("gcc",), "-ffp-contract=fast")
    arguments = (str(2**9), str(SEED))
    printed = subprocess.check_output([contracted, *arguments], text=True).splitlines()
    assert differing(programs.output("", *arguments), printed)
