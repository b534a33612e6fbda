"""Outputs whose shape depends on values, as a detector's: another count of boxes is no error of ours."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

from pytest_ncnn_parity.engine.inputs import RangeInput
from pytest_ncnn_parity.worker.values.drawn import drawn


@pytest.mark.once
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


@pytest.mark.once
def test_of_boxes_from_two_heads_with_one_score_either_may_be_listed(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Two boxes overlap. In fp32 the first is better by 1e-6; in fp16 they are equal, and swap."""
    net = Network()
    heads = [net.layer("Input", f"in{i}", params="0=1 1=1 2=6") for i in range(2)]
    heads = [
        net.layer("BinaryOp", f"head{i}", [head], params="0=2 1=1 2=1.0") for i, head in enumerate(heads)
    ]
    anchors = "-23304=2,32.0,32.0 -23305=2,0.0,0.0 -23306=2,64.0,64.0"
    params = f"0=1 1=1 2=0.25 3=0.45 {anchors}"
    net.layer("Yolov3DetectionOutput", "boxes", heads, ["out0"], params)
    net.write(pytester.path / "net")
    for i, (wide, score) in enumerate(((0.0, 4.0001), (0.25, 4.0))):
        values = np.array([0.0, 0.0, wide, 0.0, score, 4.0], np.float32)
        np.save(pytester.path / f"x{i}.npy", values.reshape(6, 1, 1))
    inputs = "{s: {in0: {file: x0.npy}, in1: {file: x1.npy}}}"
    networks.spec(pytester.path, f"inputs: {inputs}\ncompare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n")
    run = gate()
    assert run.ids("failed") == []
    output = run.cases["s::fp16-vs-fp32-vulkan::output:out0"]
    assert output["message"] == ("1 detections; 1 of them stand for others with the same score")


ONE_ANCHOR = "-23304=2,32.0,32.0 -23305=1,0.0 -23306=1,64.0"


@pytest.mark.once
def test_something_detected_in_fp16_alone_is_judged(gate: Gate, pytester: pytest.Pytester) -> None:
    """The score is below the threshold in fp32 by 3e-5, and above it once its logit is rounded."""
    net = Network()
    head = net.layer("Input", "in0", params="0=1 1=1 2=6")
    head = net.layer("BinaryOp", "head", [head], params="0=2 1=1 2=1.0")
    params = f"0=1 1=1 2=0.5706002 3=0.45 {ONE_ANCHOR}"
    net.layer("Yolov3DetectionOutput", "boxes", [head], ["out0"], params)
    net.write(pytester.path / "net")
    values = np.array([0.0, 0.0, 0.0, 0.0, 0.30242023, 4.0], np.float32)
    np.save(pytester.path / "x.npy", values.reshape(6, 1, 1))
    networks.spec(pytester.path, "inputs: {x: {in0: {file: x.npy}}}\ncompare: [fp16-vs-fp32-vulkan]\n")
    run = gate()
    assert "internal error" not in run.output
    assert run.cases["x::fp16-vs-fp32-vulkan::head"]["outcome"] == "passed"
    boxes = run.cases["x::fp16-vs-fp32-vulkan::output:out0"]
    assert boxes["outcome"] == "failed"
    assert "1 detections, the reference has 0" in boxes["message"]
    assert "a threshold decides" in boxes["message"]


@pytest.mark.once
def test_a_detector_that_finds_nothing_keeps_no_fix_from_being_found(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=1 1=1 2=6"), 2)
    net.layer("BinaryOp", "exact", [a], ["out1"], params="0=2 1=1 2=1.0")
    head = net.layer("BinaryOp", "head", [b], params="0=2 1=1 2=1.0")
    params = f"0=1 1=1 2=0.99 3=0.45 {ONE_ANCHOR}"
    net.layer("Yolov3DetectionOutput", "boxes", [head], ["out0"], params)
    net.write(pytester.path / "net")
    values = np.array([0.1, 0.2, 0.3, 0.0, -3.0, -4.0], np.float32)
    np.save(pytester.path / "x.npy", values.reshape(6, 1, 1))
    networks.spec(
        pytester.path,
        "inputs: {x: {in0: {file: x.npy}}}\ncompare: [fp16-vs-fp32-vulkan]\n"
        "tolerance: {outputs: {out1: {scaled: 1.0e-7}}}\n",
    )
    run = gate()
    assert "internal error" not in run.output
    assert run.ids("failed") == ["x::fp16-vs-fp32-vulkan::output:out1"]
    assert run.fixes["fp16-vs-fp32-vulkan"]["verified"] is True


@pytest.mark.once
def test_a_recorded_list_may_have_any_number_of_boxes(gate: Gate, pytester: pytest.Pytester) -> None:
    """Two boxes are found: recordings of these, of none, of one alone, and of something else."""
    net = Network()
    x = net.layer("Input", "in0", params="0=2 1=1 2=6")
    net.layer("YoloDetectionOutput", "boxes", [x], ["out0"], "0=1 1=1 2=0.5 3=0.9 -23304=2,1.0,1.0")
    net.write(pytester.path / "net")
    values = np.ones((6, 1, 2), np.float32)
    values[0, 0], values[4, 0] = [0.0, 3.0], [5.0, 3.0]
    nothing = np.full((6, 1, 2), -5.0, np.float32)
    np.savez(pytester.path / "in.npz", two=values, none=nothing)

    def run(**expected: np.ndarray) -> dict[str, str]:
        np.savez(pytester.path / "out.npz", **expected)
        inputs = "".join(
            f"  {name}:\n    in0: {{file: in.npz, key: {name.partition('_')[0]}}}\n"
            f"    expect: {{out0: {{file: out.npz, key: {name}}}}}\n"
            for name in expected
        )
        networks.spec(pytester.path, f"inputs:\n{inputs}compare: [fp16-range]\n")
        found = gate("-k", "golden").cases
        return {
            name: found[f"{name}::golden::output:out0"]["outcome"]
            + f": {found[f'{name}::golden::output:out0']['message']}"
            for name in expected
        }

    empty = np.zeros((0, 6), np.float32)
    first = run(two=np.zeros((1, 6), np.float32), none=empty)
    assert first["none"] == "passed: nothing was detected on either side"
    assert "2 detections, the reference has 1" in first["two"]
    both = [[1, 1 / (1 + np.exp(-5.0)), -1, -1, 0, 0], [1, 0, 0, 0, 0, 0]]
    second = run(two=empty, none=np.array(both, np.float32), two_wide=np.zeros((2, 7), np.float32))
    assert "2 detections, the reference has 0" in second["two"]
    assert "0 detections, the reference has 2" in second["none"]
    assert "[two_wide] holds (2, 7), the network gives (2, 6)" in second["two_wide"]
    assert all(text.startswith("failed: ") for text in (first["two"], *second.values()))


def many_boxes(folder: Path) -> None:
    """Four convolutions of random weights, and a head of four anchors that lists some 50 boxes."""
    rng = np.random.RandomState(4)
    net = Network()
    x = net.layer("Input", "in0", params="0=48 1=48 2=3")
    for i, (channels, stride) in enumerate([(3, 2), (16, 1), (16, 2), (16, 1)]):
        weights = rng.normal(0, (2 / (9 * channels)) ** 0.5, (16, channels, 3, 3))
        params = f"0=16 1=3 3={stride} 4=1 5=1 6={weights.size} 9=1"
        x = net.layer("Convolution", f"conv{i}", [x], params=params, weights=[weights, np.zeros(16)])
    weights = rng.normal(0, 0.35, (24, 16, 1, 1))
    x = net.layer("Convolution", "head", [x], None, "0=24 1=1 5=1 6=384", [weights, np.zeros(24)])
    net.layer("Yolov3DetectionOutput", "boxes", [x], ["out0"], networks.FOUR_ANCHORS)
    net.write(folder / "net")


@pytest.mark.once
def test_a_list_may_differ_by_what_a_grey_step_of_the_picture_does(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """One box of 58 is at the threshold. Nobody says of an array in a file that it is a picture."""
    many_boxes(pytester.path)
    compare = "compare: [fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, f"inputs: {{s: {{in0: {{random: smooth, seed: 5}}}}}}\n{compare}")
    run = gate()
    assert run.ids("failed") == []
    said = run.cases["s::fp16-vs-fp32-vulkan::output:out0"]["message"]
    assert said.startswith("57 detections, the reference has 58: rows are off by 0.00")
    assert "where each pixel of the picture moves by a grey step, rows move by up to 0.0" in said
    picture = RangeInput(shape=(3, 48, 48), random="smooth", low=0.0, high=1.0, seed=5)
    np.save(pytester.path / "x.npy", drawn(picture))
    networks.spec(pytester.path, f"inputs: {{s: {{in0: {{file: x.npy}}}}}}\n{compare}")
    red = gate("--ncnn-parity-fix=off")
    assert red.ids("failed") == ["s::fp16-vs-fp32-vulkan::output:out0"]
    assert "a threshold decides" in red.cases["s::fp16-vs-fp32-vulkan::output:out0"]["message"]


@pytest.mark.once
def test_a_layer_behind_a_list_without_rows_is_told_that_nothing_was_found(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=2 1=1 2=6")
    anchors = "-23304=2,32.0,32.0 -23305=1,0.0 -23306=1,64.0"
    params = f"0=1 1=1 2=0.9 3=0.9 {anchors}"
    x = net.layer("Yolov3DetectionOutput", "boxes", [x], ["found"], params)
    net.layer("Split", "fork", [x], ["out0", "out1"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs: {x: {in0: {constant: -5}}}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == ["x::cpu-vs-vulkan::fork"]
    fork = run.cases["x::cpu-vs-vulkan::fork"]
    assert fork["cause"] == "shape"
    assert "gets 'found', which is empty: [0, 6]" in fork["message"]
    assert "feed a sample in which something is found" in fork["message"]
