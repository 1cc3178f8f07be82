"""What is published, as `nox -s package` has built it and installed it beside nothing else."""

from __future__ import annotations

import email
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

if "PORTABLE_BCE_SDIST" not in os.environ:
    pytest.skip("`nox -s package` builds what is tested here", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SDIST, DIRECT = Path(os.environ["PORTABLE_BCE_SDIST"]), Path(os.environ["PORTABLE_BCE_DIRECT"])
ROWS = ("compiled", "plain")
WHEELS = {row: Path(os.environ[f"PORTABLE_BCE_WHEEL_{row.upper()}"]) for row in ROWS}
BIN = "Scripts" if os.name == "nt" else "bin"
PYTHONS = {
    row: Path(os.environ[f"PORTABLE_BCE_BARE_{row.upper()}"]) / BIN / "python" for row in ROWS
}
MODULE = "portable_bce/_kernels/_compiled.abi3.so"
MEGABYTE = 2**20
# What serves the repository and not who unpacks the sdist.
APART = (".ci", ".github", ".gitattributes", ".pre-commit-config.yaml")

PUBLIC = ("portable_bce", "portable_bce.boosting", "portable_bce.losses")
# module -> (the package that it misses, the extra that brings it)
EXTRAS = {"portable_bce.torch": ("PyTorch", "torch"), "portable_bce.testing": ("mpmath", "verify")}
COMMANDS = {"demo": "demo", "verify": "verify"}


def bare(away: Path, *arguments: str, row: str = "compiled") -> subprocess.CompletedProcess[str]:
    """Run the Python that has a wheel alone, outside the checkout and blind to our settings."""
    return subprocess.run(
        [PYTHONS[row], "-I", "-W", "error", *arguments],
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
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *under],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if listed.returncode:
        pytest.skip(f"what is tracked is not known: {listed.stderr.strip()}")
    return set(filter(None, listed.stdout.split("\0")))


def test_sdist_builds_the_wheel_of_the_checkout() -> None:
    assert members(WHEELS["compiled"]) == members(DIRECT)


def test_tags_say_where_a_wheel_serves() -> None:
    """The compiled one serves one platform and every Python; the pure one serves them all."""
    assert re.fullmatch(r"portable_bce-[^-]+-cp3\d+-abi3-\w+\.whl", WHEELS["compiled"].name)
    assert re.fullmatch(r"portable_bce-[^-]+-py3-none-any\.whl", WHEELS["plain"].name)


@pytest.mark.parametrize("row", ROWS)
def test_a_wheel_takes_one_megabyte_at_most(row: str) -> None:
    assert WHEELS[row].stat().st_size <= MEGABYTE


@pytest.mark.parametrize("row", ROWS)
def test_a_wheel_is_installed_without_a_compiler(row: str, tmp_path: Path) -> None:
    """Nothing is on PATH, and nothing is fetched: what is needed is there."""
    bare = str(PYTHONS[row])
    pip = (sys.executable, "-m", "pip", "--python", bare, "install", "--quiet", "--no-index")
    options = ("--force-reinstall", "--no-deps", "--target", str(tmp_path / "packages"))
    done = subprocess.run(
        [*pip, *options, WHEELS[row]],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={"PATH": str(tmp_path), "CC": "false"},
    )
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "packages" / MODULE).exists()
    assert found == (row == "compiled")


@pytest.mark.parametrize("row", ROWS)
def test_the_package_imports_nothing_that_numpy_does_not(row: str, tmp_path: Path) -> None:
    """An import takes as long as what it imports."""
    code = (
        "import sys, numpy, array_api_compat.numpy; before = set(sys.modules); "
        "import portable_bce; after = set(sys.modules) - before; "
        "print(*sorted({name.partition('.')[0] for name in after}))"
    )
    done = bare(tmp_path, "-c", code, row=row)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["portable_bce"]


@pytest.mark.parametrize("row", ROWS)
def test_wheel_holds_the_package_and_nothing_else(row: str) -> None:
    """That is every file of Python's, no source in C, and the module in the compiled one."""
    wheel = WHEELS[row]
    info = f"portable_bce-{wheel.name.split('-')[1]}.dist-info/"
    described = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    python = {name for name in tracked("portable_bce") if not name.endswith((".c", ".h"))}
    module = {MODULE} if row == "compiled" else set()
    assert members(wheel).keys() == python | module | {info + name for name in described}


@pytest.mark.parametrize("row", ROWS)
def test_wheel_tells_type_checkers_that_it_is_typed(row: str) -> None:
    assert "portable_bce/py.typed" in members(WHEELS[row])


@pytest.mark.parametrize("row", ROWS)
def test_package_names_the_row_that_it_computes_by(row: str, tmp_path: Path) -> None:
    code = "from portable_bce._kernels import describe; print(describe())"
    assert bare(tmp_path, "-c", code, row=row).stdout.partition(",")[0].strip() == row


def test_sdist_holds_all_that_is_tracked_but_what_serves_the_repository() -> None:
    with tarfile.open(SDIST) as archive:
        found = {str(PurePosixPath(*PurePosixPath(one.name).parts[1:])) for one in archive}
    wanted = {name for name in tracked() if not name.startswith(APART)}
    assert found == wanted | {"PKG-INFO"}


def test_links_of_the_description_lead_somewhere_on_pypi() -> None:
    """PyPI has no files beside the description; tests/house/test_docs.py checks the others."""
    with zipfile.ZipFile(WHEELS["plain"]) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        text = str(email.message_from_bytes(archive.read(name)).get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_a_bare_environment_has_numpy_and_array_api_compat_alone(tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    assert set(bare(tmp_path, "-c", code).stdout.split()) == {
        "array-api-compat",
        "numpy",
        "portable-bce",
    }


@pytest.mark.parametrize("module", PUBLIC)
@pytest.mark.parametrize("row", ROWS)
def test_public_modules_import_beside_nothing_else(module: str, row: str, tmp_path: Path) -> None:
    done = bare(tmp_path, "-c", f"import {module} as found; print(found.__file__)", row=row)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(PYTHONS[row].parents[1])


@pytest.mark.parametrize("row", ROWS)
def test_readme_runs_beside_nothing_else(row: str, tmp_path: Path) -> None:
    (example,) = (ROOT / "README.md").read_text().split("```python\n")[1:]
    shown = tmp_path / "readme.txt"
    shown.write_text(example.partition("```")[0])
    done = bare(tmp_path, "-m", "doctest", str(shown), row=row)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_the_console_script_runs_the_same_commands() -> None:
    script = PYTHONS["compiled"].parent / "portable-bce"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_extras_resolve_together() -> None:
    # Without torch: pip would have to fetch the CUDA libraries that PyPI's build for Linux needs.
    python = PYTHONS["plain"]
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--dry-run")
    wheel = f"{WHEELS['plain']}[cupy,dask,demo,jax,verify]"
    done = subprocess.run([*pip, wheel], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
