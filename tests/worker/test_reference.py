"""What is asked of the reference beside its values: what is lost of them, and what others give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import graphs
import numpy as np
import pytest

from pytest_ncnn_parity.compare.blocks import BLOCK
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.values.blob import Blob, Made

GRAPH = graphs.network("ReLU each in0 a", "Softmax joined a out0")
SIZE = 2 * BLOCK + 3


def nothing(*_: object) -> Any:
    return None


def loses(blob: str, there: float, at: int) -> bool:
    """Whether a value of ones is lost where it is `there` at one place."""
    reference = Reference(
        GRAPH, {}, nothing, lambda *_: Tolerance(), nothing, frozenset(), nothing, frozenset()
    )
    ours = np.ones(SIZE, np.float32)
    ours[at] = there
    return reference.loses_some(blob, Blob.of(ours), Blob.of(np.ones(SIZE, np.float32)))


@pytest.mark.parametrize("at", [0, BLOCK, SIZE - 1])
def test_one_element_that_is_lost_anywhere_counts(at: int) -> None:
    assert loses("a", 0.0, at)
    assert loses("out0", 0.0, at)
    assert loses("a", 0.4, at), "element by element, half of it is lost"
    assert not loses("out0", 0.4, at), "a sum may cancel"
    assert not loses("a", 0.6, at)


@pytest.mark.parametrize("remember", [True, False])
def test_a_trial_asks_for_the_digest_of_what_a_layer_made_without_a_look(remember: bool) -> None:
    made = iter((1.0, 2.0))

    def run_layer(*_: object, on: str) -> Made:
        assert on == "changed"
        return {"a": Blob.of(np.full(4, next(made), np.float32))}

    job: Any = SimpleNamespace(remember=remember, trajectory=0)
    nets: Any = [SimpleNamespace(run_layer=run_layer)]
    sample = SampleRun(job, GRAPH, {}, nets)
    read = {"in0": Blob.of(np.zeros(4, np.float32))}
    first, second = (sample.run_reference(GRAPH.names["each"], read)["a"] for _ in range(2))
    assert (first.digest == second.digest) == remember
