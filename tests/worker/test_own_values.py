"""Which wrong values of a candidate wait for what their readers make of them."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.judge.fp16.own_values import OwnValues
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Blob


@pytest.mark.parametrize(
    ("ours", "theirs", "half", "waits"),
    [
        (5e-5, 4e-5, "fp16", True),
        (0.0, 1e-9, "fp16", True),
        (7e-5, 4e-5, "fp16", False),
        (4e-5, 7e-5, "fp16", False),
        (np.inf, 4e-5, "fp16", True),  # at the other end
        (np.nan, 4e-5, "fp16", False),
        (5e-5, 4e-5, "bf16", False),
    ],
)
def test_only_what_is_tiny_on_both_sides_waits(
    ours: float, theirs: float, half: str, waits: bool
) -> None:
    graph = graphs.network("ReLU one in0 a", "ReLU two a out0")
    reference = Reference(
        graph,
        {},
        lambda *_: {},
        lambda *_: Tolerance(),
        lambda *_: None,
        frozenset(),
        lambda *_: None,
        frozenset(),
    )
    own = OwnValues(reference)
    case = CaseSpec("one", "fp16", "pair", 0, 1, half, Tolerance(), layer=1)
    made, expected = ({"a": Blob.of(np.array([value, 1e-6], np.float32))} for value in (ours, theirs))
    own.keep_ends(case, made, expected)
    assert own.waits(case, graph.names["one"]) == waits
