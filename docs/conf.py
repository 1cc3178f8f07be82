"""The site: `nox -s docs` builds it into docs/_build/html; a warning is an error."""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import portable_bce
from portable_bce import boosting, testing


class Absent(ModuleType):
    """What PyTorch has, by name: a class to inherit from, or a function that does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found: Any = Absent(f"{self.__name__}.{name}")
        if name[0].isupper():
            found = type(name, (), {"__module__": self.__name__})
        setattr(self, name, found)
        return found

    def __call__(self, function: Any) -> Any:
        """Decorate by leaving a function as it is."""
        return function

    def __or__(self, other: object) -> Absent:
        return self


# The classes of portable_bce.torch inherit from PyTorch's, and PyTorch is a large download.
if importlib.util.find_spec("torch") is None:
    sys.modules["torch"] = Absent("torch")
    sys.modules["torch.overrides"] = sys.modules["torch"].overrides
import portable_bce.torch  # noqa: E402

HERE = Path(__file__).parent
SOURCE = "https://github.com/portable-bce/portable-bce/blob/main/"
# Whose names docstrings mention; their documentation cannot be looked up without a network.
OTHERS = ("torch.", "xgboost.")
SUBMODULES = (testing.reference, testing.strategies, testing.ulp)

project = "portable_bce"
author = "The portable_bce maintainers"
project_copyright = author
version = release = portable_bce.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
nitpicky = True
# A single backtick in a docstring names something of ours, or one of the arguments.
default_role = "py:obj"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "portable_bce"
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/portable-bce/portable-bce/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_heading_anchors = 4

# The docstrings say what an argument is, shape and dtype too; an annotation says less.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def outside(app: Any, name: str, source: list[str]) -> None:
    """Lead links to what is no page (code, data) to the repository, where GitHub has them."""
    del app
    folder = (HERE / name).parent

    def resolved(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        shown = target.is_relative_to(HERE) and target.suffix in (".md", ".svg")
        if shown or not target.exists():  # Sphinx says what is missing
            return match[0]
        return f"]({SOURCE}{target.relative_to(HERE.parent).as_posix()})"

    source[0] = re.sub(r"\]\((?P<target>[\w./-]+)\)", resolved, source[0])


def members(one: Any) -> Iterator[Any]:
    """Yield what is public, and the methods that a class has from us."""
    yield one
    for base in getattr(one, "__mro__", ()):
        if base.__module__.startswith("portable_bce"):
            yield from vars(base).values()


def arguments() -> set[str]:
    """Return the names of the arguments and methods of what is public."""
    found: set[str] = set()
    for module in (portable_bce, boosting, portable_bce.torch, testing, *SUBMODULES):
        for name in module.__all__:
            for member in members(getattr(module, name)):
                if inspect.isfunction(member) or inspect.isclass(member):
                    found |= {member.__name__, *inspect.signature(member).parameters}
    return found


def known(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Find what is ours from any module; arguments, built-in errors and others' names stand."""
    target = node["reftarget"]
    if node["reftype"] == "exc":
        names = target.split(", ")
        return contnode if all(hasattr(builtins, one) for one in names) else None
    if target in ARGUMENTS or target.startswith(OTHERS):
        return contnode
    domain = env.domains.python_domain
    ours = f"portable_bce.{target}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", ours, node, contnode)


ARGUMENTS = arguments()


# What latex2mathml takes for an infix operator, which browsers put space around.
MATHML = {
    r"<mo>(max)</mo>": r"<mi>\1</mi>",
    r'<mo (stretchy="false">&#x0007C;)': r'<mo lspace="0" rspace="0" \1',
    r"<mo>(&#x0221E;)</mo>": r"<mi>\1</mi>",
    r"(^<math[^>]*><mrow>|(?:&#x00028;|&#x0003D;|&#x0002C;)</mo>)<mo>(&#x02212;)": (
        r'\1<mo form="prefix">\2'
    ),
}


def formula(writer: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers show without a script from the network."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    tex = re.sub(r"(?<=[\w)}])\s*\\operatorname\b", r"\\,\\operatorname", node.astext().strip())
    math = convert(re.sub(r"\\operatorname\b", r"\\text", tex), display=display)
    for wrong, right in MATHML.items():
        math = re.sub(wrong, right, math)
    writer.body.append(f'<div class="math">{math}</div>' if display == "block" else math)
    raise nodes.SkipNode


def listings(app: Any, name: str, source: list[str]) -> None:
    """Replace each block of a title and options per line by columns of code."""
    del app, name

    def columns(match: re.Match[str]) -> str:
        lines = (line.rsplit(": ", 1) for line in match["lines"].splitlines())
        found = (
            COLUMN.format(title, language_of(options), printed(options)) for title, options in lines
        )
        return f"`````{{container}} columns\n{''.join(found)}`````"

    source[0] = re.sub(r"```\{printed\}\n(?P<lines>.*?)```", columns, source[0], flags=re.DOTALL)


COLUMN = """````{{container}}
{}

```{}
{}
```
````
"""


def language_of(options: str) -> str:
    """Name the language that `portable-bce source` prints with these options."""
    return "python" if "trace" in options else "c"


def printed(options: str) -> str:
    """Return the assignments that `portable-bce source` prints with these options."""
    command = [sys.executable, "-m", "portable_bce", "source", *options.split()]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^\s*((?:const \w+ )?v\d+ = .*)$", text, flags=re.MULTILINE)
    # In float64 there are two loops, and the second one begins again with the first value.
    first = max(i for i, line in enumerate(lines) if "v0 = " in line)
    return "\n".join(lines[first:])


def breaks(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let a long name break behind an underscore, a dot, a slash, a bracket or a comma."""
    del app, page, template, doctree
    if "body" in context:
        context["body"] = re.sub(
            r'(?<=<span class="pre">)[^<]{16,}',
            lambda name: re.sub(r"(?<=[\w)])([_./(,=])(?=\w)", r"\1<wbr>", name[0]),
            context["body"],
        )


def setup(app: Any) -> None:
    """Connect the renderer and the handlers of this file."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("source-read", outside)
    app.connect("source-read", listings)
    app.connect("missing-reference", known)
    app.connect("html-page-context", breaks)
