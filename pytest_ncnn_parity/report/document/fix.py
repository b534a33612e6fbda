"""A fix in the JSON report, and notices about masks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from pytest_ncnn_parity.report.document.case import Number

NoticeKind = Literal["unsafe", "redundant"]


class CostRecord(TypedDict):
    """The network before and after a fix."""

    before_ms: float
    after_ms: float
    rounds: int
    moved: Annotated[int, Field(description="layers that leave the GPU")]
    left: Annotated[int, Field(description="layers that stay on it")]
    uploads: Annotated[list[int], Field(description="before and after")]
    downloads: Annotated[list[int], Field(description="before and after")]


class SetupRecord(TypedDict):
    """How a network is run."""

    device: str
    precision: str
    options: dict[str, bool | int]
    worker: NotRequired[Annotated[str | None, Field(description="the declared one it runs on, if any")]]


class AlternativeRecord(TypedDict):
    """A way to run the whole network that needs no masks."""

    name: str
    setup: SetupRecord
    problem: Annotated[str, Field(description="what is wrong with it; empty: it is right")]
    worst: Annotated[Number, Field(description="the largest error of an output")]
    ms: float | None


class OutputRecord(TypedDict):
    """The largest error of an output, as a share of its largest value; null where it was not run."""

    output: str
    before: Number | None
    after: Number | None


class FixRecord(TypedDict):
    """Masks for one comparison; empty where none help, and 'how' says so."""

    comparison: str
    masks: dict[str, int]
    spec_masks: NotRequired[
        Annotated[dict[str, int], Field(description="those that the spec has already")]
    ]
    verified: bool
    minimal: bool
    lines: Annotated[list[str], Field(description="the changed lines of the .param as they should be")]
    before: Annotated[list[str], Field(description="the same as they are")]
    how: Annotated[str, Field(description="what was run, or why nothing was")]
    errors: Annotated[list[Number | None], Field(description="the worst output before and after")]
    outputs: NotRequired[list[OutputRecord]]
    notes: list[str]
    runs: int
    seconds: float
    start: Annotated[str, Field(description="what the search began with")]
    cost: CostRecord | None
    alternatives: list[AlternativeRecord]
    patch: Annotated[str, Field(description="for git apply")]
    written: Annotated[list[str], Field(description="files")]
    unwritten: NotRequired[
        Annotated[str, Field(description="why files that were asked for could not be written")]
    ]
    param: NotRequired[
        Annotated[str, Field(description="of another model, the .param that the lines are of")]
    ]
    in_float: NotRequired[
        Annotated[
            list[str],
            Field(description="of an int8 model, the layers to leave in floats; 'lines': its table's"),
        ]
    ]


class MaskNotice(TypedDict):
    """A notice about an existing mask."""

    layer: str
    mask: int
    kind: NoticeKind
    what: str
