"""Whether judging a sample is worth a second worker, and leaves room for one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_ncnn_parity.engine.inputs import ConstantInput, ImageInput, Input, NormalInput, RangeInput
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shape_flow import flow

MIB = 1 << 20
WORTH = 8 * MIB  # of values: fewer are judged while a second worker would start
PROCESS = 150 * MIB  # what a worker holds without a network's values: Python, ncnn, the driver
AT_A_LAYER = 8  # values, both networks' copies, float64 of a comparison: as multiples of fp32 values
BY_HAND = 450 * MIB  # what a script holds that loads three networks, without their values


def has_room(graph: Graph, inputs: Mapping[str, Input], most: int | None) -> bool:
    """Whether two workers may judge a sample of `graph` that is fed with `inputs` at the same time.

    They are to hold no more than a script that keeps every value of the three networks it compares,
    nor than `most` bytes. False where the shapes of the inputs are not known before they are read.
    """
    shapes = {blob: shape for blob, one in inputs.items() if (shape := _shape(one)) is not None}
    if shapes.keys() != inputs.keys():
        return False
    sizes = {blob: 4 * math.prod(shape) for blob, shape in flow(graph, shapes).shapes.items()}
    whole = sum(sizes.values())
    at_once = max(
        (sum(sizes.get(b, 0) for b in (*one.inputs, *one.outputs)) for one in graph.layers), default=0
    )
    both = 2 * (PROCESS + AT_A_LAYER * at_once)
    allowed = BY_HAND + 3 * whole
    return whole >= WORTH and both <= (allowed if most is None else min(allowed, most))


def _shape(source: Input) -> tuple[int, ...] | None:
    if isinstance(source, NormalInput | RangeInput | ConstantInput):
        return source.shape
    if isinstance(source, ImageInput) and source.size is not None:
        width, height = source.size
        return (1 if source.color == "gray" else 3, height, width)
    return None
