"""Puts what pydantic finds wrong with a spec into words for somebody who writes YAML, with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from pytest_ncnn_parity.base.errors import Place, cut, guess, quoted
from pytest_ncnn_parity.spec import yaml12
from pytest_ncnn_parity.spec.keys import (
    IN_WORDS,
    Budget,
    Known,
    LayerBudget,
    ModelFiles,
    OnWorker,
    OwnComparison,
    Selection,
    SetupKeys,
    ToleranceKeys,
)
from pytest_ncnn_parity.spec.sources import SOURCES, FileSource

# by pydantic's kind of error, what it expects; {ge} and the like are in the error's context
EXPECTED = {
    "bool_type": "true, false or a whole number of 32 bits",  # an option of ncnn
    "dict_type": "a mapping, key: value",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "text that is not empty",
    "string_type": "text",
}
MERGE = "<<"  # a key with which YAML 1.1 merges a mapping into another


def of(
    error: ValidationError, document: yaml12.Document, top: type[BaseModel]
) -> Iterator[tuple[Place, str]]:
    """The problems in the file's order, each with its place; of several at one place, the first.

    `top`: the class of the whole spec.
    """
    first: dict[tuple[int, int, yaml12.Path], tuple[Any, yaml12.Path]] = {}
    for problem in error.errors(include_url=False):
        loc = _in_document(problem["loc"], document.data)
        missing = problem["type"] == "missing"
        unknown = problem["type"] == "extra_forbidden"
        if isinstance(problem["input"], dict) and MERGE in problem["input"]:
            loc = (*loc, MERGE)
        merges = loc[-1:] == (MERGE,)
        if missing:
            loc = loc[:-1] if loc and loc[-1] == problem["loc"][-1] else loc
        place = document.place(
            loc, of_key=missing or unknown or merges or problem["loc"][-1:] == ("[key]",)
        )
        key = problem["loc"] if missing and not merges else loc
        first.setdefault((place.line, place.column, key), (problem, loc))
    for (line, column, _), (problem, loc) in sorted(first.items(), key=lambda item: item[0][:2]):
        yield Place(line, column), _message(problem, loc, top)


def _in_document(loc: tuple[str | int, ...], data: Any) -> yaml12.Path:
    """The part of a pydantic location that is a path in the document; it also names types."""
    path: list[str | int] = []
    if loc[:1] == ("inputs",) and loc[2:3] == ("blobs",):
        loc = loc[:2] + loc[3:4] + loc[5:]  # the fifth part is the kind of source, from our Tag
    if loc[:1] == ("compare",):
        loc = loc[:2] + loc[3:]  # the third part is the kind of comparison, from our Tag
    for step in loc:
        inside = step in data if isinstance(data, dict) else False
        if isinstance(data, list) and isinstance(step, int):
            inside = step < len(data)
        if inside:
            data = data[step]
            path.append(step)
    return tuple(path)


def _message(problem: Any, loc: yaml12.Path, top: type[BaseModel]) -> str:
    where = ".".join(cut(str(step), 40) for step in loc) or "the spec"
    kind, value = problem["type"], problem["input"]
    if loc[-1:] == (MERGE,):
        return "the key '<<': YAML 1.2 merges no mappings; write its keys here"
    if kind == "extra_forbidden":
        allowed = _fields_at(loc[:-1], top)
        if loc[-1] in allowed:
            return f"the key {loc[-1]!r} cannot be combined with the others here"
        near = guess(str(loc[-1]), allowed) or f"; there are {', '.join(allowed)}"
        return f"unknown key {quoted(loc[-1])}{near}"
    if kind == "missing":
        return f"{where}: the key {problem['loc'][-1]!r} is missing"
    if kind == "union_tag_not_found":
        keys = value if isinstance(value, dict) else ()
        near = next(filter(None, (guess(str(key), SOURCES) for key in keys)), "")
        return f"{where}: expected a source with one of the keys {', '.join(SOURCES)}{near}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']!s}"
    if kind.startswith("int_") and isinstance(value, str) and value.isalpha() and value.isupper():
        # a placeholder of a first spec, such as HEIGHT
        return f"{where}: replace {cut(value)} by a number"
    shown = {None: "nothing", True: "true", False: "false"}.get(value) if _is_plain(value) else None
    shown = shown or quoted(value)
    return f"{where}: expected {_expected(problem, loc, top)}; found {shown}"


def _expected(problem: Any, loc: yaml12.Path, top: type[BaseModel]) -> str:
    """What pydantic expected, without its words for Python's types."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "model_type":
        return f"a mapping with keys such as {', '.join(_fields_at(loc, top)[:4])}"
    if kind == "list_type":
        single = isinstance(value, str | int | float) and not isinstance(value, bool)
        text = cut(str(value)) if single else ""
        return f"a list: write [{text}]" if text.strip() else "a list"
    if kind in ("too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        return f"at least {least} of them" if least is not None else f"at most {most} of them"
    if kind == "string_pattern_mismatch":
        return IN_WORDS[context["pattern"]]
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f"text: put quotes around it, '{cut(str(value))}'"
    if kind in EXPECTED:
        short = {key: f"{v:g}" if isinstance(v, float) else v for key, v in context.items()}
        return EXPECTED[kind].format(**short)
    message: str = problem["msg"]
    return message[0].lower() + message[1:]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _of_comparison(loc: yaml12.Path) -> list[type[BaseModel]]:
    if loc[-1:] == ("model",):
        return [ModelFiles]
    return [SetupKeys] if loc[-1:] in (("reference",), ("candidate",)) else [OwnComparison, OnWorker]


def _budget_at(loc: yaml12.Path) -> type[Budget]:
    return LayerBudget if loc[1:2] == ("layers",) else Budget


def _fields_at(loc: yaml12.Path, top: type[BaseModel]) -> list[str]:
    """The keys that are allowed at `loc`, in the order of their declaration."""
    classes: dict[str, list[type[BaseModel]]] = {
        "model": [ModelFiles],
        # a longer location is within `expect`
        "inputs": [FileSource] if len(loc) == 4 else list(SOURCES.values()),
        "compare": _of_comparison(loc),
        "layers": [Selection],
        "known": [Known],
        "tolerance": [ToleranceKeys] if len(loc) == 1 else [_budget_at(loc)],
    }
    chosen = classes.get(str(loc[0]), []) if loc else [top]
    names = (field.alias or name for c in chosen for name, field in c.model_fields.items())
    return list(dict.fromkeys(names))
