"""A Reduction whose axes a converter has lost is named: each device gives the same wrong shape."""

from __future__ import annotations

import pytest
from written_graphs import fed

from pytest_ncnn_parity.report import lost_axes


@pytest.mark.parametrize("params", ["0=0 1=0 -23303=0 4=0 5=1", "0=3 1=0"])
def test_a_reduction_of_no_axis_is_named(params: str) -> None:
    (note,) = lost_axes.notes(fed(f"Reduction sum 1 1 in0 out0 {params}").layers)
    assert note.startswith("sum (Reduction) reduces no axis, for its line has 1=0 and names none")


@pytest.mark.parametrize("params", ["0=0", "0=0 1=1 -23303=0", "0=0 1=0 -23303=1,0", "0=0 1=0 3=1,0"])
def test_one_that_reduces_all_axes_or_some_is_not(params: str) -> None:
    assert (
        lost_axes.notes(fed(f"Reduction sum 1 1 in0 out0 {params}", "ReLU r 1 1 out0 out1").layers) == []
    )
