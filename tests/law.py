"""Turn a law over drawn inputs into a test over backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends import Backend


def examples(usual: int) -> int:
    """Return how many examples a law draws: ten times the usual under `nox -s thorough`."""
    return usual * settings().max_examples // 100  # hypothesis's default is 100


def law(
    *strategies: Callable[[Backend], st.SearchStrategy[Any]],
) -> Callable[[Callable[..., None]], Callable[[Backend], None]]:
    """Check a function of a backend and drawn values as often as the backend can afford."""

    def decorate(holds: Callable[..., None]) -> Callable[[Backend], None]:
        def test(backend: Backend) -> None:
            @settings(
                max_examples=examples(backend.examples),
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            )
            @given(st.tuples(*(make(backend) for make in strategies)))
            def once(drawn: tuple[Any, ...]) -> None:
                holds(backend, *drawn)

            once.__qualname__ = f"{holds.__qualname__}[{backend.name}]"  # names the database entry
            once()

        test.__name__, test.__doc__ = holds.__name__, holds.__doc__
        return test

    return decorate
