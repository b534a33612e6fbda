"""One case in the JSON report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from pytest_ncnn_parity.engine.protocol import Outcome

Special = Literal["inf", "-inf", "nan"]
Number = Annotated[
    float | Special, Field(description="strict JSON has no such numbers: they are strings")
]


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


class MetricsRecord(Measured):
    """The same, compared with a tolerance."""

    mismatched: Annotated[int, Field(description="elements out of tolerance")]
    total: int
    least_scaled: Annotated[Number, Field(description="the least 'scaled' that every element passes")]
    integers: NotRequired[
        Annotated[bool, Field(description="whole numbers: right or wrong, whatever the tolerance")]
    ]
    used: NotRequired[
        Annotated[
            Number,
            Field(
                description="the largest error of an element as a share of its tolerance, 1 being all "
                "of it; of a layer in int8, its loss as a share of the loss allowed; of an error that "
                "is forgiven, its share of what is forgiven, or 1"
            ),
        ]
    ]
    allowed: NotRequired[
        Annotated[Number, Field(description="the error allowed at the worst element, in its own units")]
    ]
    one_value: NotRequired[
        Annotated[
            Number | None,
            Field(description="of an output that passed: what all elements of the reference are"),
        ]
    ]
    digest: NotRequired[
        Annotated[
            str,
            Field(description="of an output that passed and depends on what is fed: its bits"),
        ]
    ]
    other_numbers: NotRequired[
        Annotated[
            int,
            Field(
                description="of an output that passed and whose reference holds whole numbers alone: "
                "how many are others on the candidate"
            ),
        ]
    ]
    input_steps: NotRequired[
        Annotated[
            Number | None,
            Field(description="of a layer in int8: how many steps its largest input is, of 127"),
        ]
    ]
    also_allowed: NotRequired[
        Annotated[
            str, Field(description="what might be out of tolerance and agree all the same, in words")
        ]
    ]


class ToleranceRecord(TypedDict):
    """The tolerance: |c - r| <= atol + rtol*|r| + scaled*max|r|; cosine and sqnr_db are least values."""

    atol: float
    rtol: float
    scaled: float
    cosine: float | None
    sqnr_db: float | None
    headroom: NotRequired[Annotated[float, Field(description="below 65504, in fp16-range; 1: none")]]


class InsideRecord(TypedDict):
    """The largest values inside a layer, which no blob shows, in its kernel on Vulkan."""

    kernel: str
    stored: Annotated[Number, Field(description="the largest that it stores on the way")]
    what_is_stored: str
    bound: Annotated[Number, Field(description="what no sum exceeds, in whatever order it is added up")]
    what_is_bound: str


class PlaceRecord(TypedDict):
    """Where something is in the spec, both from 1."""

    line: int
    column: int


class CaseRecord(TypedDict):
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
    known: Annotated[bool, Field(description="skipped as a known failure: it was run, and failed")]
    cause: Annotated[str | None, Field(description="why it failed")]
    message: Annotated[
        str, Field(description="the failure's text, its first line the summary; a skip's reason")
    ]
    headline: NotRequired[
        Annotated[str, Field(description="the summary without the names and the cause around it")]
    ]
    details: NotRequired[
        Annotated[list[str], Field(description="the failure's lines about what was compared")]
    ]
    evidence: NotRequired[Annotated[list[str], Field(description="the lines that show the cause")]]
    notes: NotRequired[
        Annotated[list[str], Field(description="its further lines: where the fault is reproduced")]
    ]
    fix: NotRequired[
        Annotated[str | None, Field(description="the comparison under which the model's 'fixes' has it")]
    ]
    place: NotRequired[
        Annotated[PlaceRecord | None, Field(description="in the spec, where that is at fault")]
    ]
    line: NotRequired[Annotated[int | None, Field(description="of the sample in the spec, from 1")]]
    metrics: MetricsRecord | None
    accumulated: NotRequired[
        Annotated[Measured | None, Field(description="of the same value in the candidate's own run")]
    ]
    accumulated_ended: NotRequired[Annotated[str | None, Field(description="why there is none")]]
    golden: NotRequired[
        Annotated[str | None, Field(description="the recording that it is compared with")]
    ]
    stand_in: NotRequired[
        Annotated[
            str | None,
            Field(description="the network that it was compared with in place of the reference"),
        ]
    ]
    own_inputs: NotRequired[
        Annotated[bool, Field(description="fed with what the candidate's run of the whole network made")]
    ]
    dropped: NotRequired[
        Annotated[list[str], Field(description="options that the driver did not accept")]
    ]
    repro: NotRequired[Annotated[str | None, Field(description="the folder of its repro")]]
    inside: NotRequired[
        Annotated[InsideRecord | None, Field(description="a value inside the layer, near to 65504")]
    ]
    cached: NotRequired[
        Annotated[
            str | None,
            Field(description="when it was judged, ISO 8601, UTC: by a former run, which has kept it"),
        ]
    ]
    tolerance: Annotated[
        ToleranceRecord | None, Field(description="null: nothing but the node id is known")
    ]
    execution: Annotated[str | None, Field(description="where and how the candidate ran it, read back")]
    device: Annotated[str | None, Field(description="the device's name, or cpu")]
