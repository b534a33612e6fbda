"""The JSON report's shape: every key there is, and what it means. Its JSON Schema is made of this.

A key that may be absent is in the reports of some runs only. Readers should let unknown keys be: more
may come within one schema number; it grows when a key is removed or changes its meaning.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import NotRequired, TypedDict

from pytest_ncnn_parity.report.document.case import PlaceRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.document.regression import SinceBaseline

SCHEMA = 1

OptionValue = str | float | bool | None


class DeviceRecord(TypedDict):
    """A Vulkan device as ncnn described it."""

    index: str
    name: str
    driver: NotRequired[Annotated[str | None, Field(description="its version")]]
    api: NotRequired[Annotated[str | None, Field(description="its version of the Vulkan API")]]
    fp16: Annotated[str, Field(description="fp16 packed/storage/uniform/arithmetic, 1 where it has it")]


class DeclaredWorkerRecord(TypedDict):
    """What a declared worker, where a setup's network ran, said of itself."""

    ncnn: str
    python: str
    machine: Annotated[str, Field(description="its architecture")]
    system: str
    features: Annotated[str, Field(description="of its processor, as ncnn names them")]
    devices: Annotated[str, Field(description="the Vulkan devices there, where they were asked for")]


class WorkerEnvironment(TypedDict):
    """What a worker says of itself. Null where none was started."""

    ncnn: str | None
    numpy: str | None
    python: Annotated[str | None, Field(description="the worker's")]
    machine: str | None
    system: str | None
    devices: list[DeviceRecord]
    workers: NotRequired[
        Annotated[
            dict[str, DeclaredWorkerRecord], Field(description="the declared ones that ran, by name")
        ]
    ]


class Environment(WorkerEnvironment):
    """What ran. Null where no worker was started."""

    plugin: Annotated[str, Field(description="the version of pytest-ncnn-parity")]
    pytest: str
    host: NotRequired[Annotated[str | None, Field(description="the machine's name")]]
    commit: NotRequired[
        Annotated[
            str | None,
            Field(description="what is checked out; '+' behind it: with changes to tracked files"),
        ]
    ]
    options: Annotated[
        dict[str, OptionValue],
        Field(
            description="the plugin's options as they were in force, by their ini names without prefix"
        ),
    ]


class CollectionError(TypedDict):
    """A spec that could not be collected."""

    spec: str
    message: str
    place: NotRequired[
        Annotated[PlaceRecord | None, Field(description="of the first error that is the spec's own")]
    ]


class RunRecord(TypedDict):
    """How the run went."""

    started: NotRequired[Annotated[str, Field(description="ISO 8601, UTC")]]
    seconds: NotRequired[Annotated[float, Field(description="from its start to this report")]]
    complete: NotRequired[Annotated[bool, Field(description="every selected case has a verdict")]]
    stopped: NotRequired[Annotated[str | None, Field(description="why not")]]
    selected: NotRequired[Annotated[int, Field(description="cases")]]
    judged: NotRequired[Annotated[int, Field(description="cases with a verdict")]]
    not_reached: NotRequired[Annotated[list[str], Field(description="specs without any verdict")]]


class Report(RunRecord, SinceBaseline):
    """A report of pytest-ncnn-parity, as --ncnn-parity-json writes it."""

    schema: int
    errors: NotRequired[list[CollectionError]]
    environment: Environment
    models: list[ModelRecord]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Report)


def problem(document: object) -> str | None:
    """Why `document` is not of this shape: the first reason, with its place."""
    try:
        _adapter().validate_python(document, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return None


def schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **_adapter().json_schema()}


def render(report: Report) -> str:
    """The report as strict JSON: ValueError for an inf or a nan that is no string."""
    return json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
