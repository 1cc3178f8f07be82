"""What is published, as `nox -s package` has built it and installed it beside nothing else."""

from __future__ import annotations

import email
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

if "PORTABLE_BCE_BUILT" not in os.environ:
    pytest.skip("`nox -s package` builds what is tested here", allow_module_level=True)

ROOT = Path(__file__).parents[1]
BUILT = Path(os.environ["PORTABLE_BCE_BUILT"])
WHEEL, SDIST = next(BUILT.glob("*.whl")), next(BUILT.glob("*.tar.gz"))
DIRECT = next(Path(os.environ["PORTABLE_BCE_DIRECT"]).glob("*.whl"))
BIN = "Scripts" if os.name == "nt" else "bin"
PYTHON = Path(os.environ["PORTABLE_BCE_BARE"]) / BIN / "python"
# What serves the repository and not who unpacks the sdist.
APART = (".ci", ".github", ".pre-commit-config.yaml")

PUBLIC = ("portable_bce", "portable_bce.boosting", "portable_bce.functional", "portable_bce.losses")
# module -> (the package that it misses, the extra that brings it)
EXTRAS = {"portable_bce.torch": ("PyTorch", "torch"), "portable_bce.testing": ("mpmath", "verify")}
COMMANDS = {"demo": "demo", "verify": "verify", "bench": "verify"}


def bare(away: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the Python that has the wheel alone, outside the checkout and blind to our settings."""
    return subprocess.run(
        [PYTHON, "-I", "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=away,
    )


def members(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def tracked(*under: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *under], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if listed.returncode:
        pytest.skip(f"what is tracked is not known: {listed.stderr.strip()}")
    return set(filter(None, listed.stdout.split("\0")))


def test_sdist_builds_the_wheel_of_the_checkout() -> None:
    assert members(WHEEL) == members(DIRECT)
    assert WHEEL.read_bytes() == DIRECT.read_bytes()


def test_wheel_holds_the_package_and_nothing_else() -> None:
    info = f"portable_bce-{WHEEL.name.split('-')[1]}.dist-info/"
    described = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    assert members(WHEEL).keys() == tracked("portable_bce") | {info + name for name in described}


def test_wheel_tells_type_checkers_that_it_is_typed() -> None:
    assert "portable_bce/py.typed" in members(WHEEL)


def test_sdist_holds_all_that_is_tracked_but_what_serves_the_repository() -> None:
    with tarfile.open(SDIST) as archive:
        found = {str(PurePosixPath(*PurePosixPath(one.name).parts[1:])) for one in archive}
    wanted = {name for name in tracked() if not name.startswith(APART)}
    assert found == wanted | {"PKG-INFO"}


def test_links_of_the_description_lead_somewhere_on_pypi() -> None:
    with zipfile.ZipFile(WHEEL) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        text = str(email.message_from_bytes(archive.read(name)).get_payload())
    assert "](https://github.com/portable-bce/portable-bce/blob/v" in text
    assert "](docs/" not in text
    assert "](portable_bce/" not in text


def test_a_bare_environment_has_numpy_and_array_api_compat_alone(tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    assert set(bare(tmp_path, "-c", code).stdout.split()) == {
        "array-api-compat",
        "numpy",
        "portable-bce",
    }


@pytest.mark.parametrize("module", PUBLIC)
def test_public_modules_import_beside_nothing_else(module: str, tmp_path: Path) -> None:
    done = bare(tmp_path, "-c", f"import {module} as found; print(found.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(PYTHON.parents[1])


def test_readme_runs_beside_nothing_else(tmp_path: Path) -> None:
    (example,) = (ROOT / "README.md").read_text().split("```python\n")[1:]
    done = bare(tmp_path, "-c", example.partition("```")[0])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", EXTRAS)
def test_modules_name_the_extra_that_they_miss(module: str, tmp_path: Path) -> None:
    package, extra = EXTRAS[module]
    last = bare(tmp_path, "-c", f"import {module}").stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {module} needs {package}, which is not installed")
    assert f'pip install "portable-bce[{extra}]"' in last


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_the_extra_that_they_miss(command: str, tmp_path: Path) -> None:
    done = bare(tmp_path, "-m", "portable_bce", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"python -m portable_bce {command} needs rich, which is not installed: "
        f'pip install "portable-bce[{COMMANDS[command]}]"\n'
    )


@pytest.mark.parametrize("arguments", [(), *((command,) for command in COMMANDS)])
def test_help_needs_no_extra(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = bare(tmp_path, "-m", "portable_bce", *arguments, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["usage: python -m portable_bce", *arguments]))


def test_extras_resolve_together() -> None:
    # Without torch: pip would have to fetch the CUDA libraries that PyPI's build for Linux needs.
    pip = (sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "--dry-run")
    wheel = f"{WHEEL}[cupy,dask,demo,jax,verify]"
    done = subprocess.run([*pip, wheel], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
