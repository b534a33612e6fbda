"""Masks for a model in int8: a layer off the device takes those along that read int8 from it."""

from __future__ import annotations

from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.repair.find_fix_of_other import with_masks_on_readers
from pytest_ncnn_parity.repair.fix import NO_EFFORT, Fix

NETWORK = """\
7767517
7 8
Input                in0  0 1 in0 0=16 1=16 2=3
Convolution          stem 1 1 in0 a 0=8 1=1 6=24 8=102
Split                fork 1 2 a left right
ConvolutionDepthWise dw   1 1 left b 0=8 1=3 4=1 6=72 7=8 8=101
Convolution          last 1 1 b c 0=8 1=1 6=64 8=2
Convolution          side 1 1 right d 0=8 1=1 6=64 8=2
BinaryOp             sum  2 1 c d out0
"""


@pytest.mark.parametrize(
    ("masks", "wider"),
    [
        ({"dw": 18}, {"dw": 18, "last": 18}),
        ({"stem": 16}, {"stem": 16, "fork": 16, "dw": 16, "last": 16, "side": 16}),
        ({"stem": 64}, {"stem": 64}),  # it stays on the device
        ({"last": 16}, {"last": 16}),  # it gives floats
    ],
)
def test_readers_of_int8_follow_the_layer_that_gives_it(
    masks: dict[str, int], wider: dict[str, int], tmp_path: Path
) -> None:
    plan = plans.loaded(tmp_path, network=NETWORK)
    fix = Fix("int8", masks, False, False, "", (), NO_EFFORT, {})
    found = with_masks_on_readers(plan, fix, tmp_path)
    assert found.masks == wider
    assert (found is fix) == (masks == wider)
    if masks != wider:
        assert len(found.patch.after) == len(wider)
