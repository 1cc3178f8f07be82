"""Who breaks which law, as benchmarks/data/matrix.json says, is found again."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("rich")  # which the commands print by

import matrix
from others import OTHERS

from portable_bce.testing import INTERFACE_LAWS, LAWS, check_interface

ENTRIES = json.loads(matrix.FILE.read_text())
NAMES = {law.name for law in (*LAWS, *INTERFACE_LAWS)}


def test_everybody_was_measured_on_laws_that_exist() -> None:
    assert list(ENTRIES) == list(OTHERS)
    for entry in ENTRIES.values():
        assert {broken["law"] for broken in entry["broken"]} | set(entry["kept"]) <= NAMES


@pytest.mark.parametrize("name", ["PyTorch", "published formula"])
def test_what_was_measured_is_found_again(name: str) -> None:
    """The accuracy of these depends on the CPU a little; the laws of the interface do not."""
    make, packages, _ = OTHERS[name]
    pytest.importorskip(packages[0])
    given = make()
    broken = {one["law"] for one in ENTRIES[name]["broken"]}
    laws = [law for law in INTERFACE_LAWS if law.name in {*broken, *ENTRIES[name]["kept"]}]
    report = check_interface(given.pop("loss"), **{**given, "laws": laws, "examples": 5})
    assert {one.law.name for one in report.broken} == broken & {law.name for law in laws}
