"""Repeats how the scales of int8 are kept in fp16: those of a Quantize, of sums, and of int8 outputs."""

from __future__ import annotations

import ncnn
import numpy as np

from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import ACTIVATION, MOST_OFF, is_lost
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun

SUMS_SINCE = "1.0.20261020"  # before, an InnerProduct in int8 has no kernel for Vulkan
REQUANTIZED_SINCE = "1.0.20260526"  # nor has a Convolution
RELU = 1  # the one activation type that needs no more than the output


def quantize(layer: Layer, run: LayerRun) -> Computed | None:
    """x * scale, in int8; the scale is in fp16 (quantize.comp)."""
    scales = run.nets.weights.raw(layer)
    lost = [float(scale) for scale in scales if is_lost(float(scale))]
    if not lost or scales.size not in (1, len(run.value)):
        return None
    lost_in = "arithmetic" if scales.size == 1 else "storage"
    if lost_in == "arithmetic" and not run.arithmetic:
        return None
    with np.errstate(all="ignore"):
        kept = scales.astype(np.float16).astype(np.float64)
        scaled = run.value * kept.reshape(-1, *[1] * (run.value.ndim - 1))
    steps = np.clip(np.rint(np.nan_to_num(scaled)), -INT8_MAX, INT8_MAX)
    return Computed(Constant("the scale", lost[0], lost_in), steps.astype(np.int8))


def descaled(layer: Layer, run: LayerRun) -> Computed | None:
    """Sums of integers, times a factor of each output that is in fp16 storage (innerproduct_int8.comp).

    A Convolution keeps its factors in fp32.
    """
    if str(ncnn.__version__) < SUMS_SINCE:
        return None
    weights, scale = run.nets.weights.in_int8(layer), run.nets.weights.int8_scale(layer)
    if weights is None or not scale or number(layer, ACTIVATION) not in (0, RELU):
        return None
    with np.errstate(all="ignore"):
        factors = np.where(weights.scales == 0.0, 0.0, 1.0 / (scale * weights.scales.astype(np.float64)))
        kept = factors.astype(np.float16).astype(np.float64)
        off = ~(np.abs(kept - factors) <= MOST_OFF * factors)
    if not off.any() or run.output.shape[-1] != len(factors):
        return None
    bias = weights.bias if weights.bias.size else np.zeros(())
    share = np.where(off, kept / np.where(off, factors, 1.0), 1.0)
    made = np.where(run.output == 0.0, 0.0, (run.output - bias) * share + bias)
    largest = float(factors[off].max())
    return Computed(Constant("a factor of its sums in int8", largest, "storage"), made)


def requantized(layer: Layer, run: LayerRun) -> Computed | None:
    """Sums that become int8 by a scale in fp16 storage (top_scales in convolution_packed_int8.comp)."""
    scale = run.nets.weights.given_scale(layer)
    if str(ncnn.__version__) < REQUANTIZED_SINCE or scale is None or not is_lost(scale):
        return None
    with np.errstate(all="ignore"):
        scaled = run.output.astype(np.float64) * (np.float64(np.float16(scale)) / scale)
    steps = np.clip(np.rint(np.nan_to_num(scaled)), -INT8_MAX, INT8_MAX)
    return Computed(Constant("the scale of its output", scale, "storage"), steps.astype(np.int8))
