"""What the agreement of an output is worth: facts by which reports see that it says little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.values.blob import Blob

ALL_WHOLE = {"fp16": 2048.0, "bf16": 256.0}  # these formats have all whole numbers up to here


def with_worth(
    case: CaseSpec, metrics: Metrics, output: Blob, reference: Blob, depends: bool
) -> Metrics:
    """Return `metrics` of an output that agrees with these facts; `depends`: on what is fed."""
    comparable = output.floating and output.shape == reference.shape and not metrics.integers
    others = other_numbers(output.array, reference.array, case.half) if case.half and comparable else 0
    return replace(
        metrics,
        one_value=reference.one_value,
        digest=reference.digest.hex() if depends else "",
        other_numbers=others,
    )


def other_numbers(candidate: Array, reference: Array, half: str) -> int:
    """Return how many elements of `candidate` are nearer to another whole number than to their own.

    They may be indices or words that a network computes itself. 0 unless `reference` holds whole numbers
    alone, some of them beyond those that the format `half` has all of. Both arrays are of one shape.
    """
    largest = float(np.abs(reference).max(initial=0.0))
    if not ALL_WHOLE[half] < largest < np.inf or not bool((np.rint(reference) == reference).all()):
        return 0
    return int(np.count_nonzero(np.rint(candidate) != reference))
