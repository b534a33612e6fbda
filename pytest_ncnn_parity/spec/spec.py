"""Reads a YAML spec into a Spec, or reports every error in it with its place. `keys` has the keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityErrors, Place, cut, quoted
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import is_printable
from pytest_ncnn_parity.compare.comparisons import (
    BUILT_IN,
    DEFAULT_COMPARE,
    Comparison,
    OtherFiles,
    OtherModel,
    Pair,
    Setup,
)
from pytest_ncnn_parity.spec import problems, yaml12
from pytest_ncnn_parity.spec.keys import (
    AnyComparison,
    Function,
    Keys,
    Known,
    Mask,
    ModelFiles,
    Name,
    OnWorker,
    OwnComparison,
    SampleName,
    Selection,
    ToleranceKeys,
)
from pytest_ncnn_parity.spec.sources import Sample, Source

MOST_BYTES = 4 << 20  # of a spec's file


class Where(Frozen):
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
        _refuse_twice("comparison", (c.name for item in given for c in _expanded(item)))
        return given

    @field_validator("outputs")
    @classmethod
    def _outputs(cls, names: list[str] | None) -> list[str] | None:
        _refuse_twice("output", names or ())
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
        """The text of the file as it was read."""
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

    def at_setup(self, setup: Setup, *path: str) -> Where:
        """The place of a key of `setup`, which a comparison of the user's own names."""
        for number, item in enumerate(self.compare):
            if isinstance(item, OwnComparison):
                for side, keys in (("candidate", item.candidate), ("reference", item.reference)):
                    if keys.setup() == setup:
                        return self.at("compare", number, side, *path)
        raise LookupError(f"no comparison names {setup}")

    def at_input(self, sample: str, *path: str) -> Where:
        """The place of one input of a sample, or of what is expected of it."""
        where = self.at("inputs", sample, *path, of_key=True)
        return replace(where, path=".".join(["inputs", sample, *map(cut, path)]))

    def placed(self, sample: str, problem: str, inputs: Mapping[str, str]) -> str:
        """What is wrong with each of a sample's `inputs`, or else with all of it, with the places."""
        if not inputs:
            return f"{self.at('inputs', sample, of_key=True)}: {problem}"
        return "\n".join(f"{self.at_input(sample, blob)}: {what}" for blob, what in inputs.items())

    def place(self, *path: str | int, of_key: bool = False) -> Place:
        """Line and column of a key or a value."""
        return self._document.place(path, of_key)

    def line(self, *path: str | int) -> int:
        return self.place(*path, of_key=True).line


def schema() -> dict[str, Any]:
    """The JSON Schema of what an editor can check. Loading also checks files, names and shapes."""
    described = {**Spec.model_json_schema(by_alias=True), "title": "ncnn parity spec"}
    return {"$schema": GenerateJsonSchema.schema_dialect, **described}


def _expanded(item: str | OwnComparison | OnWorker) -> list[Comparison]:
    if isinstance(item, str):
        return list(BUILT_IN[item])
    if isinstance(item, OnWorker):
        return [one.on(item.on) for name in item.compare for one in BUILT_IN[name]]
    kind = Pair if item.candidate.model is None else OtherModel
    return [kind(item.name, item.reference.setup(), item.candidate.setup())]


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    """Raise ValueError if one of `names`, each of a `what`, appears twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {quoted(twice[0])} appears twice")


def load(path: Path, root: Path | None = None) -> Spec:
    """Read the spec at `path`; SpecError holds every error in it, each with its place.

    With a `root`, the file must lie below it once all links are followed.
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
        found = problems.of(error, document, Spec)
        raise SpecError((Where(shown, place), message) for place, message in found) from None
    spec._path = path.absolute()  # absolute, because a worker has another working directory
    spec._text = text
    spec._document = document
    return spec


def _names_print(path: Path, root: Path | None) -> bool:
    """Whether node ids and reports can hold the path from the root, or the name if there is no root."""
    below = root is not None and path.is_relative_to(root)
    name = str(path.relative_to(root)) if root is not None and below else path.name
    return is_printable(name)
