"""What writes figures into pages leaves the text around them as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rich")  # which the commands print by

import accuracy_page
import matrix
import scale_page
import speed_page
from pages import Sections, fill, filled, load, power, shown, table

PAGE = "Before.\n\n<!-- figures -->\n\nold\n\n<!-- /figures -->\n\nAfter.\n"


def test_a_section_is_replaced_and_its_surroundings_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    fill(path, {"figures": lambda: "new\n"})
    assert path.read_text() == PAGE.replace("old", "new")
    fill(path, {"figures": lambda: "new"})
    assert path.read_text() == PAGE.replace("old", "new")


def test_a_figure_within_a_line_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("It takes <!-- share -->50 %<!-- /share --> of the time.\n")
    fill(path, {"share": lambda: "25 %"})
    assert path.read_text() == "It takes <!-- share -->25 %<!-- /share --> of the time.\n"


def published() -> dict[str, dict[Path, Sections]]:
    speed, scale, others = load("speed"), load("scale"), load("matrix")
    assert speed is not None
    assert others is not None
    assert scale is not None
    return {
        "accuracy": accuracy_page.pages(),
        "speed": speed_page.pages(speed),
        "scale": scale_page.pages(scale_page.page(scale)),
        "matrix": matrix.pages(others),
    }


@pytest.mark.parametrize("name", ["accuracy", "speed", "scale", "matrix"])
def test_published_figures_are_those_of_the_reports(name: str) -> None:
    """Nobody has typed one, and no report is newer than its page."""
    for path, sections in published()[name].items():
        assert path.read_text() == filled(path, sections)


def test_golden_cases_are_those_of_the_reports() -> None:
    assert accuracy_page.GOLDEN.read_text() == accuracy_page.golden_text()


def test_a_page_without_the_section_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    with pytest.raises(SystemExit, match="has no section speed"):
        fill(path, {"figures": lambda: "new", "speed": lambda: "1"})
    assert path.read_text() == PAGE


def test_tables_and_figures_are_written_as_pages_have_them() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert shown({"median": 0.5, "low": 0.25, "high": 1}) == "0.50 (0.25,\N{NO-BREAK SPACE}1.00)"
    assert [power(size) for size in (1, 100, 1000, 20_000, 10**9)] == [
        "1", "100", "10³", "20,000", "10⁹",
    ]  # fmt: skip
