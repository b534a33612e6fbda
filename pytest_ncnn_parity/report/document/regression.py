"""What became worse since a baseline, in the JSON report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from pytest_ncnn_parity.network.versions.match import MatchedBy

Kind = Literal["red", "error", "headroom", "moved", "skipped", "vanished"]


class RegressionRecord(TypedDict):
    """Something that is worse than in the baseline."""

    kind: Kind
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
        MatchedBy | None,
        Field(
            description="how it was found again; place: the same operator between the same neighbours"
        ),
    ]


class AddedLayer(TypedDict):
    """A layer the baseline's network has not."""

    spec: str
    name: str


class RenamedLayer(TypedDict):
    """A layer that has another name in the baseline."""

    spec: str
    name: str
    was: str
    matched_by: Literal["structure", "place"]


class BaselineRecord(TypedDict):
    """What this run was compared with."""

    file: str
    factor: float
    context: Annotated[list[str], Field(description="versions, devices, options and files that differ")]
    notes: Annotated[list[str], Field(description="what limits the comparison")]
    added: list[AddedLayer]
    renamed: list[RenamedLayer]


class SinceBaseline(TypedDict):
    """What became worse, and since when."""

    regressions: Annotated[
        list[RegressionRecord], Field(description="empty also where no baseline was given")
    ]
    baseline: BaselineRecord | None
