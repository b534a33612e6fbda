"""The JSON report's shape: every key there is, and what it means. Its JSON Schema is made of this.

A key that may be absent is in the reports of some runs only. Readers should let unknown keys be: more
may come within one schema number; it grows when one that is there goes, or comes to mean another thing.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

SCHEMA = 1

Special = Literal["inf", "-inf", "nan"]
Number = Annotated[
    float | Special, Field(description="strict JSON has no such numbers: they are strings")
]
Outcome = Literal["passed", "failed", "skipped"]


class Device(TypedDict):
    """A Vulkan device as ncnn told of it."""

    index: str
    name: str
    driver: NotRequired[Annotated[str | None, Field(description="its version")]]
    api: NotRequired[Annotated[str | None, Field(description="the Vulkan it speaks")]]
    fp16: Annotated[str, Field(description="fp16 packed/storage/uniform/arithmetic, 1 where it has it")]


class Environment(TypedDict):
    """What ran. Null where no worker was started, so that nobody told."""

    ncnn: str | None
    numpy: str | None
    python: Annotated[str | None, Field(description="the worker's")]
    machine: str | None
    system: str | None
    plugin: Annotated[str, Field(description="the version of pytest-ncnn-parity")]
    pytest: str
    options: Annotated[
        dict[str, str | float | bool | None],
        Field(
            description="the plugin's options as they were in force, by their ini names without prefix"
        ),
    ]
    devices: list[Device]


class Layer(TypedDict):
    """A layer of the network under test, the spec's masks in it. Layers stand in running order."""

    name: str
    type: str
    line: Annotated[int, Field(description="in the .param, from 1")]
    inputs: list[str]
    outputs: list[str]
    mask: int
    params: Annotated[str, Field(description="id=value as in the .param, without the mask")]
    selected: Annotated[bool, Field(description="whether the spec's 'layers' selects it")]


class Compared(TypedDict):
    """A comparison of the spec."""

    name: str
    reference: str
    candidate: Annotated[str | None, Field(description="null: the reference's range is judged")]
    half: Annotated[str | None, Field(description="the 16-bit format the candidate may hold values in")]


class Measured(TypedDict):
    """What was measured of two arrays, in float64."""

    max_abs: Annotated[Number, Field(description="largest |candidate - reference|")]
    scaled: Annotated[Number, Field(description="max_abs as a share of max|reference|")]
    cosine: Number
    sqnr_db: Number
    nan: Annotated[int, Field(description="elements that are nan in the candidate alone")]
    inf: Annotated[int, Field(description="elements that are inf in the candidate alone")]
    reference_absmax: Annotated[Number, Field(description="largest finite |reference|")]
    candidate_absmax: Annotated[Number, Field(description="largest finite |candidate|")]


class Metrics(Measured):
    """The same, held against a tolerance."""

    mismatched: Annotated[int, Field(description="elements out of tolerance")]
    total: int
    least_scaled: Annotated[Number, Field(description="the least 'scaled' that every element passes")]


class Tolerance(TypedDict):
    """The budget: |c - r| <= atol + rtol*|r| + scaled*max|r|; cosine and sqnr_db are least values."""

    atol: float
    rtol: float
    scaled: float
    cosine: float | None
    sqnr_db: float | None


class Case(TypedDict):
    """One pytest item: a layer or an output, on one sample in one comparison."""

    nodeid: str
    sample: str
    comparison: str
    layer: Annotated[str | None, Field(description="the layer's name; null for an output")]
    number: NotRequired[
        Annotated[int | None, Field(description="the layer's place in the model's 'layers', from 0")]
    ]
    output: Annotated[str | None, Field(description="the output blob; null for a layer")]
    type: Annotated[str | None, Field(description="the layer's operator")]
    outcome: Outcome
    known: Annotated[bool, Field(description="skipped as an expected failure: it was run, and is wrong")]
    cause: Annotated[str | None, Field(description="why it failed")]
    message: Annotated[
        str, Field(description="the failure's text, its first line the summary; a skip's reason")
    ]
    line: NotRequired[Annotated[int | None, Field(description="in the spec, from 1")]]
    metrics: Metrics | None
    accumulated: NotRequired[
        Annotated[Measured | None, Field(description="of the same value in the candidate's own run")]
    ]
    accumulated_ended: NotRequired[Annotated[str | None, Field(description="why there is none")]]
    golden: NotRequired[Annotated[str | None, Field(description="the recording it is held against")]]
    dropped: NotRequired[Annotated[list[str], Field(description="options the driver did not take")]]
    repro: NotRequired[Annotated[str | None, Field(description="where the fault is written down alone")]]
    tolerance: Annotated[Tolerance | None, Field(description="null: nothing but the node id is known")]
    execution: Annotated[str | None, Field(description="where and how the candidate ran it, read back")]
    device: Annotated[str | None, Field(description="the device's name, or cpu")]


class Cost(TypedDict):
    """The network before and after a fix."""

    before_ms: float
    after_ms: float
    rounds: int
    moved: Annotated[int, Field(description="layers that leave the GPU")]
    left: Annotated[int, Field(description="layers that stay on it")]
    uploads: Annotated[list[int], Field(description="before and after")]
    downloads: Annotated[list[int], Field(description="before and after")]


class Setup(TypedDict):
    """How a network is run."""

    device: str
    precision: str
    options: dict[str, bool | int]


class Alternative(TypedDict):
    """A way to run the whole network that needs no masks."""

    name: str
    setup: Setup
    problem: Annotated[str, Field(description="what is wrong with it; empty: it is right")]
    worst: Annotated[Number, Field(description="the largest error of an output")]
    ms: float | None


class Fix(TypedDict):
    """Masks for one comparison; empty where none help, and 'how' says so."""

    comparison: str
    masks: dict[str, int]
    verified: bool
    minimal: bool
    lines: Annotated[list[str], Field(description="the changed lines of the .param as they should be")]
    before: Annotated[list[str], Field(description="the same as they are")]
    how: Annotated[str, Field(description="what was run, or why nothing was")]
    errors: Annotated[list[Number | None], Field(description="the worst output before and after")]
    notes: list[str]
    runs: int
    seconds: float
    start: Annotated[str, Field(description="what the search began with")]
    cost: Cost | None
    alternatives: list[Alternative]
    patch: Annotated[str, Field(description="for git apply")]
    written: Annotated[list[str], Field(description="files")]


class Notice(TypedDict):
    """What is to be said of a mask that is there."""

    layer: str
    mask: int
    kind: Literal["unsafe", "spare", "unjudged"]
    what: str


class Model(TypedDict):
    """A spec, its network and its cases. Paths are relative to pytest's rootdir.

    Where no process lived to tell of the network, its files are null, and its layers empty.
    """

    spec: str
    param: str | None
    bin: Annotated[str | None, Field(description="as the spec names it")]
    spec_sha256: NotRequired[str | None]
    param_sha256: str | None
    bin_sha256: str | None
    setup: NotRequired[Annotated[str | None, Field(description="the spec's own code that ran")]]
    samples: NotRequired[Annotated[list[str], Field(description="all of the spec, run or not")]]
    comparisons: NotRequired[Annotated[list[Compared], Field(description="all of the spec, run or not")]]
    layers: list[Layer]
    notes: NotRequired[list[str]]
    cases: list[Case]
    fixes: list[Fix]
    masks: list[Notice]


class Regression(TypedDict):
    """Something that is worse than in the baseline."""

    kind: Literal["red", "error", "headroom", "moved", "skipped", "vanished"]
    spec: str
    sample: Annotated[str | None, Field(description="null where it is the same for all")]
    comparison: str | None
    name: Annotated[str, Field(description="of the layer, output, sample, comparison or spec")]
    was: Annotated[str | None, Field(description="its name in the baseline, where it was another")]
    before: Annotated[
        str | float | None, Field(description="outcome, error, largest value or execution")
    ]
    after: Annotated[str | float | None, Field(description="the same in this run")]
    message: str
    matched_by: Annotated[
        Literal["name", "structure", "place"] | None,
        Field(
            description="how it was found again; place: the same operator between the same neighbours"
        ),
    ]


class Added(TypedDict):
    """A layer the baseline's network has not."""

    spec: str
    name: str


class Renamed(TypedDict):
    """A layer that has another name in the baseline."""

    spec: str
    name: str
    was: str
    matched_by: Literal["structure", "place"]


class Baseline(TypedDict):
    """What this run was compared with."""

    file: str
    factor: float
    context: Annotated[list[str], Field(description="versions, devices, options and files that differ")]
    notes: Annotated[list[str], Field(description="what limits the comparison")]
    added: list[Added]
    renamed: list[Renamed]


class Problem(TypedDict):
    """A spec that could not be collected."""

    spec: str
    message: str


class Report(TypedDict):
    """A report of pytest-ncnn-parity, as --ncnn-parity-json writes it."""

    schema: int
    started: NotRequired[Annotated[str, Field(description="ISO 8601, UTC")]]
    complete: NotRequired[Annotated[bool, Field(description="every selected case has a verdict")]]
    stopped: NotRequired[Annotated[str | None, Field(description="why not")]]
    selected: NotRequired[Annotated[int, Field(description="cases")]]
    judged: NotRequired[Annotated[int, Field(description="cases with a verdict")]]
    not_reached: NotRequired[Annotated[list[str], Field(description="specs without any verdict")]]
    errors: NotRequired[list[Problem]]
    environment: Environment
    models: list[Model]
    regressions: Annotated[list[Regression], Field(description="empty also where no baseline was given")]
    baseline: Baseline | None


@cache
def _report() -> TypeAdapter[Any]:
    return TypeAdapter(Report)


def problem(found: Any) -> str | None:
    """Why `found` is not of this shape: the first reason, with its place."""
    try:
        _report().validate_python(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return None


def schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12."""
    return _report().json_schema()
