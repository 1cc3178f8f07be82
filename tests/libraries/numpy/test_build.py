"""The compiler vectorises every kernel: a loop that it leaves alone costs a factor of ten.

GCC and Clang report the loops that they vectorised. The commands are those of the build, so a flag
that is missing from meson.build fails here, too.
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
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
KERNELS = ROOT / "portable_bce" / "_kernels"
HEADER = "kernels_generated.h"
ARM_LIBRARY = "aarch64-linux-gnu-gcc"  # whose headers Clang takes, too
if not (KERNELS / "engine.c").exists():
    pytest.skip("the sources of the kernels are not beside the tests", allow_module_level=True)

# A kernel begins at the start of a line and bears its name there, such as `static void k_loss(`.
KERNEL = re.compile(r"^[a-z][\w *]*\b(k_\w+)\(")
# How many bytes a register of each level has.
WIDTHS = {"avx2": 32, "avx512": 64, "neon": 16}


class Compiler(NamedTuple):
    """A compiler, its sibling for Arm, and how it reports a vectorised loop."""

    command: str
    for_arm: tuple[str, ...]
    options: tuple[str, ...]
    report: re.Pattern[str]
    unit: int  # bytes, of the width that it reports


COMPILERS = (
    Compiler(
        "gcc",
        ("aarch64-linux-gnu-gcc",),
        ("-fopt-info-vec-optimized",),
        re.compile(rf"{HEADER}:(\d+):\d+: optimized: loop vectorized using (\d+) byte vectors"),
        1,
    ),
    Compiler(
        "clang",
        ("clang", "--target=aarch64-linux-gnu"),
        ("-Rpass=loop-vectorize", "-fno-color-diagnostics"),
        re.compile(rf"{HEADER}:(\d+):\d+: remark: vectorized loop \(vectorization width: (\d+)"),
        8,
    ),
)


class Configured(NamedTuple):
    """A build folder that holds the generated header and the commands of the build."""

    folder: Path
    compiler: Compiler


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


def meson(*arguments: str, **environment: str) -> str:
    pytest.importorskip("mesonbuild")
    return output(sys.executable, "-m", "mesonbuild.mesonmain", *arguments, cwd=ROOT, **environment)


@pytest.fixture(scope="module", params=COMPILERS, ids=lambda compiler: compiler.command)
def configured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Configured:
    compiler: Compiler = request.param
    if shutil.which(compiler.command) is None:
        pytest.skip(f"{compiler.command} is not installed")
    folder = tmp_path_factory.mktemp("build")
    meson("setup", str(folder), "-Dkernels=enabled", CC=compiler.command)
    meson("compile", "-C", str(folder), "kernels_generated")
    return Configured(folder, compiler)


def commands(configured: Configured) -> dict[str, list[str]]:
    """Return the command that compiles the engine of each level, and of Arm's where it can be."""
    folder, compiler = configured
    listed = json.loads((folder / "compile_commands.json").read_text())
    engines = [one["command"] for one in listed if one["file"].endswith("engine.c")]
    found = {re.findall(r"-DLEVEL=(\w+)", one)[0]: shlex.split(one) for one in engines}
    if "avx2" in found and shutil.which(ARM_LIBRARY):
        common = [word for word in found["avx2"][1:] if not word.startswith("-m")]
        found["neon"] = [*compiler.for_arm, *common, "-ULEVEL", "-DLEVEL=neon"]
    return found


def loops(
    configured: Configured, command: list[str], source: Path, header: Path
) -> dict[str, set[int]]:
    """Return each loop of the kernels, and the widths in bytes that it was vectorised with."""
    folder, compiler = configured
    base = command[: command.index("-MD")]
    options = (*compiler.options, "-x", "c", "-c", str(source), "-o", os.devnull)
    report = output(*base, *options, cwd=folder)
    found: dict[int, tuple[str, set[int]]] = {}
    kernel = ""
    for number, line in enumerate(header.read_text().splitlines(), start=1):
        begun = KERNEL.match(line)
        kernel = begun[1] if begun else kernel
        if line.lstrip().startswith("for ("):
            found[number] = (f"{kernel}, line {number}", set())
    for number, width in compiler.report.findall(report):
        if int(number) in found:
            found[int(number)][1].add(int(width) * compiler.unit)
    return dict(found.values())


@pytest.mark.parametrize("level", WIDTHS)
def test_every_kernel_is_vectorised(configured: Configured, level: str) -> None:
    command = commands(configured).get(level)
    if command is None:
        pytest.skip(f"no compiler for {level}")
    header = configured.folder / HEADER
    found = loops(configured, command, KERNELS / "engine.c", header)
    assert found
    assert [loop for loop, widths in found.items() if WIDTHS[level] not in widths] == []


def test_a_kernel_that_is_not_vectorised_is_noticed(configured: Configured, tmp_path: Path) -> None:
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


WINDOWS = """
[binaries]
c = 'gcc'
[host_machine]
system = 'windows'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_system_without_a_tested_compiler_gets_the_pure_package_and_a_reason(
    tmp_path: Path,
) -> None:
    """GCC on Windows would build a module that crashes."""
    described = tmp_path / "windows.txt"
    described.write_text(WINDOWS)
    said = meson("setup", str(tmp_path / "build"), "--cross-file", str(described))
    assert "The package is pure Python, because on Windows no compiler has been tested." in said
    command = (sys.executable, "-m", "mesonbuild.mesonmain", "setup", str(tmp_path / "required"))
    options = ("-Dkernels=enabled", "--cross-file", str(described))
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=600, cwd=ROOT
    )
    assert done.returncode != 0
    assert "The kernels are enabled, but on Windows no compiler has been tested." in done.stdout
