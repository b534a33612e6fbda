"""Repeats sums of products that are formed in full and then scaled or stored: Gemm and attentions.

What a sum passes on the way depends on the order of its terms, and is not looked at here.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimal, number
from pytest_ncnn_parity.worker.judge.fp16.attentions import projected
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun, largest_of, saturated

MASK, SCALE, KV_CACHE, INT8 = 5, 6, 7, 18  # ids; a Gemm's in int8 is the same
CONSTANT = (4, 5, 6)  # ids that say whether A, B and C are weights of a Gemm
EIGHTH, WIDEST = 8, 256  # the widths that a flash attention takes (sdpa_vulkan.cpp, forward)


def gemm(layer: Layer, run: LayerRun) -> Computed | None:
    """alpha * (A * B + beta * C), whose sum is in fp16 arithmetic before it is scaled (gemm.comp)."""
    alpha, beta = decimal(layer, 0, 1.0), decimal(layer, 1, 1.0)
    if number(layer, INT8):
        return None
    operands = len(run.inputs) + sum(number(layer, key) for key in CONSTANT)
    if operands < len(CONSTANT) and abs(beta) >= FP16_OVERFLOW:  # inf times no addend is nan
        lost = np.full_like(run.output, np.nan)
        return Computed(Constant("the parameter 1=", beta, "arithmetic"), lost)
    if not 0.0 < abs(alpha) < 1.0:
        return None
    sums = run.output.astype(np.float64) / alpha
    made = np.where(np.abs(sums) >= FP16_OVERFLOW, saturated(sums) * alpha, run.output)
    return _computed(made, largest_of(sums), 0.0)


def multi_head_attention(layer: Layer, run: LayerRun) -> Computed | None:
    """Queries are scaled once they are added up; they, keys, values and scores are stored."""
    parts = projected(layer, run.inputs, partial(run.nets.weights.first, layer))
    if parts is None:
        return None
    query = parts.query * parts.scale
    of_sum = largest_of(parts.query) if run.arithmetic else 0.0
    stored = max(map(largest_of, (query, parts.key, parts.value)))
    if max(of_sum, stored, _bound(query, parts.key)) < FP16_OVERFLOW:
        return None
    if run.arithmetic:
        query = saturated(parts.query) * parts.scale
    query, key, value = (saturated(one) for one in (query, parts.key, parts.value))
    mask = run.inputs[-1] if number(layer, MASK) else np.zeros(())
    joined, of_score = _attended(query, key, value, mask)
    with np.errstate(invalid="ignore"):
        made = np.concatenate(joined, 1) @ parts.output.T + parts.bias
    return _computed(made, of_sum, max(stored, of_score))


def sdpa(layer: Layer, run: LayerRun) -> Computed | None:
    """Scores are scaled once they are added up, and stored, unless its kernel is a flash attention."""
    if number(layer, KV_CACHE) or number(layer, INT8) or len(run.inputs) < 3:
        return None
    query, key, value = run.inputs[:3]
    flash = not (query.shape[-1] % EIGHTH or value.shape[-1] % EIGHTH) and value.shape[-1] <= WIDEST
    if flash or query.ndim != 3 or len(query) % len(key):
        return None
    scale = decimal(layer, SCALE, 0.0) or 1.0 / math.sqrt(query.shape[-1])
    if _bound(query, key) * max(1.0, abs(scale)) < FP16_OVERFLOW:
        return None
    key, value = (np.repeat(one, len(query) // len(key), 0) for one in (key, value))
    mask = run.inputs[3] if number(layer, MASK) else np.zeros(())
    joined, of_sum = _attended(query, key, value, mask, scale, run.arithmetic)
    return _computed(np.stack(joined), of_sum if run.arithmetic else 0.0, of_sum * abs(scale))


def _bound(query: Array, key: Array) -> float:
    """A size that no score exceeds: no product of two vectors is larger than that of their lengths."""
    return float(np.prod([np.linalg.norm(one, axis=-1).max(initial=0.0) for one in (query, key)]))


def _attended(
    query: Array, key: Array, value: Array, mask: Array, scale: float = 1.0, in_fp16: bool = False
) -> tuple[list[Array], float]:
    """Each head's values as its scores weigh them, and the largest score before it is scaled.

    `in_fp16`: a score is so before it is scaled. All of them are stored so in front of the Softmax.
    """
    joined, largest = [], 0.0
    masks = np.broadcast_to(mask, (len(query), query.shape[1], key.shape[1]))
    with np.errstate(all="ignore"):
        for q, k, v, hidden in zip(query, key, value, masks, strict=True):
            sums = q @ k.T
            largest = max(largest, largest_of(sums))
            scores = saturated((saturated(sums) if in_fp16 else sums) * scale) + hidden
            powers = np.exp(scores - scores.max(1, keepdims=True))
            joined.append(powers / powers.sum(1, keepdims=True) @ v)
    return joined, largest


def _computed(made: Array, of_sum: float, stored: float) -> Computed | None:
    """`made`, if a sum in fp16 arithmetic or a `stored` value is beyond fp16."""
    if stored >= FP16_OVERFLOW:
        return Computed(Constant("a value inside", stored, "storage"), made)
    if of_sum >= FP16_OVERFLOW:
        return Computed(Constant("a sum inside", of_sum, "arithmetic"), made)
    return None
