"""Decides what there is room for when a sample is judged: a second worker, the trajectory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pytest_ncnn_parity.engine.inputs import ConstantInput, ImageInput, Input, NormalInput, RangeInput
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shapes.flow import flow

MIB = 1 << 20
PROCESS = 150 * MIB  # what a worker holds besides a network's values: Python, ncnn, the driver
AT_A_LAYER = 8  # multiple of a layer's fp32 values: these, both networks' copies, float64 to compare
LOADED = 3  # the most networks in a worker that judges half of a sample; each holds the weights
BY_HAND = 450 * MIB  # what a script that loads three networks holds, besides their weights and values
PER_THREAD = 32 << 10  # bytes of a layer that are worth a thread: waking it takes about 50 us


class Room(NamedTuple):
    """The bytes of all values of a network, or 0 if unknown, and what there is room for.

    `for_two`: a second worker. `for_trajectory`: all values of one run, in a worker that is alone.
    `threads`: the most that its layers can use, or None if unknown.
    """

    values: int
    for_two: bool
    for_trajectory: bool = False
    threads: int | None = None


def room(graph: Graph, weights: Path, inputs: Mapping[str, Input], most: int | None) -> Room:
    """Return the size of the values of `graph` with `inputs`, and what there is room for.

    `weights` is the file of its weights. All workers together may hold no more than `most` bytes, and
    no more than a script that keeps every value of the three networks it compares. Nothing is known if
    a shape shows only once an input is read.
    """
    shapes = {blob: shape for blob, one in inputs.items() if (shape := _shape(one)) is not None}
    if shapes.keys() != inputs.keys():
        return Room(0, False)
    sizes = {blob: 4 * math.prod(shape) for blob, shape in flow(graph, shapes).shapes.items()}
    whole = sum(sizes.values())
    at_once = max(
        (sum(sizes.get(b, 0) for b in (*layer.inputs, *layer.outputs)) for layer in graph.layers),
        default=0,
    )
    read = _size(weights)
    one = PROCESS + LOADED * read + AT_A_LAYER * at_once
    by_hand = BY_HAND + 3 * (read + whole)
    allowed = by_hand if most is None else min(by_hand, most)
    threads = max(1, (read + whole) // max(1, len(graph.layers)) // PER_THREAD)
    return Room(whole, 2 * one <= allowed, one + whole <= allowed, threads)


def _size(weights: Path) -> int:
    """Return the bytes of the weights file; 0 if it is gone, which the worker reports."""
    with suppress(OSError):
        return weights.stat().st_size
    return 0


def _shape(source: Input) -> tuple[int, ...] | None:
    if isinstance(source, NormalInput | RangeInput | ConstantInput):
        return source.shape
    if isinstance(source, ImageInput) and source.size is not None:
        width, height = source.size
        return (1 if source.color == "gray" else 3, height, width)
    return None
