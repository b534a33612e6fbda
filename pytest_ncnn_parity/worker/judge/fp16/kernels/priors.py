"""Repeats the boxes of a PriorBox: the root of two sizes' product is taken in fp16 (priorbox.comp)."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimals, number
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun

LEAST, MOST, RATIOS, FLIP, CLIP = 0, 1, 2, 7, 8  # parameter ids
SECOND = 1  # of the boxes of one size, the one between the least and the largest


def prior_box(layer: Layer, run: LayerRun) -> Computed | None:
    """Boxes (variance aside) of infinite size, in place of those with the root of such a product."""
    least, most = (np.array(decimals(layer, key)) for key in (LEAST, MOST))
    if not least.size or least.shape != most.shape or run.output.ndim != 2:
        return None
    products = least * most
    if products.max() < FP16_OVERFLOW:
        return None
    boxes_of_size = 2 + len(decimals(layer, RATIOS)) * (2 if number(layer, FLIP, 1) else 1)
    made = run.output.copy()
    boxes = made[0].reshape(-1, len(least), boxes_of_size, 4)
    end = 1.0 if number(layer, CLIP) else np.inf
    start = 0.0 if number(layer, CLIP) else -np.inf
    boxes[:, products >= FP16_OVERFLOW, SECOND] = (start, start, end, end)
    what = "the product of a least and a largest size"
    return Computed(Constant(what, float(products.max()), "arithmetic"), made)
