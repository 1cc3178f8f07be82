"""SECURITY.md's promises, read off the source: no network, no pickle, no code from data."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.source import MODULES, imports

# What only `python -m portable_bce` imports, and the scripts behind the kernels.
COMMAND_LINE = (
    "__main__", "_commands", "_kernels.coefficients", "_kernels.generate",
)  # fmt: skip

# The standard library that the modules may use; what is not here waits for somebody to think.
HARMLESS = {
    "__future__", "collections", "contextlib", "dataclasses", "datetime", "difflib", "functools",
    "importlib", "inspect", "itertools", "json", "math", "numbers", "operator", "sys", "textwrap",
    "time", "types", "typing", "warnings",
}  # fmt: skip
# ... the command line beside that: files by their names, threads, the machine that it runs on
OF_COMMANDS = {
    "argparse", "concurrent", "decimal", "os", "pathlib", "platform", "shutil",
}  # fmt: skip
LIBRARIES = {
    "array_api_compat", "dask", "hypothesis", "matplotlib", "mpmath", "numpy", "portable_bce",
    "rich", "sklearn", "torch",
}  # fmt: skip
# Whatever they belong to: `np.load`, `torch.load`, `os.system`, `re.compile` do not occur either.
FORBIDDEN_CALLS = {
    "__import__", "compile", "eval", "exec", "execv", "execve", "fork", "load", "loads", "open",
    "popen", "Popen", "posix_spawn", "run_module", "run_path", "spawnv", "startfile", "system",
}  # fmt: skip
# (module, call): JSON, which holds no code; a function of the module; the system's name
ALLOWED_CALLS = {
    ("_commands.verify", "json.loads"),
    ("_commands.demo", "load"),
    ("_commands.machine", "platform.system"),
}


def imported(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def calls(tree: ast.Module) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield the last name of what is called, the whole of it, and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            whole = ast.unparse(node.func)
            yield whole.rpartition(".")[2], whole, node


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_import_nothing_that_connects_unpickles_or_starts(module: str) -> None:
    allowed = HARMLESS | LIBRARIES | (OF_COMMANDS if module.startswith(COMMAND_LINE) else set())
    assert imported(module) <= allowed


def test_no_module_starts_a_process() -> None:
    """verify has threads; nothing else has."""
    assert not {name for name in MODULES if "multiprocessing" in imported(name)}
    assert {name for name in MODULES if "concurrent" in imported(name)} == {"_commands.verify"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_call_nothing_that_runs_or_reads_what_they_are_given(module: str) -> None:
    found = {whole for name, whole, _ in calls(MODULES[module]) if name in FORBIDDEN_CALLS}
    assert found <= {whole for where, whole in ALLOWED_CALLS if where == module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_what_is_imported_at_run_time_is_named_in_the_source(module: str) -> None:
    """By its name, or by the table of backends."""
    for name, _, call in calls(MODULES[module]):
        if name == "import_module":
            (what,) = call.args
            named = isinstance(what, ast.Constant)
            assert named or (module, ast.unparse(what)) in {
                ("_commands.machine", "BACKENDS[name]"),
                ("_commands.machine", "name"),
            }


def test_functions_leave_files_and_settings_alone() -> None:
    """Outside the command line no path, no environment and no setting of a library occurs."""
    settings = {"environ", "putenv", "set_num_threads", "seterr", "set_default_dtype"}
    for module, tree in MODULES.items():
        if not module.startswith(COMMAND_LINE):
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not names & (settings | {"Path", "read_text", "write_text", "open"}), module
