"""NumPy's sections of a docstring, as far as a test has to tell them apart."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """What is said of an argument, a result or an error (or of several at once)."""

    names: tuple[str, ...]
    kind: str
    text: str


def sections(documented: Any) -> dict[str, str]:
    """Return the sections by their titles; what precedes them has none."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section: str) -> list[Entry]:
    """Return the entries of a section: a line "names : kind", and an indented text."""
    found = re.findall(r"^(\S.*)\n((?:(?: .*)?\n?)*)", section + "\n", flags=re.MULTILINE)
    split = [(head.partition(" : "), text) for head, text in found]
    return [
        Entry(tuple(names.replace("*", "").split(", ")), kind, text.strip())
        for (names, _, kind), text in split
    ]
