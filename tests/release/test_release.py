"""The version stands in one place; what else has to name it agrees."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import portable_bce

ROOT = Path(__file__).parents[2]
VERSION = portable_bce.__version__
CITATION = (ROOT / "CITATION.cff").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def cited(field: str) -> str:
    (found,) = re.findall(rf"^{field}: (.+)$", CITATION, flags=re.MULTILINE)
    return str(found).strip('"')


def sections() -> list[str]:
    return re.findall(r"^## (.+)$", CHANGELOG, flags=re.MULTILINE)


def test_version_is_final_or_a_step_towards_it() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", VERSION)


def test_citation_names_the_version_and_when_it_was_released() -> None:
    assert cited("version") == VERSION
    dates = dict(one.split(" - ") for one in sections() if one != "Unreleased")
    assert cited("date-released") == dates.get(VERSION, cited("date-released"))


def test_citation_has_what_its_format_requires() -> None:
    for field in ("cff-version", "message", "title", "date-released", "license", "type"):
        assert cited(field)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", cited("date-released"))
    assert re.search(r"^authors:\n  - name: .+$", CITATION, flags=re.MULTILINE)


def test_changelog_begins_with_what_comes_next_or_the_version() -> None:
    """Releases follow, each with its date and the newest first."""
    first, *others = sections()
    released = others if first == "Unreleased" else [first, *others]
    pattern = r"(\d+)\.(\d+)\.(\d+) - \d{4}-\d{2}-\d{2}"
    found = [re.fullmatch(pattern, one) for one in released]
    versions = [tuple(map(int, one.groups())) for one in found if one is not None]
    assert len(versions) == len(released)
    assert versions == sorted(set(versions), reverse=True)
    assert first == "Unreleased" or first.startswith(f"{VERSION} - ")


def test_a_tag_is_the_version_with_a_dated_section() -> None:
    """It comes from `nox -s package -- v1.2.3`."""
    tag = os.environ.get("PORTABLE_BCE_TAG")
    if not tag:
        pytest.skip("nothing is to be released")
    assert tag == f"v{VERSION}"
    assert sections()[0].startswith(f"{VERSION} - ")
