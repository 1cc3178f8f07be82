"""The compiler vectorises every kernel: a loop that it leaves alone costs a factor of ten.

GCC reports the loops that it vectorised. The commands are those of the build, so a flag that is
missing from meson.build fails here, too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KERNELS = ROOT / "portable_bce" / "_kernels"
HEADER = "kernels_generated.h"
# A kernel begins at the start of a line and bears its name there, such as `static void k_loss(`.
KERNEL = re.compile(r"^[a-z][\w *]*\b(k_\w+)\(")
VECTORIZED = re.compile(rf"{HEADER}:(\d+):\d+: optimized: loop vectorized using (\d+) byte vectors")
# How many bytes a register of each level has.
WIDTHS = {"avx2": 32, "avx512": 64, "neon": 16}
ARM_COMPILER = "aarch64-linux-gnu-gcc"


def output(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build folder that holds the generated header and the commands of the build."""
    if not (KERNELS / "engine.c").exists():
        pytest.skip("the sources of the kernels are not beside the tests")
    if shutil.which("gcc") is None:
        pytest.skip("only GCC reports what it vectorised as this test reads it")
    pytest.importorskip("mesonbuild")
    folder = tmp_path_factory.mktemp("build")
    meson = (sys.executable, "-m", "mesonbuild.mesonmain")
    output(*meson, "setup", str(folder), "-Dkernels=enabled", cwd=ROOT, CC="gcc")
    output(*meson, "compile", "-C", str(folder), "kernels_generated", cwd=ROOT)
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the command that compiles the engine of each level, and of Arm's where it can be."""
    listed = json.loads((folder / "compile_commands.json").read_text())
    engines = [one["command"] for one in listed if one["file"].endswith("engine.c")]
    found = {re.findall(r"-DLEVEL=(\w+)", one)[0]: shlex.split(one) for one in engines}
    if "avx2" in found and shutil.which(ARM_COMPILER):
        common = [word for word in found["avx2"][1:] if not word.startswith("-m")]
        found["neon"] = [ARM_COMPILER, *common, "-ULEVEL", "-DLEVEL=neon"]
    return found


def loops(folder: Path, command: list[str], source: Path, header: Path) -> dict[str, set[int]]:
    """Return each loop of the kernels, and the widths in bytes that it was vectorised with."""
    base = command[: command.index("-MD")]
    options = ("-fopt-info-vec-optimized", "-x", "c", "-c", str(source), "-o", os.devnull)
    report = output(*base, *options, cwd=folder)
    found: dict[int, tuple[str, set[int]]] = {}
    kernel = ""
    for number, line in enumerate(header.read_text().splitlines(), start=1):
        begun = KERNEL.match(line)
        kernel = begun[1] if begun else kernel
        if line.lstrip().startswith("for ("):
            found[number] = (f"{kernel}, line {number}", set())
    for number, width in VECTORIZED.findall(report):
        if int(number) in found:
            found[int(number)][1].add(int(width))
    return dict(found.values())


@pytest.mark.parametrize("level", WIDTHS)
def test_every_kernel_is_vectorised(configured: Path, level: str) -> None:
    command = commands(configured).get(level)
    if command is None:
        pytest.skip(f"no compiler for {level}")
    found = loops(configured, command, KERNELS / "engine.c", configured / HEADER)
    assert found
    assert [loop for loop, widths in found.items() if WIDTHS[level] not in widths] == []


def test_a_kernel_that_is_not_vectorised_is_noticed(configured: Path, tmp_path: Path) -> None:
    """Each product of the second waits for the product before it."""
    header = tmp_path / HEADER
    header.write_text(
        "void k_parallel(double *x, long n)\n{\n"
        "    for (long i = 0; i < n; i++) x[i] += 1;\n}\n"
        "void k_serial(double *x, long n)\n{\n"
        "    for (long i = 1; i < n; i++) x[i] *= x[i - 1];\n}\n"
    )
    level, command = next(iter(commands(configured).items()))
    found = loops(configured, command, header, header)
    assert WIDTHS[level] in found["k_parallel, line 3"]
    assert found["k_serial, line 7"] == set()
