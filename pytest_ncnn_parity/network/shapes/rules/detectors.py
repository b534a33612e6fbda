"""Operators that make boxes of scores and offsets: each box has its own channels or elements.

Sources: src/layer/detectionoutput.cpp, proposal.cpp, yolodetectionoutput.cpp, yolov3detectionoutput.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw, listed

BOX = 4  # how many numbers a box is
OBJECT = 1  # a score of its own, in front of those of the classes
ANCHORS = 9  # of a Proposal: three ratios of three sizes each, whatever the file states
PICTURE = 3  # what a Proposal reads of a picture: height, width and scale


def detection_output(layer: Layer, shapes: Sequence[Shape]) -> str:
    """For each prior box four offsets, and a score for each class."""
    classes = number(layer, 0)
    if len(shapes) != 3 or classes < 1 or len(shapes[2]) < 2:  # negative: as MXNet writes its boxes
        return ""
    offsets, scores = (math.prod(shape) for shape in shapes[:2])
    boxes, rest = divmod(shapes[2][-1], BOX)
    if not rest and (offsets, scores) == (BOX * boxes, classes * boxes):
        return ""
    return (
        f"gets {listed(shapes)}: {offsets} offsets and {scores} scores; its priors are {boxes} boxes, "
        f"which {BOX * boxes} offsets and {classes * boxes} scores fit"
    )


def proposal(_: Layer, shapes: Sequence[Shape]) -> str:
    """Two scores and four offsets for each anchor, at the same places, and what picture it is."""
    if len(shapes) != 3:
        return ""
    scores, offsets = (cdhw(shape) for shape in shapes[:2])
    wanted = [2 * ANCHORS, BOX * ANCHORS]
    if [scores[0], offsets[0]] != wanted or scores[1:] != offsets[1:]:
        return (
            f"gets scores of {list(shapes[0])} and offsets of {list(shapes[1])}; its {ANCHORS} anchors "
            f"take {wanted[0]} channels of scores and {wanted[1]} of offsets, of one size"
        )
    if math.prod(shapes[2]) >= PICTURE:
        return ""
    return f"gets {list(shapes[0])} and a picture of {list(shapes[2])}; it reads height, width and scale"


def yolo(layer: Layer, shapes: Sequence[Shape]) -> str:
    """YoloDetectionOutput and Yolov3DetectionOutput: ncnn refuses too many or too few channels."""
    classes, boxes = number(layer, 0, 20), number(layer, 1, 5)
    if classes < 1 or boxes < 1:
        return ""
    of_a_box = BOX + OBJECT + classes
    for shape in shapes:
        channels = cdhw(shape)[0]
        if channels // boxes != of_a_box:
            return (
                f"gets {list(shape)}, of {counted(channels, 'channel')}; {boxes} boxes with scores for "
                f"{classes} classes take {boxes * of_a_box}"
            )
    return ""
