"""Detectors' thresholds, as their layers hold them."""

import math

import pytest
from graphs import network

from pytest_ncnn_parity.compare.detections import Thresholds
from pytest_ncnn_parity.network.detectors import thresholds


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Yolov3DetectionOutput d in0 out 0=2 1=3 2=0.75 3=0.3", Thresholds(0.75, 0.3)),
        ("Yolov3DetectionOutput d in0 out 0=2", Thresholds(0.01, 0.45)),
        ("YoloDetectionOutput d in0 out 0=2", Thresholds(0.01, 0.45)),
        ("DetectionOutput d in0 out 0=21 1=0.4 3=50 4=0.2", Thresholds(0.2, 0.4, 50)),
        ("DetectionOutput d in0 out 0=21", Thresholds(0.5, 0.05, 100)),
        ("Proposal d in0,in0,in0 out 3=50 4=0.6", Thresholds(math.inf, 0.6, 50)),
        ("Proposal d in0,in0,in0 out", Thresholds(math.inf, 0.7, 300)),
        ("Sigmoid d in0 out", None),
    ],
)
def test_thresholds_stand_in_the_layer(line: str, expected: Thresholds | None) -> None:
    assert thresholds(network(line).layers[1]) == expected
