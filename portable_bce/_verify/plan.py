"""What a run looks at: the chunks, in an order that does not depend on anything but the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portable_bce._verify.exact import Format
from portable_bce._verify.points import EVERY, TARGETS, Chunk, pattern, regions

# A second or so each, so that little is lost when a run is stopped.
_SWEEP, _PAIRS, _SAMPLE = 2**22, 64, 2**21


def sampled(form: Format, targets: Iterable[str], points: int, seed: int) -> Iterator[Chunk]:
    """Plan ``points`` random logits for each class of logit and target."""
    for name in targets:
        for region, (start, stop) in regions(form).items():
            if start == stop:
                continue
            for number, first in enumerate(range(0, points, _SAMPLE)):
                count = min(_SAMPLE, points - first)
                yield Chunk("sample", name, region, start, stop, count, seed + number)


def exhaustive(form: Format, targets: Iterable[str], every: int, seed: int) -> Iterator[Chunk]:
    """Plan every finite logit of both signs, or one bit pattern in ``every``.

    For formats of 16 bits with every target in [0, 1], for others with the given classes.
    """
    pairs = form.bits < 16
    span = (_PAIRS if pairs else _SWEEP) * every
    for name in (EVERY,) if pairs else targets:
        labels = pattern(1.0, form) + 1 if pairs else 2 if TARGETS[name].hard else 1
        for region, (start, stop) in regions(form).items():
            for negative in (False, True):
                for first in range(start, stop, span):
                    last = min(first + span, stop)
                    count = -(-(last - first) // every) * labels
                    kind = "pairs" if pairs else "sweep"
                    yield Chunk(kind, name, region, first, last, count, seed, every, negative)
