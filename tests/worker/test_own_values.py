"""Which wrong values of a candidate wait for what their readers make of them."""

from __future__ import annotations

from dataclasses import replace

import graphs
import numpy as np
import pytest

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Constant, Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.judge.fp16.own_values import OwnValues
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Blob, Made

GRAPH = graphs.network("ReLU one in0 a", "ReLU two a out0")
CASE = CaseSpec("one", "fp16", "pair", 0, 1, "fp16", Tolerance(), layer=1)


def reference(blobs: Made) -> Reference:
    """A reference that holds `blobs`, and whose layers give what they hold."""
    return Reference(
        GRAPH,
        blobs,
        lambda layer, _: {blob: blobs[blob] for blob in layer.outputs},
        lambda *_: Tolerance(),
        lambda *_: None,
        frozenset(),
        lambda *_: None,
        frozenset(),
    )


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
    own = OwnValues(reference({}))
    made, expected = ({"a": Blob.of(np.array([value, 1e-6], np.float32))} for value in (ours, theirs))
    own.keep_ends(replace(CASE, half=half), made, expected)
    assert own.waits(CASE, GRAPH.names["one"]) == waits


@pytest.mark.parametrize(
    ("constant", "remark"),
    [
        (None, "a sum inside is inf in fp16, and no reader is wrong for it"),
        (
            Constant("the parameter 2=", 1e-8, "arithmetic"),
            "fp16 does not hold the parameter 2, and no reader is wrong for it",
        ),
    ],
    ids=["sum", "constant"],
)
def test_what_is_forgiven_is_named(constant: Constant | None, remark: str) -> None:
    value = Blob.of(np.ones(4, np.float32))
    own = OwnValues(reference({"a": value, "out0": value}))
    own.keep(CASE, {"a": value})
    own.look(GRAPH.names["two"])
    right = compare(value.array, value.array, Tolerance())
    failed = Result(CASE.id, "failed", right, evidence=Evidence(constant=constant))
    settled = own.settled(CASE, GRAPH.names["one"], failed)
    assert settled.outcome == "passed"
    assert settled.metrics is not None
    assert settled.metrics.forgiven == remark
