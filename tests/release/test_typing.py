"""What mypy and pyright make of our signatures in the files of users with settings of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USERS = sorted(Path(__file__).parent.glob("typing/user_*.py"))
MARK = "  # wrong"

# (file, number of the line)
Place = tuple[str, int]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_see_results_and_mistakes(checker: str, tmp_path: Path) -> None:
    # At once: half of the work is reading NumPy's stubs.
    for package in (checker, "torch", "jax"):
        pytest.importorskip(package)
    lines = {
        (user.name, number): line
        for user in USERS
        for number, line in enumerate(user.read_text().splitlines(), 1)
    }
    wrong = {place for place, line in lines.items() if line.endswith(MARK)}
    assert {name for name, _ in wrong} == {user.name for user in USERS}
    found = {"mypy": by_mypy, "pyright": by_pyright}[checker](tmp_path)
    assert not {place: found[place] for place in found.keys() - wrong}
    assert not {place: lines[place] for place in wrong - found.keys()}


def by_mypy(away: Path) -> dict[Place, str]:
    """Return the errors of ``mypy --strict`` by their places."""
    printed = called("mypy", "--strict", "--config-file=", ".", away=away)
    errors = re.findall(r"(\w+\.py):(\d+): error: (.*)", printed)
    return {(name, int(number)): message for name, number, message in errors}


def by_pyright(away: Path) -> dict[Place, str]:
    """Return the errors of pyright by their places."""
    # Unless it is told what to skip, it skips hidden folders, and nox works in one.
    (away / "pyrightconfig.json").write_text('{"exclude": []}')
    printed = called("pyright", "--outputjson", "--pythonpath", sys.executable, away=away)
    found = json.loads(printed[printed.index("{") :])["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in found
        if one["severity"] == "error"
    }


def called(checker: str, *arguments: str, away: Path) -> str:
    """Return what a type checker prints about the package that is imported here."""
    for user in USERS:  # to where no settings of ours are
        shutil.copy(user, away)
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=away,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # 1: errors were found
    assert done.stdout, done.stderr  # or Python's own
    return done.stdout
