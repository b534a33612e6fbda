"""The rules of the house: what may import what, how large a module is, what crosses untyped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from conftest import PACKAGE, ROOT

# each room may import from those that stand below it
FLOORS = """
plugin
nodes
verdict controller printed
arm64
session option_values option_names
baseline
options
report
repair
diagnose
engine
cache
plan
spec
network
compare
base
"""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS.split("\n")) for room in rooms.split()}
CROSSING = {
    f"engine.{name}"
    for name in (
        "protocol",
        "wire",
        "reported",
        "inputs",
        "evidence",
        "int8_evidence",
        "steps",
        "endings",
        "workers",
    )
}
FOR_THE_WORKER = {"worker", *CROSSING, "network", "compare", "base"}
SMALL = {
    "base.arrays": "one type for all that hold arrays, which the parent does not import",
    "compare.number_formats": "the limits of the formats, which rooms need that know of no tolerance",
}
UNTYPED = {  # where JSON or YAML is parsed or written
    "engine.wire": "jobs and results",
    "engine.process": "a worker's messages",
    "engine.client": "a worker's messages",
    "engine.facts": "a worker's messages",
    "engine.inputs": "the inputs in a job's line",
    "engine.results": "the file in which xdist's workers tell each other results",
    "worker.far.answers": "a far worker's messages",
    "worker.far.link": "a far worker's messages",
    "worker.far.server": "a far worker's messages",
    "report.document": "the JSON Schema of a report",
    "report.html.columns": "the JSON in a page",
    "spec.spec": "the JSON Schema of a spec",
    "spec.yaml12": "the YAML of a spec",
}


def named(path: Path) -> str:
    *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if name == "__init__" else [*folders, name])


PATHS = {named(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text("utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names, wherever in the module: also within functions, and for types alone."""
    imported = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(imported)


def inside(module: str) -> Iterator[str]:
    """The modules of this package that `module` imports."""
    for name in imports(module):
        package, _, path = name.partition(".")
        if package == PACKAGE.name:
            yield path if path in PATHS else path.rpartition(".")[0]


def users(package: str) -> set[str]:
    return {module for module in PATHS for name in imports(module) if name.split(".")[0] == package}


def room(module: str) -> str:
    return module.partition(".")[0]


def folder(module: str) -> Path:
    return PATHS[module].parent


def test_pytest_is_known_to_the_plugin_and_its_nodes_and_ncnn_to_the_worker() -> None:
    knowing = users("pytest") | users("_pytest") | users("pluggy")
    assert {room(module) for module in knowing} == {"plugin", "nodes"}
    assert {room(module) for module in users("ncnn")} == {"worker"}


def test_imports_point_downwards_and_the_worker_is_separate() -> None:
    assert {room(module) for module in PATHS} - {""} == {*FLOOR, "worker"}
    for one, other in ((module, used) for module in PATHS for used in inside(module)):
        if room(one) == "worker":
            assert {other, room(other)} & FOR_THE_WORKER, f"{one} imports {other}"
        elif room(one) != room(other):
            assert room(other) in FLOOR, f"{one} imports {other}"
            assert FLOOR[room(one)] < FLOOR[room(other)], f"{one} imports {other}"


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({one: set(inside(one)) for one in PATHS}).prepare()  # raises CycleError


def test_modules_are_neither_long_nor_tiny() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in PATHS.items()}
    assert {module: count for module, count in lines.items() if count > 300} == {}
    tiny = {module for module, count in lines.items() if count < 25 and PATHS[module].stem != "__init__"}
    assert tiny == SMALL.keys()


def test_no_test_file_imports_from_another() -> None:
    """What two of them share is beside conftest.py."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            assert not [name for name in modules if name.startswith("test_")], path


def test_what_crosses_between_folders_has_a_type() -> None:
    """No function takes or gives a mapping of just anything, and no field holds one, public or not."""
    assert {one for one in PATHS if any(map(says_any, signatures(tree(one))))} == UNTYPED.keys()


def signatures(node: ast.AST) -> Iterator[ast.expr]:
    """The annotations of functions, methods and fields in `node`, and the values of its aliases."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
            yield from filter(None, [child.returns, *(argument.annotation for argument in arguments)])
        elif isinstance(child, ast.AnnAssign):
            yield child.annotation
        elif isinstance(child, ast.Assign):
            yield child.value  # an alias of a type
        elif isinstance(child, ast.ClassDef):
            yield from signatures(child)


def says_any(annotation: ast.expr) -> bool:
    """Whether it has a mapping in it from str to just anything."""
    return any(
        isinstance(part, ast.Subscript)
        and ast.unparse(part.value).rpartition(".")[2] in ("dict", "Mapping", "MutableMapping")
        and ast.unparse(part.slice).endswith("Any)")
        for part in ast.walk(annotation)
    )


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
