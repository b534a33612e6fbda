"""Constants that one file computes and the other holds, and last layers that have changed places."""

from __future__ import annotations

import pytest
from written_graphs import named, network

from pytest_ncnn_parity.network.versions.find_counterparts import counterparts

INPUT = "Input in0 0 1 in0"
GEMM = "Gemm gemm 1 1 in0 a 2=0 3=1 4=0 5=1 6=1 7=0 8=16 9=16 10=4"
LAST = "GELU last 1 1 c out0"
POSITIONS = "MemoryData positions 0 1 p 0=16 1=6"
KINDS = "MemoryData kinds 0 1 k 0=16"
ADDED = "BinaryOp added 2 1 a {} c 0=0"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_constant_may_be_computed(swapped: bool) -> None:
    """The product and what is added to it are each judged by itself."""
    computed = network(
        INPUT, GEMM, POSITIONS, KINDS, "BinaryOp sum 2 1 p k s 0=0", ADDED.format("s"), LAST
    )
    held = network(INPUT, GEMM, POSITIONS, ADDED.format("p"), LAST)
    matched = counterparts(held, computed) if swapped else counterparts(computed, held)
    found = named(matched)
    assert found["gemm"] == (["gemm"], ["gemm"], {"in0": "in0"})
    assert found["added"][0][-1] == "added"
    assert found["added"][2] == {"a": "a"}
    assert matched.only_here == matched.only_there == []


CONVOLUTION = "Convolution conv 1 1 in0 a 0=8 1=3 5=1 6=72"
SHAPED = "Reshape shape 1 1 a b 0=144 1=8"
BEFORE = (INPUT, CONVOLUTION, SHAPED, "Softmax soft 1 1 b c 0=0 1=1", "Permute turn 1 1 c out0 0=1")
BEHIND = (INPUT, CONVOLUTION, SHAPED, "Permute turn 1 1 b c 0=1", "Softmax soft 1 1 c out0 0=1 1=1")


@pytest.mark.parametrize("swapped", [False, True])
def test_last_layers_that_changed_places_are_judged_at_the_output(swapped: bool) -> None:
    matched = counterparts(*(network(*lines) for lines in (BEFORE, BEHIND)[:: -1 if swapped else 1]))
    last, other = ("soft", "turn") if swapped else ("turn", "soft")
    assert named(matched)[last] == ([last, other], [other, last], {"b": "b"})
    assert matched.moved == []
