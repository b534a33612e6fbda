"""Predicts what goes wrong because fp16 cannot hold a layer's constants: its parameters and weights.

Vulkan kernels take them in fp16. There a factor of -1e9 is -inf, and 0 * -inf is nan, although the
layer's inputs and correct outputs fit. To predict this, the layer is run on the CPU with its constants
rounded to fp16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL, FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import Parameter, keeps_weights, lost_parameters
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, has_no_fp16_kernel
from pytest_ncnn_parity.network.param_line import ARRAY_IDS
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.worker.judge.fp16 import arithmetic
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.rounded import in_fp16, run
from pytest_ncnn_parity.worker.norms import factors_of
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class LostConstants(Frozen):
    """The constants that fp16 does not hold: `parameters`, `weights`, a norm's `factors`, or others.

    Factors are given by channel: what the kernel multiplies by, and what it adds. For other constants,
    `made` is the output that the kernel computes with them.
    """

    constant: Constant
    parameters: Sequence[Parameter] = ()
    weights: bool = False
    factors: tuple[Array, Array] | None = None
    made: Array | None = None


class Constants:
    """Examines the constants of those layers that would run on Vulkan in fp16."""

    def __init__(self, nets: JobNets) -> None:
        self._nets = nets

    def lost(self, layer: Layer, blobs: Made) -> LostConstants | None:
        """What fp16 does not hold of the constants of `layer`, whose inputs are in `blobs`."""
        if has_no_fp16_kernel(layer.mask):
            return None
        try:
            in_fp16_arithmetic = not layer.mask & NO_FP16_ARITHMETIC
            parameters = tuple(lost_parameters(layer)) if in_fp16_arithmetic else ()
            largest = self._nets.largest_weight(layer) if keeps_weights(layer) else 0.0
            weights = largest >= FP16_OVERFLOW or 0.0 < largest < FP16_NORMAL
            if weights:
                return LostConstants(
                    Constant("its largest weight", largest, "storage"), parameters, True
                )
            computed = self._computed(layer, blobs) if in_fp16_arithmetic else None
            if computed is not None:
                return computed
            if parameters:
                return LostConstants(_of_parameters(layer, parameters), parameters)
            factors = self._factors(layer, blobs)
        except NotANumber:
            return None
        if factors is None or not factors[0].size:
            return None
        largest = max(float(np.abs(values).max()) for values in factors)
        if largest < FP16_OVERFLOW:
            return None
        return LostConstants(
            Constant("a factor that it normalizes by", largest, "storage"), (), False, factors
        )

    def made(self, layer: Layer, blobs: Made, lost: LostConstants) -> Made:
        """The outputs of `layer` with these constants rounded to fp16. May raise StepFailed."""
        values = {blob: blobs[blob] for blob in layer.inputs}
        if lost.made is not None:
            return {layer.outputs[0]: Blob.of(np.ascontiguousarray(lost.made, np.float32))}
        if lost.factors is None:
            return run(self._nets.rounded(layer, lost.parameters, lost.weights), layer, values)
        value = blobs[layer.inputs[0]].array
        factor, summand = (
            in_fp16(one.astype(np.float32)).reshape(-1, *[1] * (value.ndim - 1)) for one in lost.factors
        )
        with np.errstate(invalid="ignore"):
            normalized = (value * factor + summand).astype(np.float32)
        return {layer.outputs[0]: Blob.of(np.ascontiguousarray(normalized))}

    @staticmethod
    def _computed(layer: Layer, blobs: Made) -> LostConstants | None:
        """What the kernel computes itself, and fp16 arithmetic does not hold."""
        if layer.type not in arithmetic.KERNELS:
            return None
        value, expected = blobs[layer.inputs[0]].array, blobs[layer.outputs[0]].array
        seen = arithmetic.computed(layer, value, expected)
        return None if seen is None else LostConstants(seen.constant, made=seen.made)

    def _factors(self, layer: Layer, blobs: Made) -> tuple[Array, Array] | None:
        """The factor and the offset of each channel of a norm."""
        if layer.type == "BatchNorm":
            return self._of_batch_norm(layer)
        return factors_of(layer, blobs, self._nets.raw_weights)

    def _of_batch_norm(self, layer: Layer) -> tuple[Array, Array] | None:
        """Slope, mean, variance and bias of each channel (src/layer/batchnorm.cpp)."""
        channels = number(layer, 0)
        weights = self._nets.raw_weights(layer)
        if channels < 1 or len(weights) != 4 * channels:
            return None
        slope, mean, variance, bias = weights.reshape(4, channels)
        with np.errstate(all="ignore"):
            factor = slope / np.sqrt(variance + decimal(layer, 1, 0.0))
            factor = np.where(np.isfinite(factor), factor, 0.0)
        return factor, bias - mean * factor


def _of_parameters(layer: Layer, parameters: Sequence[Parameter]) -> Constant:
    """The first number of them that is lost, and what it is."""
    first = parameters[0]
    assert first.lost is not None
    key = -ARRAY_IDS - first.key if first.array else first.key
    # a Normalize stores a factor that it computes from its epsilon
    lost_in = "storage" if layer.type == "Normalize" else "arithmetic"
    return Constant(f"the parameter {key}=", first.lost, lost_in)
