"""What verify measures, and what it measures with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce._commands import sweep
from portable_bce._commands.exact import errors, exactly, has_reference
from portable_bce._commands.machine import places
from portable_bce._commands.subjects import SUBNORMAL, Spec, Verdict, findings, subject_of
from portable_bce._commands.sweep import (
    EVERY,
    PLAIN,
    TARGETS,
    VALUES,
    Chunk,
    Points,
    Subject,
    Worst,
    exhaustive,
    measure,
    merge,
    sampled,
)
from portable_bce._contract import FORMATS, Format
from portable_bce.testing import ulp
from portable_bce.testing.strategies import arrays, logits
from tests.backends import Backend

# Float64 has 29 bits more than float32, x86's long double 11 more than float64; a few of
# their own ULP (exp, log1p, a division and some products) are left.
REFERENCE = {"float16": 2**-38, "bfloat16": 2**-41, "float32": 2**-25, "float64": 2**-8}
SMALL = ("float16", "bfloat16")
SPEC = Spec("portable_bce", "numpy", "float32")
# backend -> library and device, by verify's labels
PLACES = {
    "numpy": ("numpy", "cpu"),
    "torch": ("torch", "cpu"),
    "jax": ("jax", "cpu:0"),
    "dask": ("dask", "cpu"),
    "cupy": ("cupy", "cuda:0"),
    "torch-cuda": ("torch", "cuda:0"),
    "jax-gpu": ("jax", "gpu:0"),
}


def spec_of(backend: Backend, dtype: str) -> Spec:
    if backend.name not in PLACES:
        pytest.skip("verify has no row for it")
    library, device = PLACES[backend.name]
    return Spec("portable_bce", library, dtype, device)


def verdict_of(spec: Spec, chunks: Any) -> Verdict:
    subject = subject_of(spec)
    cells: dict[Any, Worst] = {}
    for chunk in chunks:
        merge(cells, measure(subject, chunk))
    return Verdict(spec, subject.version, cells, findings(subject))


def worst_of(verdict: Verdict) -> dict[str, float]:
    return {name: verdict.worst(name)[1].ulps for name in VALUES}


def formats() -> list[Any]:
    return [
        pytest.param(form, id=name, marks=() if has_reference(form) else pytest.mark.skip)
        for name, form in FORMATS.items()
    ]


@pytest.mark.parametrize("form", formats())
def test_reference_of_sweeps_is_that_of_mpmath(form: Format) -> None:
    assert sweep.distance_from_mpmath(form) <= REFERENCE[form.name]


@settings(deadline=None, max_examples=50)
@given(st.data(), st.sampled_from(["float32", "float64"]))
def test_errors_of_arrays_are_those_of_single_numbers(data: st.DataObject, dtype: str) -> None:
    form = FORMATS[dtype]
    got, near = (data.draw(arrays(logits(dtype, infinite=False), (8,), dtype)) for _ in range(2))
    exact, scale = got.astype(form.wide), np.abs(near).astype(form.wide)
    exact = exact * (
        1 + np.dtype(form.wide).type(data.draw(st.sampled_from([0.0, 0.4, -3.3]))) * form.eps
    )
    with np.errstate(all="ignore"):
        off = errors(np, got, exact, scale, form.smallest, form, None)
    for i in range(8):
        whole, reach = (exactly(values[i]) for values in (exact, scale))
        wanted = ulp.error(got[i], whole, dtype, scale=reach)
        assert off[i] == pytest.approx(wanted, rel=form.eps, abs=form.eps)


@pytest.mark.parametrize("form", [FORMATS[name] for name in SMALL], ids=SMALL)
def test_pairs_are_every_logit_with_every_target_in_the_unit_interval(form: Format) -> None:
    seen: set[tuple[bool, int]] = set()
    for chunk in exhaustive(form, PLAIN, 1, 0):
        assert chunk.targets == EVERY
        patterns = range(chunk.start, chunk.stop)
        assert not seen & {(chunk.negative, one) for one in patterns}
        seen |= {(chunk.negative, one) for one in patterns}
    finite = 2 * (sweep.pattern(form.largest, form) + 1)
    assert len(seen) == finite
    pairs = sum(chunk.count for chunk in exhaustive(form, PLAIN, 1, 0))
    assert pairs == finite * (sweep.pattern(1.0, form) + 1)
    block = next(next(exhaustive(form, PLAIN, 1, 0)).blocks(form))
    targets = np.unique(block.y)
    assert (targets[0], targets[-1], targets.size) == (0.0, 1.0, sweep.pattern(1.0, form) + 1)


def test_a_sweep_is_every_finite_float32_of_both_signs() -> None:
    chunks = list(exhaustive(FORMATS["float32"], ("hard",), 1, 0))
    assert sum(chunk.count for chunk in chunks) == 2 * 4_278_190_080
    for negative in (False, True):
        ends = 0
        for chunk in sorted((c for c in chunks if c.negative is negative), key=lambda c: c.start):
            assert chunk.start == ends
            ends = chunk.stop
        assert ends == sweep.pattern(FORMATS["float32"].largest, FORMATS["float32"]) + 1


def test_a_chunk_yields_each_of_its_logits_with_both_labels() -> None:
    form = FORMATS["float32"]
    start = sweep.pattern(1.0, form)
    chunk = Chunk("sweep", "hard", "", start, start + 50_000, 100_000, 0, negative=True)
    blocks = list(chunk.blocks(form))
    seen = np.unique(np.concatenate([block.x.reshape(-1) for block in blocks]))
    wanted = -(np.arange(start, start + 50_000, dtype=np.uint32).view(np.float32))
    np.testing.assert_array_equal(seen, np.sort(wanted))
    assert all(block.y.reshape(-1).tolist() == [0.0, 1.0] for block in blocks)


@pytest.mark.parametrize("form", formats())
@pytest.mark.parametrize("name", TARGETS)
def test_drawn_arguments_are_of_the_format(name: str, form: Format) -> None:
    for chunk in sampled(form, (name,), 64, 0):
        block = next(chunk.blocks(form))
        assert np.all((block.y >= 0) & (block.y <= 1))
        for values in (block.x, block.y, block.w, block.p):
            if values is not None:
                assert values.dtype == form.carrier
                np.testing.assert_array_equal(sweep.rounded(values, form), values)


@pytest.mark.parametrize("compute_dtype", [None, "float64"])
def test_one_float32_logit_in_256_keeps_the_contract(compute_dtype: str | None) -> None:
    spec = Spec("portable_bce", "numpy", "float32", compute_dtype=compute_dtype)
    verdict = verdict_of(spec, exhaustive(spec.form, ("hard",), 256, 0))
    assert verdict.kept, worst_of(verdict)


@pytest.mark.parametrize("dtype", SMALL)
def test_one_short_float_in_256_keeps_the_contract_with_every_target(dtype: str) -> None:
    if not places("numpy")[0].has_dtype(dtype):
        pytest.skip("ml_dtypes is not installed")
    spec = Spec("portable_bce", "numpy", dtype)
    verdict = verdict_of(spec, exhaustive(spec.form, PLAIN, 256, 0))
    assert verdict.kept, worst_of(verdict)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_class_keeps_the_contract(backend: Backend, dtype: str) -> None:
    spec = spec_of(backend, dtype)
    verdict = verdict_of(spec, sampled(spec.form, TARGETS, 1, 0))
    assert verdict.kept, worst_of(verdict)


def broken(change: Any) -> Subject:
    """Return ours on NumPy with its values changed."""
    subject = subject_of(SPEC)

    def evaluate(given: Points) -> dict[str, Any]:
        got = subject.evaluate(given)
        return {name: change(name, value, given) for name, value in got.items()}

    return replace(subject, evaluate=evaluate)


@pytest.mark.parametrize("value", VALUES)
def test_six_ulp_too_much_are_found(value: str) -> None:
    def change(name: str, got: Any, given: Points) -> Any:
        return got * np.float32(1 + 6 * 2.0**-23) if name == value else got

    subject = broken(change)
    cells: dict[Any, Worst] = {}
    for chunk in sampled(subject.form, ("hard",), 1, 0):
        merge(cells, measure(subject, chunk))
    verdict = Verdict(SPEC, "", cells, [])
    assert not verdict.kept
    assert {name for name, ulps in worst_of(verdict).items() if ulps > 5} == {value}


def test_the_worse_of_two_cases_is_kept_with_its_arguments() -> None:
    low = Worst(1.0, 10, 0.5, 1.0, None, None, 0.0, 0.25)
    high = Worst(2.0, 5, 0.75, 0.0, 3.0, None, 0.1, 0.125)
    for one, other in ((low, high), (high, low)):
        assert one.merged(other) == high._replace(points=15)


def test_a_nan_is_an_infinite_error_and_gives_the_arguments() -> None:
    subject = broken(lambda name, got, given: np.where(given.x == 1.5, np.float32(np.nan), got))
    form = subject.form
    start = sweep.pattern(1.5, form)
    found = measure(subject, Chunk("sweep", "hard", "", start - 9, start + 9, 36, 0))
    for worst in found.values():
        assert (worst.ulps, worst.x) == (np.inf, 1.5)


def test_special_cases_are_right_everywhere(backend: Backend) -> None:
    for dtype in ("float16", "float32", "float64"):
        found = findings(subject_of(spec_of(backend, dtype)))
        assert all(one.right for one in found), [one for one in found if not one.right]


def test_flushing_subnormal_results_breaks_the_contract_where_they_are_promised() -> None:
    def flushed(name: str, got: Any, given: Points) -> Any:
        return np.where(np.abs(got) < 2.0**-126, np.float32(0), got)

    found = findings(broken(flushed))
    assert {one.value for one in found if not one.right} == {"loss", "grad", "hess"}
    assert {one.case for one in found if not one.right} == {SUBNORMAL}


def test_a_lost_special_case_breaks_the_contract() -> None:
    subject = broken(lambda name, got, given: np.where(np.isinf(given.x), np.float32(np.nan), got))
    found = findings(subject)
    assert {one.case for one in found if not one.right} >= {
        "infinite, right label",
        "infinite, wrong label",
        "infinite, soft label",
    }
    assert not Verdict(SPEC, "", {}, found).kept
    assert portable_bce.bce_with_logits(np.float32(np.inf), 1) == 0
