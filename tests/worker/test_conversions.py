"""What an input loses where it becomes fp16, by ncnn's cast on the CPU or by a shader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import graphs
import numpy as np
import pytest

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.judge.fp16.conversions import Conversions
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.values.blob import Blob, Made

GRAPH = graphs.network("ReLU one in0 out0")
CASE = CaseSpec("in0", "fp16", "pair", 0, 1, "fp16", Tolerance(scaled=0.05), layer=0)
# in fp16 the last ones are subnormal; behind 16 others, ncnn's cast computes them one by one
TINY = Blob.of(np.array([2e-4] * 16 + [5e-5] * 3, np.float32))


class Kept:
    """Values of which the readers decide."""

    def __init__(self) -> None:
        self.values: Made = {}

    def keep(self, _: CaseSpec, values: Made) -> None:
        self.values = values

    def keep_ends(self, *_: object) -> None:
        """Keep nothing, for none of these values is at an end of the range."""


def judged(value: Blob, worker: str | None) -> tuple[str, Made]:
    """The outcome for an input of this `value`, and the values that wait for their readers."""
    beyond: Any = SimpleNamespace(is_read_in_16_bits=lambda *_: True, of_outputs=lambda *_: None)
    kept = Kept()
    held: Any = SimpleNamespace(beyond=beyond, own_values=kept)
    nets: Any = SimpleNamespace(weights=SimpleNamespace(broken=lambda _: 0))
    integers: Any = None
    candidate: Any = SimpleNamespace(
        setup=SimpleNamespace(on_vulkan=True, device_index=0), spec=SimpleNamespace(worker=worker)
    )

    def measured(case: CaseSpec) -> Any:
        return lambda ours, theirs: (
            compare(ours["in0"].array, theirs["in0"].array, case.tolerance),
            "in0",
        )

    conversions = Conversions(GRAPH, nets, {"in0": value}, held, integers, measured)
    return conversions.judge(CASE, GRAPH.names["in0"], candidate).outcome, kept.values


@pytest.mark.parametrize(
    ("discrete", "worker", "outcome"),
    [(False, None, "passed"), (True, None, "failed"), (False, "phone", "failed")],
)
def test_values_that_the_cast_makes_0_are_judged_by_their_readers_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, discrete: bool, worker: str | None, outcome: str
) -> None:
    monkeypatch.setattr(vulkan, "is_discrete", lambda _: discrete)
    if not TINY.flushed:
        pytest.skip("the cast of this processor keeps them")
    found, waiting = judged(TINY, worker)
    assert found == outcome
    assert ("in0" in waiting) is (outcome == "failed")
    if waiting:
        assert waiting["in0"].array[-3:].tolist() == [0.0, 0.0, 0.0]


def test_values_that_fp16_does_not_hold_are_a_fault_whatever_casts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vulkan, "is_discrete", lambda _: True)
    value = Blob.of(np.array([2e-4] * 16 + [5e-5] * 3, np.float32) * np.float32(1e-3))
    assert judged(value, None) == ("failed", {})
