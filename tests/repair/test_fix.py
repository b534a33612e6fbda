"""A fix crosses between xdist workers as plain values, and is the same on the other side."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import inf

import pytest
from pydantic import TypeAdapter

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.repair.alternatives import Alternative
from pytest_ncnn_parity.repair.cost import Cost
from pytest_ncnn_parity.repair.fix import NO_EFFORT, Effort, Fix
from pytest_ncnn_parity.repair.outputs import OutputError
from pytest_ncnn_parity.repair.patch import Patch
from pytest_ncnn_parity.report.fix_records import fix_record
from pytest_ncnn_parity.report.text.fix_text import in_spec

pytestmark = pytest.mark.once

NO_MASKS = Fix("shipped", {}, False, False, "no mask can fix this", (), NO_EFFORT, {})
MASKS = Fix(
    comparison="shipped",
    masks={"conv": 18},
    verified=True,
    minimal=True,
    how="outputs within 0.01",
    outputs_before={"out0": OutputError(inf, inf, True)},
    outputs_after={"out0": OutputError(0.01, 0.2, False)},
    notes=("no layer is left on the GPU",),
    effort=Effort(7, 1.5, "the region the causes point at"),
    patch=Patch(("Convolution conv",), ("Convolution conv 31=18",), "diff", "text", ("net.param",)),
    cost=Cost(1.0, 2.0, 5, 1, 0, (1, 2), (1, 1)),
    alternatives=(
        Alternative("bf16", Setup("vulkan", "bf16", {"use_sgemm": False, "threads": 1}), "", 0.02, 3.0),
        Alternative("fp32", Setup("vulkan"), "not run", 0.0),
        Alternative("fp16 storage", Setup("vulkan", "fp16-storage"), "", inf, 2.0),
    ),
)


def test_every_number_of_a_fix_can_be_written() -> None:
    record = json.loads(json.dumps(fix_record(MASKS, {}), allow_nan=False))
    assert [one["worst"] for one in record["alternatives"]] == [0.02, 0.0, "inf"]
    assert record["outputs"] == [{"output": "out0", "before": "inf", "after": 0.01}]


def test_the_line_of_the_spec_has_the_masks_that_it_replaces() -> None:
    record = fix_record(MASKS, {"other": 16, "conv": 2})
    assert in_spec(record) == "masks: {other: 16, conv: 18}"


@pytest.mark.parametrize("fix", [NO_MASKS, MASKS], ids=["none", "masks"])
def test_it_is_the_same_on_the_other_side(fix: Fix) -> None:
    values = json.loads(json.dumps(asdict(fix)))
    there = TypeAdapter(Fix).validate_python(values)
    assert there == fix
    for alternative, other in zip(there.alternatives, fix.alternatives, strict=True):
        options = alternative.setup.options
        assert [*map(type, options.values())] == [*map(type, other.setup.options.values())]
