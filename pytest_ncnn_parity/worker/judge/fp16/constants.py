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
from pytest_ncnn_parity.network.int8 import computes_in_int8
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, has_no_fp16_kernel
from pytest_ncnn_parity.network.param_line import ARRAY_IDS
from pytest_ncnn_parity.network.parameters import NotANumber
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import LayerRun
from pytest_ncnn_parity.worker.judge.fp16.kernels.table import computed, is_repeated
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.rounded import run
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class LostConstants(Frozen):
    """The constants that fp16 does not hold: `parameters`, `weights`, or others.

    For others, `made` is the output that the kernel computes with them.
    """

    constant: Constant
    parameters: Sequence[Parameter] = ()
    weights: bool = False
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
            largest = self._nets.weights.largest(layer) if keeps_weights(layer) else 0.0
            weights = largest >= FP16_OVERFLOW or 0.0 < largest < FP16_NORMAL
            if weights:
                return LostConstants(
                    Constant("its largest weight", largest, "storage"), parameters, True
                )
            spoilt = self._computed(layer, blobs, in_fp16_arithmetic)
        except NotANumber:
            return None
        if spoilt is None and parameters:
            return LostConstants(_of_parameters(layer, parameters), parameters)
        return spoilt

    def made(self, layer: Layer, blobs: Made, lost: LostConstants) -> Made:
        """The outputs of `layer` with these constants rounded to fp16. May raise StepFailed."""
        values = {blob: blobs[blob] for blob in layer.inputs}
        if lost.made is not None:
            dtype = np.int8 if lost.made.dtype == np.int8 else np.float32
            return {layer.outputs[0]: Blob.of(np.ascontiguousarray(lost.made, dtype))}
        return run(self._nets.rounded(layer, lost.parameters, lost.weights), layer, values)

    def _computed(self, layer: Layer, blobs: Made, arithmetic: bool) -> LostConstants | None:
        """What the kernel computes or stores itself, and fp16 does not hold."""
        if not is_repeated(layer, arithmetic) or not layer.inputs:
            return None
        inputs = [blobs[blob] for blob in layer.inputs]
        output = blobs[layer.outputs[0]]
        in_int8 = computes_in_int8(layer)
        if not all(one.floating or (in_int8 and one.int8) for one in inputs):
            return None
        if not (output.floating or output.int8):
            return None
        if any(one.batch for one in (*inputs, output)):
            return None
        ran = LayerRun([one.array for one in inputs], output.array, arithmetic, self._nets)
        seen = computed(layer, ran)
        return None if seen is None else LostConstants(seen.constant, made=seen.made)


def _of_parameters(layer: Layer, parameters: Sequence[Parameter]) -> Constant:
    """The first number of them that is lost, and what it is."""
    first = parameters[0]
    assert first.lost is not None
    key = -ARRAY_IDS - first.key if first.array else first.key
    # a Normalize stores a factor that it computes from its epsilon
    lost_in = "storage" if layer.type == "Normalize" else "arithmetic"
    return Constant(f"the parameter {key}=", first.lost, lost_in)
