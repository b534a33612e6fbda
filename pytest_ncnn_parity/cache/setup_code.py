"""Finds the files of the project's own code that a spec's `setup` runs, by the names in its text."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def files(function: str, folders: Sequence[Path]) -> list[Path]:
    """The module of `function`, `package.module:name`, and all modules in `folders` that it imports.

    Included are modules imported through others, or within a function. Modules imported under a
    computed name are not, nor files that the code reads.
    """
    waiting, seen = [function.partition(":")[0]], set[str]()
    code: dict[Path, None] = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for path in _modules(name, folders):
            if path not in code:
                code[path] = None
                waiting += _imported(path, name)
    return list(code)


def packages() -> list[str]:
    """What is installed, each as `name-version.dist-info`: setup code may import any of it."""
    folders = [Path(folder) for folder in sys.path if folder]
    return sorted({path.name for folder in folders for path in folder.glob("*.dist-info")})


def _modules(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The files that are run to import `name`, in every folder that has them."""
    steps = name.split(".")
    for folder in folders:
        for depth in range(1, len(steps) + 1):
            stem = folder.joinpath(*steps[:depth])
            names = [stem.with_name(stem.name + suffix) for suffix in (".py", *EXTENSION_SUFFIXES)]
            yield from (path for path in (*names, stem / "__init__.py") if path.is_file())


def _imported(path: Path, name: str) -> Iterator[str]:
    """The dotted names that the module `name` at `path` may import."""
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return  # running the function will report the error
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
