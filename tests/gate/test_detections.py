"""Outputs whose shape depends on values, as a detector's: another count of boxes is no error of ours."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network


@pytest.mark.since_ncnn("1.0.20260526", "the operator is a crash there")
def test_a_count_that_rounding_changes_is_red_and_keeps_no_fix_from_being_found(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=2 1=1 2=6"), 2)
    net.layer("BinaryOp", "big", [a], ["out0"], "0=2 1=1 2=30000.0")
    net.layer("YoloDetectionOutput", "boxes", [b], ["out1"], "0=1 1=1 2=0.575 3=0.9 -23304=2,1.0,1.0")
    net.write(pytester.path / "net")
    values = np.ones((6, 1, 2), np.float32)
    values[0, 0] = [0.0, 3.0]
    values[4, 0] = [5.0, 0.30230087]  # the second is found above 0.575 in fp32, and below it in fp16
    np.save(pytester.path / "x.npy", values)
    networks.spec(pytester.path, "inputs: {x: {in0: {file: x.npy}}}\ncompare: [fp16-vs-fp32-vulkan]\n")
    run = gate()
    assert "internal error" not in run.output
    boxes = run.cases["x::fp16-vs-fp32-vulkan::output:out1"]
    assert boxes["outcome"] == "failed"
    assert boxes["cause"] == "precision"
    assert "output out1: 1 detections, the reference has 2" in boxes["message"]
    assert "a threshold decides" in boxes["message"]
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert fix["verified"] is True
    assert set(fix["masks"]) == {"split_in0", "big"}


@pytest.mark.since_ncnn("1.0.20260526", "the operator is a crash there")
def test_nothing_detected_on_either_side_agrees_and_says_what_that_is_worth(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=2 1=1 2=6")
    net.layer("YoloDetectionOutput", "boxes", [x], ["out0"], "0=1 1=1 2=0.9 3=0.9 -23304=2,1.0,1.0")
    net.write(pytester.path / "net")
    networks.spec(
        pytester.path,
        "inputs: {x: {in0: {constant: -5}}}\ncompare: [cpu-vs-vulkan, shipped, fp16-range]\n",
    )
    run = gate()
    assert run.ids("failed") == []
    remarks = {case["message"] for case in run.cases.values() if case["outcome"] == "passed"}
    assert "nothing was detected on either side" in remarks
