#!/usr/bin/env python3
"""Print the version that the package states, for meson.build.

The file is not executable, so that Meson runs it by its own Python: `python3` need not be on PATH.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

STATED = re.compile(r'^__version__ = "(.+)"$', flags=re.MULTILINE)

(version,) = STATED.findall(
    (Path(__file__).parents[1] / "portable_bce" / "__init__.py").read_text()
)
sys.stdout.write(version)
