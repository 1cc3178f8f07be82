"""Print the formula as C: one kernel for each set of outputs, factors and each precision.

``python generate.py OUTPUT`` writes the header that engine.c and module.c include; the build
runs it, so it loads the formula and its trace by their paths and imports nothing else.

A kernel is one loop over a block of doubles, straight down the trace of the formula. There are
two precisions. For results of float32 and below, every value is a double, which leaves more
than enough digits. For float64, a value is a pair of doubles wherever an operation rounds, so
that all that is rounded in the end is the result.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent

# What may be asked of a formula, in the order in which the module numbers it.
OUTPUTS = (("loss",), ("loss", "grad"), ("grad",), ("grad", "hess"), ("grad_targets",))
# The branches of the formula, in the order of `enum factors`: which factors are present.
FACTORS = {"none": (), "weighted": ("w",), "smoothed": ("w", "u"), "all": ("w", "p", "u")}


class Formula(NamedTuple):
    """A function of `_formula`, and what it is compiled for."""

    function: str
    options: tuple[str, ...] = ()
    outputs: tuple[tuple[str, ...], ...] = OUTPUTS
    factors: tuple[str, ...] = tuple(FACTORS)


# By the name of the kernels.
FORMULAS = {
    "with_logits": Formula("with_logits"),
    "with_probabilities": Formula("with_probabilities"),
    "with_clamped_probabilities": Formula("with_probabilities", options=("eps",)),
    "cotangent_product": Formula("cotangent_product", (), (("loss",),), ("none", "weighted")),
    "denominator_terms": Formula("denominator_terms", (), (("loss",),), ("none", "weighted")),
}
PRECISIONS = ("single", "double")

_OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/",
    "greater_equal": ">=", "less_equal": "<=", "greater": ">", "less": "<",
    "equal": "==", "not_equal": "!=", "logical_and": "&", "logical_or": "|",
}  # fmt: skip
_ARRAYS = {"x": 0, "y": 1, "w": 2, "p": 3}


class Limits(NamedTuple):
    """The limits of float64, in which every kernel computes."""

    max: float = sys.float_info.max
    smallest_normal: float = sys.float_info.min
    eps: float = sys.float_info.epsilon


class Value(NamedTuple):
    """A value in C: its text, and what is known of it.

    ``kind`` is "flag" (true or false), "unit" (an exact number such as 0, 1, -1 or a power of
    two, which scales without rounding), "number" (a double), or "pair".
    """

    text: str
    kind: str


@cache
def module_of(name: str) -> ModuleType:
    """Load a module of the package by its path, without importing the package."""
    path = PACKAGE / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@cache
def trace_of(formula: str, outputs: tuple[str, ...], factors: str) -> Any:
    """Return the trace of a formula by the names that are used here."""
    traced = FORMULAS[formula]
    function = getattr(module_of("_formula"), traced.function)
    present = (*FACTORS[factors], *traced.options)
    return module_of("_runners/trace").traced(function, outputs, present, lambda _: Limits())


def kernel(formula: str, outputs: tuple[str, ...], factors: str, precision: str) -> str:
    """Return one kernel as C."""
    trace = trace_of(formula, outputs, factors)
    body, values = _body(trace, precision)
    lines = [f"const double *restrict {one}s = in[{_ARRAYS[one]}];" for one in _inputs(trace)]
    stores = []
    for index, value in enumerate(values):
        lines.append(f"double *restrict high{index} = high[{index}];")
        if precision == "single":
            stores.append(f"high{index}[i] = {value.text};")
        else:
            lines.append(f"double *restrict low{index} = low[{index}];")
            high, low = _parts(value)
            stores += [f"high{index}[i] = {high};", f"low{index}[i] = {low};"]
    exponential = _exponential(trace) if precision == "double" else None
    loops = []
    if exponential is not None:
        lines.append("double exp_high[BLOCK], exp_low[BLOCK];")
        keep = [f"exp_high[i] = {exponential}.high;", f"exp_low[i] = {exponential}.low;"]
        loops.append(_loop(trace, body, [exponential], keep))
        body[exponential] = f"const pair {exponential} = {{exp_high[i], exp_low[i]}};"
    loops.append(_loop(trace, body, trace.outputs, stores, known=exponential))
    head = "\n    ".join(["(void)in, (void)u, (void)eps, (void)low;", *lines])
    return (
        f"static void {_name(formula, outputs, factors, precision)}(\n"
        "    const double *const *in, double u, double eps, double *const *high,\n"
        f"    double *const *low, ptrdiff_t n)\n{{\n    {head}\n{''.join(loops)}}}\n"
    )


def _exponential(trace: Any) -> str | None:
    """Return the name of the exponential, if there is one.

    In pairs it takes a loop of its own: a CPU works on several elements at once only if the
    operations of each are few enough to be looked over.
    """
    return next((name for name, one in trace.operations.items() if one.name == "exp"), None)


def _loop(
    trace: Any, body: dict[str, str], values: Iterable[Any], stores: list[str], known: Any = None
) -> str:
    """Return a loop that computes some values, of which one may be known, and stores them."""
    needed = set(values)
    for name, operation in reversed(trace.operations.items()):
        if name in needed and name != known:
            needed.update(operation.arguments)
    loads = [f"const double {one} = {one}s[i];" for one in _ARRAYS if one in needed]
    inner = "\n        ".join([*loads, *(body[one] for one in body if one in needed), *stores])
    return f"    INDEPENDENT\n    for (ptrdiff_t i = 0; i < n; i++) {{\n        {inner}\n    }}\n"


def _name(formula: str, outputs: tuple[str, ...], factors: str, precision: str) -> str:
    return "_".join(("k", formula, *outputs, factors, precision))


def _inputs(trace: Any) -> list[str]:
    named = {one for operation in trace.operations.values() for one in operation.arguments}
    return [name for name in _ARRAYS if name in named or name in trace.outputs]


def _body(trace: Any, precision: str) -> tuple[dict[str, str], list[Value]]:
    """Return the statement for each operation, and the values of the outputs."""
    known = {name: Value(name, "number") for name in (*_ARRAYS, "u", "eps")}
    clamps = {"eps"}  # eps, and what is computed of it alone: bounds, which are rounded
    statements: dict[str, str] = {}

    def value_of(argument: Any) -> Value:
        return known[argument] if isinstance(argument, str) else _literal(argument)

    for name, (function, arguments, _) in trace.operations.items():
        given = [value_of(one) for one in arguments if one != "number"]
        names = {one for one in arguments if isinstance(one, str)}
        is_odds = any(
            trace.operations[one].name == "exp" for one in names if one in trace.operations
        )
        if names <= clamps:
            clamps.add(name)
        is_pairs = precision == "double" and not names <= clamps
        text, kind = _expression(function, given, is_odds, "double" if is_pairs else "single")
        c_type = {"flag": "int64_t", "pair": "pair"}.get(kind, "double")
        statements[name] = f"const {c_type} {name} = {text};"
        known[name] = Value(name, kind)
    return statements, [value_of(one) for one in trace.outputs]


def _literal(number: Any) -> Value:
    value = float(number)
    mantissa = value.as_integer_ratio()
    is_power = value == 0 or (abs(mantissa[0]) & (abs(mantissa[0]) - 1) == 0)
    return Value(repr(value), "unit" if is_power else "number")


def _parts(value: Value) -> tuple[str, str]:
    return (
        (f"{value.text}.high", f"{value.text}.low") if value.kind == "pair" else (value.text, "0.0")
    )


def _expression(  # noqa: PLR0911  one return for each kind of operation
    function: str, given: list[Value], is_odds: bool, precision: str
) -> Value:
    """Return an operation as an expression in C, and the kind of its result."""
    highs = [_parts(one)[0] for one in given]
    if function == "isinf":
        return Value(f"is_infinite({highs[0]})", "flag")
    if function == "astype":
        return Value(f"{highs[0]} ? 1.0 : 0.0", "unit")
    if function in _OPERATORS and function not in _ROUNDING:
        return Value(f"{highs[0]} {_OPERATORS[function]} {highs[1]}", "flag")
    if function == "where":
        return _where(*given)
    if function in ("exp", "log", "log1p"):
        domain = "_negative" if function == "log1p" and not is_odds else ""
        kind = "pair" if precision == "double" else "number"
        argument = given[0].text if is_odds or kind == "number" else highs[0]
        return Value(f"{function}{domain}_{precision}({argument})", kind)
    if function in ("negative", "abs"):
        return _of_sign(function, given[0])
    left, right = given
    exact = _exact(function, left, right)
    if exact is not None:
        return exact
    if precision == "single":
        return Value(f"{left.text} {_OPERATORS[function]} {right.text}", "number")
    return Value(_PAIRS[function](left, right), "pair")


_ROUNDING = ("add", "subtract", "multiply", "divide")


def _exact(function: str, left: Value, right: Value) -> Value | None:
    """Return an operation that does not round, or None: units scale, and add up to units."""
    kinds = {left.kind, right.kind}
    text = f"{left.text} {_OPERATORS[function]} {right.text}"
    if kinds == {"unit"} and function != "divide":
        return Value(text, "unit")
    scales = right.kind == "unit" and function in ("multiply", "divide")
    if function == "multiply" and left.kind == "unit":
        left, right, scales = right, left, True
    if not scales:
        return None
    if left.kind != "pair":
        return Value(text, left.kind)
    factor = right.text if function == "multiply" else f"1.0 / {right.text}"
    return Value(f"pair_scale({left.text}, {factor})", "pair")


def _where(condition: Value, left: Value, right: Value) -> Value:
    kinds = {left.kind, right.kind}
    if "pair" in kinds:
        pairs = (
            one.text if one.kind == "pair" else f"pair_of({one.text})" for one in (left, right)
        )
        return Value(f"pair_select({condition.text}, {', '.join(pairs)})", "pair")
    kind = "unit" if kinds == {"unit"} else "number"
    return Value(f"{condition.text} ? {left.text} : {right.text}", kind)


def _of_sign(function: str, value: Value) -> Value:
    if function == "negative":
        is_pair = value.kind == "pair"
        return Value(f"pair_negate({value.text})" if is_pair else f"-{value.text}", value.kind)
    high = _parts(value)[0]
    if value.kind == "pair":
        return Value(f"pair_scale({value.text}, {high} < 0.0 ? -1.0 : 1.0)", "pair")
    return Value(f"{high} < 0.0 ? -{high} : {high}", value.kind)


def _pairs(both: str, left_number: str, right_number: str, numbers: str) -> Callable[..., str]:
    """Return what picks the function of primitives.h by what the operands are."""

    def call(left: Value, right: Value) -> str:
        names = {
            (True, True): both,
            (False, True): left_number,
            (True, False): right_number,
            (False, False): numbers,
        }
        name = names[left.kind == "pair", right.kind == "pair"]
        return name.format(left.text, right.text)

    return call


_PAIRS = {
    "add": _pairs(
        "pair_add({0}, {1})",
        "pair_add_number({1}, {0})",
        "pair_add_number({0}, {1})",
        "two_sum({0}, {1})",
    ),
    "subtract": _pairs(
        "pair_subtract({0}, {1})",
        "number_subtract_pair({0}, {1})",
        "pair_subtract_number({0}, {1})",
        "two_sum({0}, -{1})",
    ),
    "multiply": _pairs(
        "pair_multiply({0}, {1})",
        "pair_multiply_number({1}, {0})",
        "pair_multiply_number({0}, {1})",
        "two_product({0}, {1})",
    ),
    "divide": _pairs(
        "pair_divide({0}, {1})",
        "number_divide_pair({0}, {1})",
        "pair_divide_number({0}, {1})",
        "two_quotient({0}, {1})",
    ),
}


def _kernels() -> Iterator[tuple[str, tuple[str, ...], str, str]]:
    """Yield what each kernel is of."""
    for name, formula in FORMULAS.items():
        yield from product((name,), formula.outputs, formula.factors, PRECISIONS)


def _table() -> str:
    """Return the table by which the engine finds a kernel."""
    rows = []
    for formula, outputs, factors, precision in _kernels():
        reads = ", ".join(
            str(int(name in _inputs(trace_of(formula, outputs, factors)))) for name in _ARRAYS
        )
        place = (
            list(FORMULAS).index(formula),
            OUTPUTS.index(outputs),
            list(FACTORS).index(factors),
            PRECISIONS.index(precision),
        )
        index = "".join(f"[{one}]" for one in place)
        has_loss = int(outputs[0] == "loss")
        name = _name(formula, outputs, factors, precision)
        rows.append(f"    {index} = {{{name}, {{{reads}}}, {len(outputs)}, {has_loss}}},")
    lengths = "".join(f"[{len(one)}]" for one in (FORMULAS, OUTPUTS, FACTORS, PRECISIONS))
    return "\n".join([f"static const kernel kernels{lengths} = {{", *rows, "};"])


def header() -> str:
    """Return the header."""
    kernels = "\n".join(kernel(*one) for one in _kernels())
    names = ", ".join(f'"{one}"' for one in FORMULAS)
    outputs = ", ".join(f'"{",".join(one)}"' for one in OUTPUTS)
    return f"""/* Printed by generate.py from the formula. Do not edit. */
#ifdef LEVEL

typedef struct {{
    void (*run)(const double *const *in, double u, double eps, double *const *high,
                double *const *low, ptrdiff_t n);
    int reads[4]; /* which of x, targets, weight and pos_weight */
    int outputs, has_loss;
}} kernel;

/* Blocks do not overlap. GCC would test ten pairs of pointers for that, give up beyond, and
   leave the loop as it is, without a word. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

{kernels}
{_table()}

static inline kernel kernel_of(int formula, int outputs, int factors, int is_double)
{{
    const int is_known = formula >= 0 && formula < {len(FORMULAS)}
                         && outputs >= 0 && outputs < {len(OUTPUTS)};
    return is_known ? kernels[formula][outputs][factors][is_double != 0] : (kernel){{0}};
}}

#else

static const char *const formula_names[] = {{{names}, NULL}};
static const char *const output_names[] = {{{outputs}, NULL}};

#endif
"""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(header())
