"""A YAML spec -> Spec. Knows the keys and their values, not the network they speak of."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from pytest_ncnn_parity import yaml12
from pytest_ncnn_parity.errors import ParityError
from pytest_ncnn_parity.setups import BUILT_IN, DEFAULT_COMPARE, PRECISIONS, Comparison, Setup


class SpecError(ParityError):
    """Every error of a spec, each as `file:line:column: message`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Size = Annotated[int, Field(ge=1)]
Shape = Annotated[list[Size], Field(min_length=1, max_length=4)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


class ModelFiles(_Keys):
    """The network's files, relative to the spec."""

    param: Name
    bin: Name


class RandomSource(_Keys):
    """Values drawn from a seeded generator: normal (mean, std, clipped to low..high) or uniform."""

    random: Literal["normal", "uniform"]
    shape: Shape | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    mean: Finite = 0.0
    std: Share = 1.0
    low: Finite | None = None
    high: Finite | None = None

    @model_validator(mode="after")
    def _bounds(self) -> RandomSource:
        low, high = self.bounds
        if low is not None and high is not None and low >= high:
            raise ValueError(f"low ({low:g}) must be below high ({high:g})")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        if self.random == "normal":
            return self.low, self.high
        return (
            0.0 if self.low is None else self.low,
            1.0 if self.high is None else self.high,
        )


class ConstantSource(_Keys):
    """One value everywhere."""

    constant: Finite
    shape: Shape | None = None


class FileSource(_Keys):
    """A recorded array: .npy, or .npz with the key of an array in it."""

    file: Name
    key: Name | None = None


class ImageSource(_Keys):
    """Pixels, then (pixel - mean) * norm by channel, as ncnn's substract_mean_normalize does."""

    image: Name
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    size: Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None  # width, height
    mean: list[Finite] | None = None
    norm: list[Finite] | None = None


_SOURCES: dict[str, type[BaseModel]] = {
    "random": RandomSource,
    "constant": ConstantSource,
    "file": FileSource,
    "image": ImageSource,
}


def _source_kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else {}
    return next((kind for kind in _SOURCES if kind in keys), None)


Source = Annotated[
    Annotated[RandomSource, Tag("random")]
    | Annotated[ConstantSource, Tag("constant")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[ImageSource, Tag("image")],
    Discriminator(_source_kind),
]


class SetupKeys(_Keys):
    """One side of an own comparison."""

    device: Annotated[str, Field(pattern=r"^(cpu|vulkan(:\d{1,2})?)$")] = "cpu"
    precision: Literal["fp32", "fp16", "fp16-storage", "fp16-packed", "bf16"] = "fp32"
    options: dict[str, bool | int] = {}

    @field_validator("options")
    @classmethod
    def _free(cls, options: dict[str, bool | int]) -> dict[str, bool | int]:
        taken = {"use_vulkan_compute": "device"}
        for name in options:
            if name in taken:
                raise ValueError(f"{name} is set by the key '{taken[name]}'")
        return options

    def setup(self) -> Setup:
        return Setup(self.device, self.precision, self.options)


class OwnComparison(_Keys):
    """A pair of setups of the user's own."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    reference: SetupKeys = SetupKeys()
    candidate: SetupKeys

    @model_validator(mode="after")
    def _differ(self) -> OwnComparison:
        if self.reference.setup() == self.candidate.setup():
            raise ValueError("reference and candidate are the same: nothing would be tested")
        return self


class Budget(_Keys):
    """Tolerance keys; see tolerance.Tolerance."""

    atol: Share | None = None
    rtol: Share | None = None
    scaled: Share | None = None
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    sqnr_db: Finite | None = None

    def given(self) -> dict[str, float]:
        return {key: value for key, value in self if value is not None}


class ToleranceKeys(_Keys):
    """Budgets by precision, by layer (glob or type:Op; later ones lie over earlier) and by output."""

    model_config = ConfigDict(populate_by_name=True)

    fp32: Budget = Budget()
    fp16: Budget = Budget()
    fp16_storage: Budget = Field(Budget(), alias="fp16-storage")
    fp16_packed: Budget = Field(Budget(), alias="fp16-packed")
    bf16: Budget = Budget()
    layers: dict[str, Budget] = {}
    outputs: dict[str, Budget] = {}

    def of_precision(self, precision: str) -> Budget:
        found: Budget = getattr(self, precision.replace("-", "_"))
        return found


class Selection(_Keys):
    """Which layers get cases: name globs and type:Op."""

    include: list[Name] = ["*"]
    exclude: list[Name] = []


class Known(_Keys):
    """An expected failure. Strict: when it passes, that is a failure."""

    layer: Name | None = None
    output: Name | None = None
    comparison: Name | None = None
    sample: Name | None = None
    reason: Name

    @model_validator(mode="after")
    def _one(self) -> Known:
        if (self.layer is None) == (self.output is None):
            raise ValueError("name either a layer or an output")
        return self


def _built_in(name: str) -> str:
    if name not in BUILT_IN:
        raise ValueError(
            f"unknown comparison {name!r}{guess(name, BUILT_IN)}; there are "
            f"{', '.join(BUILT_IN)}, and own ones with name, reference and candidate"
        )
    return name


def _comparison_kind(value: Any) -> str:
    return "own" if isinstance(value, dict | OwnComparison) else "built-in"


AnyComparison = Annotated[
    Annotated[str, AfterValidator(_built_in), Tag("built-in")] | Annotated[OwnComparison, Tag("own")],
    Discriminator(_comparison_kind),
]

Mask = Annotated[int, Field(ge=0, le=255)]
SampleName = Annotated[str, Field(pattern=r"^[^:\[\]/\\\s]+$")]


class Spec(_Keys):
    """One model and how to test it. `path` is the spec's own file."""

    model: ModelFiles
    inputs: Annotated[dict[SampleName, dict[Name, Source]], Field(min_length=1)]
    compare: Annotated[list[AnyComparison], Field(min_length=1)] = list(DEFAULT_COMPARE)
    tolerance: ToleranceKeys = Field(default_factory=lambda: ToleranceKeys.model_validate({}))
    layers: Selection = Selection()
    masks: dict[str, Mask] = {}
    known: list[Known] = []

    _path: Path = PrivateAttr()
    _document: yaml12.Document = PrivateAttr()

    @field_validator("compare")
    @classmethod
    def _comparisons(cls, given: list[str | OwnComparison]) -> list[str | OwnComparison]:
        names = [c.name for item in given for c in _expanded(item)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"comparison {name!r} stands twice")
        return given

    @property
    def path(self) -> Path:
        return self._path

    @property
    def param(self) -> Path:
        return self._path.parent / self.model.param

    @property
    def bin(self) -> Path:
        return self._path.parent / self.model.bin

    @property
    def comparisons(self) -> list[Comparison]:
        return [comparison for item in self.compare for comparison in _expanded(item)]

    def at(self, *path: str | int, of_key: bool = False) -> str:
        """`file:line:column` of a key or a value."""
        return f"{self._path}:{self._document.place(path, of_key)}"

    def line(self, *path: str | int) -> int:
        return self._document.place(path, of_key=True).line


def _expanded(item: str | OwnComparison) -> list[Comparison]:
    if isinstance(item, str):
        return list(BUILT_IN[item])
    return [Comparison(item.name, item.reference.setup(), item.candidate.setup())]


def guess(word: str, known: Any) -> str:
    """`; did you mean 'x'` where something known is near `word`, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}" if near else ""


def load(path: Path) -> Spec:
    """Read the spec at `path`; SpecError holds every error in it, each with its place."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path}: cannot be read: {error}"]) from None
    try:
        document = yaml12.load(text)
    except yaml12.YamlError as error:
        raise SpecError([f"{path}:{place}: {message}" for place, message in error.problems]) from None
    try:
        spec = Spec.model_validate(document.data)
    except ValidationError as error:
        raise SpecError(_readable(error, path, document)) from None
    spec._path = path.absolute()  # a worker has another working directory
    spec._document = document
    return spec


def _readable(error: ValidationError, path: Path, document: yaml12.Document) -> list[str]:
    found: dict[tuple[int, int, yaml12.Path], str] = {}
    for problem in error.errors():
        loc = _in_document(problem["loc"], document.data)
        missing = problem["type"] == "missing"
        unknown = problem["type"] == "extra_forbidden"
        if missing:
            loc = loc[:-1] if loc and loc[-1] == problem["loc"][-1] else loc
        place = document.place(loc, of_key=missing or unknown or problem["loc"][-1:] == ("[key]",))
        key = problem["loc"] if missing else loc
        found.setdefault((place.line, place.column, key), f"{path}:{place}: {_message(problem, loc)}")
    return [found[key] for key in sorted(found, key=lambda k: k[:2])]


def _in_document(loc: tuple[str | int, ...], data: Any) -> yaml12.Path:
    """The part of a pydantic location that is a path in the document: it names types as well."""
    path: list[str | int] = []
    if loc[:1] == ("inputs",):
        loc = loc[:3] + loc[4:]  # the fourth is the kind of source, by our Tag
    if loc[:1] == ("compare",):
        loc = loc[:2] + loc[3:]  # as here the third
    for step in loc:
        inside = step in data if isinstance(data, dict) else False
        if isinstance(data, list) and isinstance(step, int):
            inside = step < len(data)
        if inside:
            data = data[step]
            path.append(step)
    return tuple(path)


def _message(problem: Any, loc: yaml12.Path) -> str:
    where = ".".join(map(str, loc)) or "the spec"
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        if loc[-1] in _fields_at(loc[:-1]):
            return f"the key {loc[-1]!r} does not go with the others here"
        return f"unknown key {loc[-1]!r}{guess(str(loc[-1]), _fields_at(loc[:-1]))}"
    if kind == "missing":
        return f"{where}: the key {problem['loc'][-1]!r} is missing"
    if kind == "union_tag_not_found":
        return f"{where}: expected a source with one of the keys {', '.join(_SOURCES)}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']!s}"
    shown = "nothing" if value is None else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        shown = f"{value}"
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}; found {shown[:60]}"


def _fields_at(loc: yaml12.Path) -> set[str]:
    """The keys that may stand at `loc`."""
    classes: dict[str, list[type[BaseModel]]] = {
        "model": [ModelFiles],
        "inputs": list(_SOURCES.values()),
        "compare": [OwnComparison, SetupKeys],
        "layers": [Selection],
        "known": [Known],
        "tolerance": [ToleranceKeys] if len(loc) == 1 else [Budget],
    }
    chosen = classes.get(str(loc[0]), []) if loc else [Spec]
    return {field.alias or name for c in chosen for name, field in c.model_fields.items()}


assert set(PRECISIONS) == {
    field.alias or name
    for name, field in ToleranceKeys.model_fields.items()
    if name not in ("layers", "outputs")
}
