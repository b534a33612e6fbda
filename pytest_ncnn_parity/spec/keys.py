"""The keys of a spec and the values that each may have, without regard to the network."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from pytest_ncnn_parity.base.errors import guess, quoted
from pytest_ncnn_parity.compare.comparisons import (
    BUILT_IN,
    GOLDEN,
    MOST_THREADS,
    PRECISIONS,
    WORKER_NAME,
    OtherFiles,
    Setup,
)
from pytest_ncnn_parity.compare.tolerance import INT8


class Keys(BaseModel):
    # deferred: of nested models, only the outermost is built
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def _printable(text: str) -> str:
    """Names and reasons are printed unchanged, so nothing in them may control a terminal."""
    if not text.isprintable():
        raise ValueError("expected characters that can be printed, on one line")
    return text


INT32 = 2**31

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(min_length=1), AfterValidator(_printable)]


class ModelFiles(Keys):
    """The network's files, relative to the spec."""

    param: Name
    bin: Name


# What a pattern allows, in words. Patterns are for editors as well, which read them in the schema.
# Lengths are limited apart: a class of Unicode characters that is repeated up to 100 times takes as long
# to compile as all else in a spec.
DEVICE = r"^(cpu|vulkan(:[0-9]{1,2})?)$"
OPTION = r"^[a-z][a-z0-9_]{0,63}$"
COMPARISON = r"^[\w.-]+$"
SAMPLE = r"^[^:\[\]/\\\s]+$"
LONGEST_NAME = 100
IN_WORDS = {
    DEVICE: "cpu, vulkan, or vulkan:N with the index of a device",
    OPTION: "the name of an option of ncnn, such as use_winograd_convolution",
    COMPARISON: f"1 to {LONGEST_NAME} letters, digits, underscores, dots and hyphens",
    SAMPLE: f"1 to {LONGEST_NAME} characters, without white space and without : [ ] / \\",
}

OptionName = Annotated[str, Field(pattern=OPTION)]
OptionValue = Annotated[int, Field(ge=-INT32, lt=INT32)]


def _worker_name(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(WORKER_NAME, value):
        raise ValueError(
            f"expected the name of a worker, found {quoted(value)}; how it is started is declared in "
            "the ini (ncnn_parity_workers) or on the command line, never in a spec"
        )
    return value


WorkerName = Annotated[
    str,
    BeforeValidator(_worker_name),
    WithJsonSchema({"type": "string", "pattern": f"^{WORKER_NAME}$"}),
]


class SetupKeys(Keys):
    """One side of a comparison that the user defines."""

    device: Annotated[str, Field(pattern=DEVICE)] = "cpu"
    precision: Literal["fp32", "fp16", "fp16-storage", "fp16-packed", "bf16"] = "fp32"
    options: dict[OptionName, bool | OptionValue] = {}
    model: ModelFiles | None = None
    worker: WorkerName | None = None

    @field_validator("options")
    @classmethod
    def _free(cls, options: dict[str, bool | int]) -> dict[str, bool | int]:
        taken = {"use_vulkan_compute": "device"}
        for name in options:
            if name in taken:
                raise ValueError(f"{name} is set by the key '{taken[name]}'")
        if not 1 <= options.get("num_threads", 1) <= MOST_THREADS:
            raise ValueError(f"num_threads: expected 1 to {MOST_THREADS}")
        return options

    def setup(self) -> Setup:
        files = None if self.model is None else OtherFiles(self.model.param, self.model.bin)
        return Setup(self.device, self.precision, self.options, files, self.worker)


class OwnComparison(Keys):
    """A pair of setups that the user defines."""

    name: Annotated[str, Field(pattern=COMPARISON, max_length=LONGEST_NAME), AfterValidator(_printable)]
    reference: SetupKeys = SetupKeys()
    candidate: SetupKeys

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name == GOLDEN.name or name.startswith(f"{GOLDEN.name}-"):
            raise ValueError(f"{name!r} is a comparison with a sample's 'expect'; take another name")
        return name

    @field_validator("reference")
    @classmethod
    def _of_the_spec(cls, reference: SetupKeys) -> SetupKeys:
        if reference.model is not None:
            raise ValueError(
                "the reference runs the spec's own model, by which layers are named; give 'model' to "
                "the candidate"
            )
        return reference

    @model_validator(mode="after")
    def _differ(self) -> OwnComparison:
        if self.reference.setup() == self.candidate.setup():
            raise ValueError("reference and candidate are the same: nothing would be tested")
        return self


class Budget(Keys):
    """How far a candidate may be from its reference: |c - r| <= atol + rtol*|r| + scaled*max|r|."""

    atol: Share | None = None
    rtol: Share | None = None
    scaled: Share | None = None
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    sqnr_db: Finite | None = None
    share: Annotated[Share, Field(le=1)] | None = None

    def given(self) -> dict[str, float]:
        return {key: value for key, value in self if value is not None}


Headroom = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class LayerBudget(Budget):
    """For layers: their values, and sums inside them, must stay below 65504/`headroom`."""

    headroom: Headroom | None = None


class ToleranceKeys(Keys):
    """Tolerances by precision, for recorded outputs, by layer (glob or type:Op) and by output.

    Later patterns take precedence over earlier ones. `headroom` applies to all layers, in fp16-range.
    """

    model_config = ConfigDict(populate_by_name=True)

    fp32: Budget = Budget()
    fp16: Budget = Budget()
    fp16_storage: Budget = Field(Budget(), alias="fp16-storage")
    fp16_packed: Budget = Field(Budget(), alias="fp16-packed")
    bf16: Budget = Budget()
    golden: Budget = Budget()
    int8: Budget = Budget()
    headroom: Headroom | None = None
    layers: dict[str, LayerBudget] = {}
    outputs: dict[str, Budget] = {}

    @property
    def asks_for_headroom(self) -> bool:
        return self.headroom is not None or any(b.headroom is not None for b in self.layers.values())

    def of_precision(self, precision: str) -> Budget:
        budget: Budget = getattr(self, precision.replace("-", "_"))
        return budget


class Selection(Keys):
    """Which layers get cases: name globs and type:Op."""

    include: list[Name] = ["*"]
    exclude: list[Name] = []


class Known(Keys):
    """A known failure. Strict: a case that passes is a failure."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["layer"]}, {"required": ["output"]}]}
    )

    layer: Name | None = None
    output: Name | None = None
    comparison: Name | None = None
    sample: Name | None = None
    reason: Line

    @model_validator(mode="after")
    def _one(self) -> Known:
        if (self.layer is None) == (self.output is None):
            raise ValueError("name either a layer or an output")
        return self


def _built_in(name: str) -> str:
    if name not in BUILT_IN:
        raise ValueError(
            f"unknown comparison {quoted(name)}{guess(name, BUILT_IN)}; there are "
            f"{', '.join(BUILT_IN)}, and own ones with name, reference and candidate"
        )
    return name


def _has_candidates(name: str) -> str:
    if any(comparison.candidate is None for comparison in BUILT_IN[name]):
        raise ValueError(f"{name} runs no candidate, so there is nothing to run on a worker")
    return name


_Enum = WithJsonSchema({"type": "string", "enum": list(BUILT_IN)})
_WithCandidates = WithJsonSchema(
    {
        "type": "string",
        "enum": [name for name, some in BUILT_IN.items() if all(one.candidate for one in some)],
    }
)


class OnWorker(Keys):
    """Built-in comparisons whose networks all run on one worker."""

    on: WorkerName
    compare: Annotated[
        list[
            Annotated[str, AfterValidator(_built_in), AfterValidator(_has_candidates), _WithCandidates]
        ],
        Field(min_length=1),
    ]


def _comparison_kind(value: Any) -> str:
    if isinstance(value, OnWorker) or (isinstance(value, dict) and "on" in value):
        return "on"
    return "own" if isinstance(value, dict | OwnComparison) else "built-in"


AnyComparison = Annotated[
    Annotated[str, AfterValidator(_built_in), _Enum, Tag("built-in")]
    | Annotated[OwnComparison, Tag("own")]
    | Annotated[OnWorker, Tag("on")],
    Discriminator(_comparison_kind),
]


def _function(name: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
        raise ValueError(f"expected package.module:function, found {name[:60]!r}")
    return name


# editors take \w for ASCII only
_Pattern = WithJsonSchema({"type": "string", "pattern": r"^[^\s:]+:[^\s:.]+$"})
Function = Annotated[str, AfterValidator(_function), _Pattern]
Mask = Annotated[int, Field(ge=0, le=255)]
SampleName = Annotated[str, Field(pattern=SAMPLE, max_length=LONGEST_NAME), AfterValidator(_printable)]

assert {*PRECISIONS, GOLDEN.precision, INT8} == {
    field.alias or name
    for name, field in ToleranceKeys.model_fields.items()
    if name not in ("headroom", "layers", "outputs")
}
