"""Repeats the activation that ends a layer with weights, given what its sum is in fp16 arithmetic.

A sum of -1e5 is -inf there. A leaky ReLU of slope 0.1 hands that on in place of -1e4, and a Mish or
HardSwish makes nan of it, whose value is 0 (vulkan_activation.comp). For ReLU, Clip and Sigmoid it is
as good as the value.
"""

from __future__ import annotations

import math

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import ACTIVATION, ACTIVATION_PARAMETERS
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimals, number
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun, largest_of
from pytest_ncnn_parity.worker.networks.rounded import run as run_alone
from pytest_ncnn_parity.worker.values.blob import Blob

LEAKY, MISH, HARD_SWISH = 2, 5, 6  # activation types (src/layer/fused_activation.h)
INT8 = 8  # the id of a layer that computes in int8, whose sums are integers


def activated(layer: Layer, run: LayerRun) -> Computed | None:
    """The output where the sum in front of the activation is beyond fp16."""
    kind = number(layer, ACTIVATION)
    if kind not in (LEAKY, MISH, HARD_SWISH) or number(layer, INT8) or len(run.inputs) != 1:
        return None
    if _bound(layer, run) < FP16_OVERFLOW:
        return None
    try:
        blobs = {layer.inputs[0]: Blob.of(np.ascontiguousarray(run.value))}
        (sums,) = run_alone(run.nets.without_activation(layer), layer, blobs).values()
    except StepFailed:
        return None
    beyond, largest = np.abs(sums.array) >= FP16_OVERFLOW, largest_of(sums.array)
    if not beyond.any():
        return None
    made = np.where(beyond, _of_inf(layer, kind, sums.array), run.output)
    return Computed(Constant("the sum in front of its activation", largest, "arithmetic"), made)


def _bound(layer: Layer, run: LayerRun) -> float:
    """What no sum of products exceeds; inf if the size of the weights is not known, as of fp16."""
    weights = run.nets.weights.largest(layer)
    count = number(layer, 2 if layer.type == "InnerProduct" else 6)
    terms = count // max(1, number(layer, 0))
    return (terms * largest_of(run.value) + 1.0) * weights if weights else math.inf


def _of_inf(layer: Layer, kind: int, sums: Array) -> Array:
    """What the activation makes of inf with the signs of `sums`."""
    infinite = np.copysign(np.float32(np.inf), sums)
    if kind == LEAKY:
        (slope, *_) = decimals(layer, ACTIVATION_PARAMETERS) or (0.0,)
        with np.errstate(invalid="ignore"):
            return np.where(sums < 0.0, infinite * np.float32(slope), infinite)
    return np.where(sums < 0.0, np.float32(np.nan), infinite)
