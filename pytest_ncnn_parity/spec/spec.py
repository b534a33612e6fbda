"""A YAML spec -> Spec, or every error in it with its place. `keys` says what it may contain."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityErrors, Place, cut, guess, quoted
from pytest_ncnn_parity.compare.comparisons import (
    BUILT_IN,
    DEFAULT_COMPARE,
    Comparison,
    OtherFiles,
    OtherModel,
    Pair,
)
from pytest_ncnn_parity.spec import yaml12
from pytest_ncnn_parity.spec.keys import (
    AnyComparison,
    Budget,
    Function,
    Keys,
    Known,
    LayerBudget,
    Mask,
    ModelFiles,
    Name,
    OnWorker,
    OwnComparison,
    SampleName,
    Selection,
    SetupKeys,
    ToleranceKeys,
)
from pytest_ncnn_parity.spec.sources import SOURCES, FileSource, Sample, Source

MOST_BYTES = 4 << 20  # of a spec's file


@dataclass(frozen=True)
class Where:
    """A place in a spec, as messages about it begin: `file:line:column: path`."""

    file: str
    place: Place | None
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.place}" if self.place else self.file
        return f"{place}: {self.path}" if self.path else place


Problem = tuple[Where | None, str]  # the place in the spec, if the problem is there, and what is wrong


class SpecError(ParityErrors):
    """Every error of a spec, each as `file:line:column: message`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__(self._lines(problems))

    def _lines(self, problems: Iterable[Problem]) -> Iterator[str]:
        for where, message in problems:
            if where is not None:
                self.place = self.place or where.place
            yield message if where is None else f"{where}: {message}"


class Spec(Keys):
    """One model and how to test it. `path` is the spec's own file."""

    model: ModelFiles
    samples: Annotated[
        dict[SampleName, Sample],
        Field(min_length=1, alias="inputs", json_schema_extra={"additionalProperties": False}),
    ]
    outputs: Annotated[list[Name], Field(min_length=1)] | None = None
    setup: Function | None = None
    compare: Annotated[list[AnyComparison], Field(min_length=1)] = list(DEFAULT_COMPARE)
    tolerance: ToleranceKeys = Field(default_factory=lambda: ToleranceKeys.model_validate({}))
    layers: Selection = Selection()
    masks: dict[str, Mask] = {}
    known: list[Known] = []

    _path: Path = PrivateAttr()
    _text: str = PrivateAttr()
    _document: yaml12.Document = PrivateAttr()

    @field_validator("compare")
    @classmethod
    def _comparisons(cls, given: list[AnyComparison]) -> list[AnyComparison]:
        names = [c.name for item in given for c in _expanded(item)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"comparison {quoted(name)} appears twice")
        return given

    @field_validator("outputs")
    @classmethod
    def _outputs(cls, names: list[str] | None) -> list[str] | None:
        for name in names or ():
            if names is not None and names.count(name) > 1:
                raise ValueError(f"output {quoted(name)} appears twice")
        return names

    @field_validator("tolerance")
    @classmethod
    def _headroom_is_judged(cls, tolerance: ToleranceKeys, info: ValidationInfo) -> ToleranceKeys:
        compared = info.data.get("compare")
        if compared is None or not tolerance.asks_for_headroom:
            return tolerance
        if not any(one.judges_headroom for item in compared for one in _expanded(item)):
            raise ValueError("headroom is judged in fp16-range alone: add that to 'compare'")
        return tolerance

    @property
    def inputs(self) -> dict[str, dict[str, Source]]:
        """By sample, what is fed to each input blob."""
        return {name: sample.blobs for name, sample in self.samples.items()}

    @property
    def path(self) -> Path:
        return self._path

    @property
    def text(self) -> str:
        """The file's, as it was read."""
        return self._text

    @property
    def param(self) -> Path:
        return self._path.parent / self.model.param

    @property
    def bin(self) -> Path:
        return self._path.parent / self.model.bin

    def beside(self, files: OtherFiles) -> tuple[Path, Path]:
        """The paths of another model's .param and .bin."""
        return self._path.parent / files.param, self._path.parent / files.bin

    @property
    def comparisons(self) -> list[Comparison]:
        return [comparison for item in self.compare for comparison in _expanded(item)]

    def at(self, *path: str | int, of_key: bool = False) -> Where:
        """The place of a key or a value in the file."""
        return Where(read_files.shown(self._path), self.place(*path, of_key=of_key))

    def at_input(self, sample: str, *path: str) -> Where:
        """The place of one input of a sample, or of what is expected of it."""
        where = self.at("inputs", sample, *path, of_key=True)
        return replace(where, path=".".join(["inputs", sample, *map(cut, path)]))

    def place(self, *path: str | int, of_key: bool = False) -> Place:
        """Line and column of a key or a value."""
        return self._document.place(path, of_key)

    def line(self, *path: str | int) -> int:
        return self.place(*path, of_key=True).line


def schema() -> dict[str, Any]:
    """The JSON Schema of what an editor can check; loading checks more: files, names, shapes."""
    described = {**Spec.model_json_schema(by_alias=True), "title": "ncnn parity spec"}
    return {"$schema": GenerateJsonSchema.schema_dialect, **described}


def _expanded(item: str | OwnComparison | OnWorker) -> list[Comparison]:
    if isinstance(item, str):
        return list(BUILT_IN[item])
    if isinstance(item, OnWorker):
        return [one.on(item.on) for name in item.compare for one in BUILT_IN[name]]
    kind = Pair if item.candidate.model is None else OtherModel
    return [kind(item.name, item.reference.setup(), item.candidate.setup())]


def load(path: Path, root: Path | None = None) -> Spec:
    """Read the spec at `path`; SpecError holds every error in it, each with its place.

    With a `root` it must lie in there once all links are followed.
    """
    shown = read_files.shown(path)
    if not _names_print(path, root):
        problem = "its path has characters that cannot be printed; rename the file or folder"
        raise SpecError([(Where(shown, None), problem)])
    try:
        text = read_files.text(path, root, MOST_BYTES, "expected a spec in YAML")
        document = yaml12.load(text)
    except read_files.Unreadable as error:
        raise SpecError([(Where(shown, error.place), error.what)]) from None
    except yaml12.YamlError as error:
        raise SpecError((Where(shown, place), message) for place, message in error.problems) from None
    try:
        spec = Spec.model_validate(document.data)
    except ValidationError as error:
        raise SpecError(_readable(error, shown, document)) from None
    spec._path = path.absolute()  # absolute, because a worker has another working directory
    spec._text = text
    spec._document = document
    return spec


def _names_print(path: Path, root: Path | None) -> bool:
    """Whether node ids and reports can hold the path from the root, or the name where there is none."""
    below = root is not None and path.is_relative_to(root)
    name = str(path.relative_to(root)) if root is not None and below else path.name
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in name)


def _readable(error: ValidationError, path: str, document: yaml12.Document) -> Iterator[Problem]:
    """The problems in the file's order, of several at one place and of one key the first."""
    first: dict[tuple[int, int, yaml12.Path], tuple[Any, yaml12.Path]] = {}
    for problem in error.errors(include_url=False):
        loc = _in_document(problem["loc"], document.data)
        missing = problem["type"] == "missing"
        unknown = problem["type"] == "extra_forbidden"
        if missing:
            loc = loc[:-1] if loc and loc[-1] == problem["loc"][-1] else loc
        place = document.place(loc, of_key=missing or unknown or problem["loc"][-1:] == ("[key]",))
        key = problem["loc"] if missing else loc
        first.setdefault((place.line, place.column, key), (problem, loc))
    for (line, column, _), (problem, loc) in sorted(first.items(), key=lambda item: item[0][:2]):
        yield Where(path, Place(line, column)), _message(problem, loc)


def _in_document(loc: tuple[str | int, ...], data: Any) -> yaml12.Path:
    """The part of a pydantic location that is a path in the document: it names types as well."""
    path: list[str | int] = []
    if loc[:1] == ("inputs",) and loc[2:3] == ("blobs",):
        loc = loc[:2] + loc[3:4] + loc[5:]  # the fifth part is the kind of source, from our Tag
    if loc[:1] == ("compare",):
        loc = loc[:2] + loc[3:]  # here the third part is
    for step in loc:
        inside = step in data if isinstance(data, dict) else False
        if isinstance(data, list) and isinstance(step, int):
            inside = step < len(data)
        if inside:
            data = data[step]
            path.append(step)
    return tuple(path)


def _message(problem: Any, loc: yaml12.Path) -> str:
    where = ".".join(cut(str(step), 40) for step in loc) or "the spec"
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        if loc[-1] in _fields_at(loc[:-1]):
            return f"the key {loc[-1]!r} cannot be combined with the others here"
        return f"unknown key {quoted(loc[-1])}{guess(str(loc[-1]), _fields_at(loc[:-1]))}"
    if kind == "missing":
        return f"{where}: the key {problem['loc'][-1]!r} is missing"
    if kind == "union_tag_not_found":
        return f"{where}: expected a source with one of the keys {', '.join(SOURCES)}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']!s}"
    if kind.startswith("int_") and isinstance(value, str) and value.isalpha() and value.isupper():
        # a placeholder of a first spec, such as HEIGHT
        return f"{where}: replace {cut(value)} by a number"
    shown = "nothing" if value is None else quoted(value)
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}; found {shown}"


def _budget_at(loc: yaml12.Path) -> type[Budget]:
    return LayerBudget if loc[1:2] == ("layers",) else Budget


def _fields_at(loc: yaml12.Path) -> set[str]:
    """The keys that are allowed at `loc`."""
    classes: dict[str, list[type[BaseModel]]] = {
        "model": [ModelFiles],
        # a longer location is within `expect`
        "inputs": [FileSource] if len(loc) == 4 else list(SOURCES.values()),
        "compare": [OwnComparison, SetupKeys, ModelFiles, OnWorker],
        "layers": [Selection],
        "known": [Known],
        "tolerance": [ToleranceKeys] if len(loc) == 1 else [_budget_at(loc)],
    }
    chosen = classes.get(str(loc[0]), []) if loc else [Spec]
    return {field.alias or name for c in chosen for name, field in c.model_fields.items()}
