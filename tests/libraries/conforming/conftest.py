"""The fixture over which the laws run."""

from __future__ import annotations

import pytest

from tests.libraries.conforming import libraries
from tests.libraries.conforming.libraries import Library


@pytest.fixture(params=libraries.names_here())
def library(request: pytest.FixtureRequest) -> Library:
    """A library that conforms to the standard, or a way of calling one."""
    return libraries.named(request.param)
