"""Layers that list detections: thresholds decide which rows there are, and how many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from pytest_ncnn_parity.compare.detections import Thresholds
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import MASK_ID
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number


class _Ids(NamedTuple):
    """The ids of a layer's thresholds, with the values that ncnn uses if the .param gives none."""

    score: tuple[int, float] | None
    overlap: tuple[int, float]
    most: tuple[int, int] | None = None
    counts: tuple[int, ...] = ()  # of boxes at most, before and after suppression


_ANY = math.inf  # of a Proposal no row tells its score, so that each may lie at a threshold
_YOLO = _Ids((2, 0.01), (3, 0.45))
# from src/layer/: detectionoutput.cpp, proposal.cpp, yolodetectionoutput.cpp, yolov3detectionoutput.cpp
_DETECTORS: Mapping[str, _Ids] = {
    "DetectionOutput": _Ids((4, 0.5), (1, 0.05), (3, 100), (2, 3)),
    "Proposal": _Ids(None, (4, 0.7), (3, 300), (2, 3)),
    "YoloDetectionOutput": _YOLO,
    "Yolov3DetectionOutput": _YOLO,
}


DETECTORS = frozenset(_DETECTORS)
SCORES_EACH_BOX = DETECTORS - {"Proposal"}  # in its row
EMPTY_IS_REFUSED = frozenset({"Proposal"})  # where nothing is found, ncnn returns an error


_NO_OVERLAP = "2.0"  # no boxes overlap by more than all of them


def without_suppression(layer: Layer) -> Mapping[str, str]:
    """The parameters of the detector `layer`, changed so that it keeps overlapping boxes too."""
    ids = _DETECTORS[layer.type]
    params = {key: value for key, value in layer.params.items() if key != MASK_ID}
    params[str(ids.overlap[0])] = _NO_OVERLAP
    return params | {str(key): str(2**30) for key in ids.counts}


def thresholds(layer: Layer) -> Thresholds | None:
    """The thresholds that decide which detections `layer` keeps; None if it is no detector.

    None also if a threshold cannot be read.
    """
    ids = _DETECTORS.get(layer.type)
    if ids is None:
        return None
    try:
        score = _ANY if ids.score is None else decimal(layer, *ids.score)
        overlap = decimal(layer, *ids.overlap)
        return Thresholds(score, overlap, None if ids.most is None else number(layer, *ids.most))
    except NotANumber:
        return None
