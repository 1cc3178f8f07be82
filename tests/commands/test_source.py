"""portable-bce source: what it prints is what is computed."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest

from portable_bce import __main__ as command
from portable_bce._kernels import generate
from portable_bce._reduction import library_total
from portable_bce._runners.plain import Plain
from tests.libraries.cupy.kernels import job_of, texts

LANGUAGES = ("c", "cuda", "trace")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        assert command.main(["source", *arguments]) == 0
        out, err = capsys.readouterr()
        assert not err
        return out

    return run


def test_the_default_is_loss_and_gradient_from_logits_in_float32(printed: Any) -> None:
    assert "k_with_logits_loss_grad_none_single(" in printed()


@pytest.mark.parametrize("formula", generate.FORMULAS)
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "single"), ("float64", "double")])
def test_c_is_what_the_build_compiles(
    formula: str, dtype: str, precision: str, printed: Any
) -> None:
    header = generate.header()
    known = generate.FORMULAS[formula]
    for outputs, factors in product(known.outputs, known.factors):
        options = ["--formula", formula, "--outputs", *outputs, "--factors", factors]
        _, kernel = printed(*options, "--dtype", dtype).split("\n", 1)
        assert kernel == generate.kernel(formula, outputs, factors, precision)
        assert kernel in header


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("factors", generate.FACTORS)
def test_cuda_is_what_cupy_is_given(dtype: str, reduction: str, factors: str, printed: Any) -> None:
    x = np.ones(7, dtype)
    keywords = {
        "none": {},
        "weighted": {"weight": x},
        "smoothed": {"weight": x, "label_smoothing": 0.2},
        "all": {"weight": x, "pos_weight": x, "label_smoothing": 0.2},
    }[factors]
    job = job_of("loss", "grad", x=x, y=x, reduction=reduction, **keywords)
    options = ["--dtype", dtype, "--reduction", reduction, "--factors", factors]
    assert printed("--as", "cuda", *options) == f"{texts(job)[-1]}\n"


def test_the_trace_computes_what_the_plain_operations_compute(printed: Any) -> None:
    """To the last bit, if it is read as a program."""
    *lines, last = printed("--as", "trace", "--outputs", "loss", "grad", "hess").splitlines()
    x, y = np.linspace(-40, 40, 161), np.linspace(0, 1, 161)
    values = {
        "x": x,
        "y": y,
        "astype": lambda array, dtype: array.astype(dtype),
        "number": x.dtype,
        **{name: getattr(np, name) for name in ("exp", "log1p", "where", "isinf", "equal")},
        **{name: getattr(np, name) for name in ("add", "subtract", "multiply", "divide")},
        **{name: getattr(np, name) for name in ("negative", "greater_equal", "logical_and")},
    }
    exec("\n".join(lines), values)
    results = [values[name] for name in last.removeprefix("return ").split(", ")]
    expected = Plain(library_total).evaluate(job_of("loss", "grad", "hess", x=x, y=y))
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, value, strict=True)


def test_outputs_are_printed_in_the_order_of_the_kernels(printed: Any) -> None:
    assert printed("--outputs", "grad", "loss", "grad") == printed("--outputs", "loss", "grad")


@pytest.mark.parametrize("formula", generate.FORMULAS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_formula_is_printed_in_every_language(
    formula: str, language: str, printed: Any
) -> None:
    assert len(printed("--as", language, "--formula", formula).splitlines()) > 1 or (
        formula == "cotangent_product"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_neither_a_compiler_nor_a_compiled_module_nor_cupy_is_needed(
    language: str, printed: Any
) -> None:
    code = (
        "import sys; missing = dict.fromkeys(('cupy', 'portable_bce._kernels._compiled')); "
        "sys.modules.update(missing); from portable_bce.__main__ import main; "
        f"sys.exit(main(['source', '--as', '{language}']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    assert done.stdout == printed("--as", language)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--outputs", "loss", "hess"],
            '`--outputs` must be "loss" or "loss grad" or "grad" or "grad hess" or "grad_targets" '
            'for with_logits in C; got "loss hess"',
        ),
        (
            ["--as", "cuda", "--formula", "denominator_terms", "--outputs", "grad"],
            '`--outputs` must be "loss" for denominator_terms; got "grad"',
        ),
        (
            ["--formula", "cotangent_product", "--factors", "all"],
            '`--factors` must be "none" or "weighted" for cotangent_product; got "all"',
        ),
    ],
)
def test_a_kernel_that_there_is_not_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["source", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"python -m portable_bce source: {message}\n")


def test_an_unknown_language_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        command.main(["source", "--as", "fortran"])
    assert exited.value.code == 2
    assert "argument --as: invalid choice: 'fortran'" in capsys.readouterr().err
