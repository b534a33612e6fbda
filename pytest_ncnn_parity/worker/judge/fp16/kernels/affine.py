"""Repeats layers that multiply by factors and then add: each channel's, or those of several inputs.

BatchNorm, InstanceNorm, GroupNorm and Eltwise. In fp16 storage the factors are stored; in fp16
arithmetic the product of an input is fp16 before that of the next brings it back.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import COEFFICIENTS, SUM
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimal, decimals, number
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun, largest_of, saturated
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.rounded import in_fp16
from pytest_ncnn_parity.worker.norms import factors_of

LEAST_DEVIATION = 1e-4  # which BatchNorm takes in place of 0 (src/layer/batchnorm.cpp)
PRODUCT = "the product of its input and a factor"
Factors = tuple[Array, Array]  # what each channel is multiplied by, and what is added


def norm(layer: Layer, run: LayerRun) -> Computed | None:
    """An InstanceNorm or GroupNorm, whose kernel stores what it computes of mean and variance."""
    factors = factors_of(layer, run.value, run.nets.weights.raw)
    return None if factors is None else _normalized(run, factors)


def batch_norm(layer: Layer, run: LayerRun) -> Computed | None:
    """A factor and an offset from slope, mean, variance and bias (src/layer/batchnorm.cpp)."""
    factors = _of_batch_norm(layer, run.nets)
    return None if factors is None else _normalized(run, factors)


def _of_batch_norm(layer: Layer, nets: JobNets) -> Factors | None:
    channels = number(layer, 0)
    weights = nets.weights.raw(layer)
    if channels < 1 or len(weights) != 4 * channels:
        return None
    slope, mean, variance, bias = weights.reshape(4, channels)
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(variance + decimal(layer, 1, 0.0))
    factor = slope / np.where(deviation == 0.0, LEAST_DEVIATION, deviation)
    factor = np.where(np.isfinite(factor), factor, 0.0)
    return factor, bias - mean * factor


def _normalized(run: LayerRun, factors: Factors) -> Computed | None:
    """x * factor + offset, with both as fp16 has them.

    The product in between is inf on devices that round it, such as llvmpipe, and right on those that
    multiply and add in one step, such as those of NVIDIA, so that nothing is predicted of it.
    """
    if len(factors[0]) != len(run.value) or len(factors[1]) != len(run.value):
        return None
    by_channel = (-1, *[1] * (run.value.ndim - 1))
    with np.errstate(all="ignore"):
        factor, offset = (in_fp16(one.astype(np.float32)).reshape(by_channel) for one in factors)
        made = run.value * factor + offset
    largest = max(map(largest_of, factors))
    if largest < FP16_OVERFLOW:
        return None
    return Computed(Constant("a factor that it normalizes by", largest, "storage"), made)


def weighted_sum(layer: Layer, run: LayerRun) -> Computed | None:
    """An Eltwise: v1 * c1 + v2 * c2, to which further products are added (eltwise_vulkan.cpp)."""
    given = decimals(layer, COEFFICIENTS)
    coefficients = given or (1.0,) * len(run.inputs)
    if number(layer, 0) != SUM or len(coefficients) != len(run.inputs):
        return None
    weighted = bool(given) and run.arithmetic
    products = [value * np.float32(c) for value, c in zip(run.inputs, coefficients, strict=True)]
    of_product = max(map(largest_of, products)) if weighted else 0.0
    of_sum = max(map(largest_of, list(accumulate(products))[1:-1]), default=0.0)
    if max(of_product, of_sum) < FP16_OVERFLOW:
        return None
    with np.errstate(invalid="ignore"):
        terms = map(saturated, products) if weighted else iter(products)
        made = reduce(lambda one, other: saturated(one + other), terms)
    if of_product >= FP16_OVERFLOW:
        return Computed(Constant(PRODUCT, of_product, "arithmetic"), made)
    return Computed(Constant("the sum of some of its inputs", of_sum, "storage"), made)
