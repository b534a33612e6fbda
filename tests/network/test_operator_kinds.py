"""Which operators copy, and what op_type says of the others."""

from __future__ import annotations

import graphs
import pytest

from pytest_ncnn_parity.network.operator_kinds import COPYING, ELEMENTWISE, copies, op_type
from pytest_ncnn_parity.worker.judge.mixes import mixed

COMPUTING = [f"{operator} one in0 out0" for operator in sorted(ELEMENTWISE - COPYING)]
SUMS = {"": True, "0=1": True, "0=3": True, "0=7": True, "0=2": False, "0=4": False, "0=6": False}


@pytest.mark.parametrize("operator", sorted(COPYING))
def test_what_copies(operator: str) -> None:
    assert copies(graphs.network(f"{operator} one in0 out0").names["one"])


@pytest.mark.parametrize("operator", ["Dropout one in0 out0 0=0.5", *COMPUTING])
def test_what_computes(operator: str) -> None:
    assert not copies(graphs.network(operator).names["one"])


@pytest.mark.parametrize(("kind", "adds"), SUMS.items())
def test_what_a_reduction_adds_up(kind: str, adds: bool) -> None:
    layer = graphs.network(f"Reduction one in0 out0 {kind}").names["one"]
    assert (mixed(layer, {"in0"}) == "in0") == adds
    assert op_type(layer) == (kind.partition("=")[2] or "0")
