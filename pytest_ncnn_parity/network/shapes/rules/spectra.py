"""Spectrogram and its inverse: frames of a signal, and their frequencies.

Sources: src/layer/spectrogram.cpp, inversespectrogram.cpp. They check nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

REFLECTED = 2  # the pad_type of a Spectrogram that mirrors its input
COMPLEX = 2  # how many numbers a complex one is


def spectrogram(layer: Layer, shapes: Sequence[Shape]) -> str:
    """At least one frame must fit into the padded signal, of which there is one."""
    shape, frame = shapes[0], _frame(layer)
    signals = math.prod(shape[:-1])
    if signals != 1:
        return f"gets {list(shape)}, {signals} signals, and reads the first one alone"
    samples, padding = shape[-1], frame // 2 if number(layer, 5, 1) == 1 else 0
    if padding and number(layer, 6, REFLECTED) == REFLECTED and samples <= padding:
        return (
            f"gets {list(shape)} and mirrors {padding} samples at either end; of {samples} at most "
            f"{samples - 1} can be mirrored"
        )
    if samples + 2 * padding >= frame:
        return ""
    return f"gets {list(shape)}: a frame of {frame} samples does not fit into {samples}"


def inverse_spectrogram(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Complex frequencies, all of a frame or the first half and one, and more than its padding."""
    shape, frame = shapes[0], _frame(layer)
    if len(shape) != 3 or shape[-1] != COMPLEX:
        return f"gets {list(shape)}; it takes [frequencies, frames, {COMPLEX}]"
    half = frame // 2 + 1
    if shape[0] not in (frame, half):
        return (
            f"gets {list(shape)}, of {shape[0]} frequencies; a frame of {frame} samples has {frame}, or "
            f"{half} without those that mirror others"
        )
    between = (shape[1] - 1) * number(layer, 2, frame // 4)
    samples = between + (frame % 2 if number(layer, 5, 1) else frame)
    if samples >= 1:
        return ""
    return (
        f"gets {list(shape)}, {counted(shape[1], 'frame')}, and cuts off half a frame at either end, so "
        "nothing is left"
    )


def _frame(layer: Layer) -> int:
    """How many samples a frame has."""
    frame = number(layer, 0)
    if frame < 1:
        raise NotANumber("a frame of size 0")
    return frame
