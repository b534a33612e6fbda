"""The JSON report's shape: every key there is, and what it means. Its JSON Schema is made of this.

A key that may be absent is in the reports of some runs only. Readers should let unknown keys be: more
may come within one schema number; it grows when one that is there goes, or comes to mean another thing.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from pytest_ncnn_parity.report.document.case import Case
from pytest_ncnn_parity.report.document.fix import Fix, Notice
from pytest_ncnn_parity.report.document.regression import Baseline, Regression

SCHEMA = 1


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
