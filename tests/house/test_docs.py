"""What the documentation shows runs as it is shown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import portable_bce
from tests import pages

# Shown, and not run: shell sessions, and what a program printed.
NO_CODE = {"bash", "console", "text", "toml", "yaml"}
REPOSITORY = "https://github.com/portable-bce/portable-bce/blob/main/"
# Pictures are shown by their bytes, which GitHub has under another address.
RAW = "https://raw.githubusercontent.com/portable-bce/portable-bce/main/"
# "py" is Python that no test can run, because it needs a device or a library of the reader's.
NOT_RUN = re.compile(r"^```py\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def page_parameters() -> list[object]:
    return [
        pytest.param(page, marks=pytest.mark.gpu if pages.on_gpu(page) else ())
        for page in pages.names()
    ]


@pytest.mark.parametrize("page", page_parameters())
def test_examples_of_a_page_run_one_after_the_other(page: str) -> None:
    pages.require(page)
    pages.run(page)


@pytest.mark.parametrize("page", pages.names())
def test_examples_that_cannot_run_are_python_all_the_same(page: str) -> None:
    for source in NOT_RUN.findall(pages.text(page)):
        compile(source, page, "exec")


@pytest.mark.parametrize("page", pages.names())
def test_fences_are_python_or_no_code(page: str) -> None:
    """Under another name an example would be shown and not run."""
    fences = [line for line in pages.text(page).splitlines() if line.lstrip().startswith("```")]
    languages = {line.lstrip().strip("`") for line in fences[::2]}  # every second closes one
    assert {one for one in languages if not one.startswith("{")} <= {"python", "py", *NO_CODE}


def test_pages_that_need_nothing_show_examples() -> None:
    """The session that has NumPy alone runs some."""
    assert any("```python" in pages.text(page) for page in pages.names() if not pages.needs(page))


def test_files_that_readme_links_to_exist() -> None:
    """Its links are absolute, because PyPI shows README without the files beside it."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", pages.text("README.md"))
    assert [link for link in links if not link.startswith("https://")] == []
    files = [
        link.removeprefix(home)
        for home in (REPOSITORY, RAW)
        for link in links
        if link.startswith(home)
    ]
    # The sessions test the installed package, and take the sources away.
    homes = (pages.ROOT, Path(portable_bce.__file__).parents[1])
    assert files
    assert [file for file in files if not any((home / file).exists() for home in homes)] == []


@pytest.mark.parametrize("page", pages.names())
def test_links_are_named_for_what_they_lead_to(page: str) -> None:
    """The name of a file says nothing to a reader of the site."""
    texts = re.findall(r"\[`?([\w./-]+)`?\]\(", pages.text(page))
    assert [text for text in texts if text.endswith((".md", ".py", ".json", ".cpp", ".hpp"))] == []


def test_badges_of_readme_are_true() -> None:
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    readme = pages.text("README.md")
    assert f"/badge/python-{oldest}_or_newer-" in readme
    assert f"/badge/licence-{project['license']}-" in readme
    workflows = re.findall(r"/actions/workflows/([\w.]+)/badge.svg", readme)
    home = pages.ROOT / ".github" / "workflows"
    if home.exists():  # the sdist has no such folder
        assert [name for name in workflows if not (home / name).exists()] == []
