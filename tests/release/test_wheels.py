"""The wheels that release.yml builds: one per platform, and the pure one for all others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("cibuildwheel") is None:
    pytest.skip("`nox -s package` brings cibuildwheel", allow_module_level=True)

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
if not WORKFLOW.exists():
    pytest.skip("the workflow is not beside the tests", allow_module_level=True)

# platform and machine -> its wheels, of one Python for all
WHEELS = {
    ("linux", "x86_64"): ["cp311-manylinux_x86_64"],
    ("linux", "aarch64"): ["cp311-manylinux_aarch64"],
    ("macos", "arm64"): ["cp311-macosx_arm64"],
    ("macos", "x86_64"): ["cp311-macosx_x86_64"],
    ("windows", "AMD64"): [],
}


@pytest.mark.parametrize(("platform", "machine"), WHEELS)
def test_each_platform_has_one_compiled_wheel_and_windows_none(platform: str, machine: str) -> None:
    options = ("--platform", platform, "--archs", machine, "--print-build-identifiers")
    command = [sys.executable, "-m", "cibuildwheel", "--allow-empty", *options, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == WHEELS[platform, machine]


def test_nothing_is_published_before_all_wheels_are_built_and_tested() -> None:
    assert "    needs: [build, wheels, windows]\n" in WORKFLOW.read_text()
