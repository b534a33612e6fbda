"""Finds layers of which the reference is wrong, and not the candidate, by what float64 gives."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.ieee import function_in_float64
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.norms import exact
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# of the reference's error, what the candidate may be off by if the reference alone is wrong
SHARE = 0.1


def in_float64(layer: Layer, values: Made, nets: JobNets) -> Made | None:
    """What a norm gives in float64; None for other layers and where that is not known."""
    if any(values[blob].batch for blob in layer.inputs):
        return None
    true = exact(layer, values, nets.weights.raw)
    return None if true is None else {layer.outputs[0]: Blob.of(np.ascontiguousarray(true, np.float32))}


def distrust(
    case: CaseSpec, layer: Layer, reference: Net, outputs: Made, expected: Made, true: Made | None
) -> Distrust | None:
    """Why the reference is not trusted: `outputs` are right and `expected` is wrong, by channel."""
    if true is None or reference.setup != CPU_FP32:
        return None
    (blob,) = true
    right = true[blob].array
    if not right.shape == outputs[blob].shape == expected[blob].shape:
        return None
    within = tuple(range(1, right.ndim))
    own, theirs = (np.abs(side[blob].array - right).max(within) for side in (outputs, expected))
    allowed = case.tolerance.allowed(right, float(np.abs(right).max())).max(within)
    is_right = bool((own <= np.maximum(allowed, SHARE * theirs)).all())
    wrong = bool((theirs > allowed).any())
    return Distrust(layer.name, layer.type, "sums") if is_right and wrong else None


def distrust_of_function(
    case: CaseSpec, layer: Layer, reference: Net, inputs: Made, outputs: Made, expected: Made
) -> Distrust | None:
    """Why the reference is not trusted: `outputs` are what the function gives, and `expected` is not."""
    if case.half is not None or reference.setup != CPU_FP32:
        return None
    right = function_in_float64(layer, inputs)
    if right is None:
        return None
    (blob,) = layer.outputs
    if not right.shape == outputs[blob].shape == expected[blob].shape:
        return None
    own, theirs = (compare(side[blob].array, right, case.tolerance) for side in (outputs, expected))
    return Distrust(layer.name, layer.type, "function") if own.agrees and not theirs.agrees else None
