"""The layers that list detections, and by which thresholds they choose them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_ncnn_parity.compare.detections import Thresholds
from pytest_ncnn_parity.network.param import Graph, Layer

# of each operator the ids of score, overlap and count, with their defaults (load_param of each)
_PARAMS: Mapping[str, tuple[tuple[str, float], tuple[str, float], tuple[str, int] | None]] = (
    MappingProxyType(
        {
            "DetectionOutput": (("4", 0.5), ("1", 0.05), ("3", 100)),
            "YoloDetectionOutput": (("2", 0.01), ("3", 0.45), None),
            "Yolov3DetectionOutput": (("2", 0.01), ("3", 0.45), None),
        }
    )
)
COPIES = frozenset({"Split", "Noop"})


def thresholds(layer: Layer) -> Thresholds | None:
    """By what `layer` chooses detections; None if it lists none."""
    if layer.type not in _PARAMS:
        return None
    (score, scores), (overlap, overlaps), most = _PARAMS[layer.type]
    return Thresholds(
        float(layer.params.get(score, scores)),
        float(layer.params.get(overlap, overlaps)),
        None if most is None else int(layer.params.get(*most)),
    )


def thresholds_of(graph: Graph, blob: str) -> Thresholds | None:
    """By what the detections in `blob` were chosen; None if it holds something else."""
    layer = graph.producer[blob]
    while layer.type in COPIES:
        layer = graph.producer[layer.inputs[0]]
    return thresholds(layer)
