"""One spec in the JSON report: its network, and the cases and fixes of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord, MaskNotice


class LayerRecord(TypedDict):
    """A layer of the network under test, the spec's masks in it. Layers are in running order."""

    name: str
    type: str
    line: Annotated[int, Field(description="in the .param, from 1")]
    inputs: list[str]
    outputs: list[str]
    mask: int
    params: Annotated[str, Field(description="id=value as in the .param, without the mask")]
    selected: Annotated[bool, Field(description="whether the spec's 'layers' selects it")]


class ComparisonRecord(TypedDict):
    """A comparison of the spec."""

    name: str
    reference: str
    candidate: Annotated[str | None, Field(description="null: the reference's range is judged")]
    half: Annotated[str | None, Field(description="the 16-bit format the candidate may hold values in")]
    param_sha256: NotRequired[
        Annotated[
            str | None, Field(description="of the other model that the candidate runs, if it does")
        ]
    ]
    bin_sha256: NotRequired[str | None]


class NetworkRecord(TypedDict):
    """A spec and its network. Paths are relative to pytest's rootdir.

    Where the process that ran it died before it could report, its files are null, and its layers empty.
    """

    spec: str
    param: str | None
    bin: Annotated[str | None, Field(description="as the spec names it")]
    setup: NotRequired[Annotated[str | None, Field(description="the spec's own code that ran")]]
    spec_sha256: NotRequired[str | None]
    param_sha256: str | None
    bin_sha256: str | None
    samples: NotRequired[Annotated[list[str], Field(description="all of the spec, run or not")]]
    comparisons: NotRequired[
        Annotated[list[ComparisonRecord], Field(description="all of the spec, run or not")]
    ]
    outputs: NotRequired[
        Annotated[list[str], Field(description="the blobs that all samples compare, run or not")]
    ]
    recorded: NotRequired[
        Annotated[
            dict[str, list[str]], Field(description="by sample, the blobs that it has recordings of")
        ]
    ]
    not_run: NotRequired[
        Annotated[
            dict[str, list[int]],
            Field(
                description="by sample, selected layers not between what it feeds and what is compared"
            ),
        ]
    ]
    fed: NotRequired[
        Annotated[
            dict[str, list[int]], Field(description="by sample, selected layers whose outputs it feeds")
        ]
    ]
    arrays_sha256: NotRequired[
        Annotated[
            dict[str, str], Field(description="of the files that samples read, as the spec names them")
        ]
    ]
    noise: NotRequired[
        Annotated[
            dict[str, dict[str, list[int]]],
            Field(description="samples of random numbers alone; the shapes of their inputs by blob"),
        ]
    ]
    smooth: NotRequired[Annotated[list[str], Field(description="those of them that are smooth")]]
    layers: list[LayerRecord]


class ModelRecord(NetworkRecord):
    """A spec, its network, and their results."""

    cases: list[CaseRecord]
    fixes: list[FixRecord]
    masks: list[MaskNotice]
    notes: NotRequired[list[str]]
    input_doubt: NotRequired[
        Annotated[
            list[str],
            Field(description="where it is red on noise alone: what to feed first, else no lines"),
        ]
    ]
