"""Networks in int8: healthy ones are green, faults in them are not, and masks are found as in others."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
import quantized
from conftest import Gate, fresh_python
from network import Network

OUTPUT = "noise::cpu-vs-vulkan::output:out0"
RECORDED = "own::golden::output:out0"
FP16 = "fp16-vs-fp32-vulkan"

RECORD = """
import os, sys
import ncnn
import numpy as np
net = ncnn.Net()
assert net.load_param(sys.argv[1] + ".param") == 0 and net.load_model(sys.argv[1] + ".bin") == 0
values = np.load(sys.argv[2])
extractor = net.create_extractor()
extractor.input("in0", ncnn.Mat(values).clone())
rc, out = extractor.extract("out0")
assert rc == 0
np.save(sys.argv[3], np.array(out))
os._exit(0)
"""


def recorded(folder: Path, size: int = 16) -> None:
    """A spec with the output that ncnn alone, on the CPU as users run it, makes of a file."""
    values = np.random.RandomState(5).normal(size=(3, size, size)).astype(np.float32)
    np.save(folder / "in.npy", values)
    done = fresh_python(RECORD, str(folder / "net"), str(folder / "in.npy"), str(folder / "out.npy"))
    assert done.returncode == 0, done.stderr
    expect = "expect: {out0: {file: out.npy}}"
    inputs = f"inputs:\n  own:\n    in0: {{file: in.npy}}\n    {expect}\n"
    networks.spec(folder, f"{inputs}compare: [fp16-range]\n")


@pytest.mark.parametrize("between", ["nothing", "split", "padding"])
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_chain_in_int8_is_green(gate: Gate, pytester: pytest.Pytester, between: str) -> None:
    quantized.chain(pytester.path, between)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan, {FP16}, fp16-range]\n")
    run = gate("--ncnn-parity-accumulated")
    assert run.ids("failed") == []
    assert OUTPUT in run.ids("passed")
    for name, case in run.cases.items():
        assert case["accumulated_ended"] is None, name
        if case["comparison"] == "cpu-vs-vulkan" and case["layer"] != "in0":
            assert case["metrics"]["max_abs"] <= 1.0, name  # a step of int8, or nothing to speak of
    skipped = run.cases["noise::fp16-range::conv1"]
    assert skipped["message"] == "holds integers, which stay as they are"


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_deep_networks_output_may_move_as_it_does_on_the_cpu(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    quantized.deep(pytester.path, seed=0)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == []
    metrics, tolerance = (run.cases[OUTPUT][key] for key in ("metrics", "tolerance"))
    assert metrics["scaled"] > 10 * tolerance["scaled"]
    own = "tolerance: {outputs: {out0: {scaled: 0.001}}}"
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n{own}\n")
    assert gate("-k", "output").ids("failed") == [OUTPUT]  # by a budget of one's own it is not


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
@pytest.mark.parametrize("known", ["", "known: [{layer: head, reason: too strict}]\n"])
def test_a_red_layer_says_nothing_of_an_output_that_does_not_read_it(
    gate: Gate, pytester: pytest.Pytester, known: str
) -> None:
    """Behind the red head nothing is excused, but the other output may move as in a green network."""
    quantized.deep(pytester.path, seed=0, second_head=True)
    strict = "tolerance: {layers: {head: {atol: 1.0e-30}}}\n"
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n{strict}{known}")
    run = gate()
    head, other = (run.cases[f"noise::cpu-vs-vulkan::{name}"] for name in ("head", "output:out1"))
    assert run.ids("failed") == ([] if known else ["noise::cpu-vs-vulkan::head"]) + [OUTPUT]
    assert (head["known"], head["metrics"]["mismatched"] > 0) == (bool(known), True)
    assert other["metrics"]["scaled"] > 10 * other["tolerance"]["scaled"]


@pytest.mark.once
@pytest.mark.parametrize("fault", quantized.FAULTS)
def test_a_fault_against_a_recording_is_red(gate: Gate, pytester: pytest.Pytester, fault: str) -> None:
    quantized.chain(pytester.path)
    recorded(pytester.path)
    assert RECORDED in gate().ids("passed")
    quantized.chain(pytester.path, fault=quantized.Fault(fault, "depthwise", 3))
    run = gate()
    assert run.ids("failed") == [RECORDED]
    assert run.cases[RECORDED]["cause"] == "conversion"


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_list_of_detections_may_move_as_it_does_on_the_cpu(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    quantized.detector(pytester.path, seed=14)
    lines = (f"  s{seed}: {{in0: {{random: smooth, seed: {seed}}}}}\n" for seed in range(4))
    networks.spec(pytester.path, f"inputs:\n{''.join(lines)}compare: [cpu-vs-vulkan]\n")
    run = gate()
    assert run.ids("failed") == []
    said = [case["message"] for name, case in run.cases.items() if name.endswith("output:out0")]
    assert any("1 on one side alone" in text or "rows are off by" in text for text in said), said


@pytest.mark.once
def test_a_detector_with_a_fault_is_red_against_a_recording(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    quantized.detector(pytester.path, seed=14)
    recorded(pytester.path, 48)
    assert RECORDED in gate().ids("passed")
    quantized.detector(pytester.path, seed=14, fault=quantized.Fault("input_scale", "project1", 3))
    run = gate()
    assert run.ids("failed") == [RECORDED]


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_masks_are_found_around_a_chain_in_int8(gate: Gate, pytester: pytest.Pytester) -> None:
    quantized.overflow(pytester.path)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [{FP16}]\n")
    fix = gate().fixes[FP16]
    assert set(fix["masks"]) == {"large", "small"}
    assert (fix["verified"], fix["minimal"]) == (True, True)


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_an_operator_that_takes_int8_for_floats_is_the_devices(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Concat on Vulkan does; the layer behind it, which can only run with it, is skipped."""
    quantized.chain(pytester.path, "several")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    run = gate("--ncnn-parity-fix=off")
    prefix = OUTPUT.partition("output")[0]
    assert run.ids("failed") == [f"{prefix}concat", OUTPUT]
    case = run.cases[f"{prefix}concat"]
    assert case["cause"] == "device"
    assert case["headline"].endswith("what it reads is int8")
    assert run.ids("skipped") == [f"{prefix}dropout"]
    assert (
        "concat (Concat) makes it there, which fails itself" in run.cases[f"{prefix}dropout"]["message"]
    )


@pytest.mark.parametrize("reader", ["Dequantize", "Sigmoid", "Pooling"])
def test_int8_where_32_bits_are_read_is_not_run_and_blames_no_device(
    gate: Gate, pytester: pytest.Pytester, reader: str
) -> None:
    """Their kernels read, and write, past what they are given: the worker's heap is corrupt then."""
    params = {"Dequantize": "0=1 1=0", "Sigmoid": "", "Pooling": "0=0 1=2 2=2"}[reader]
    net = quantized.QuantizedNetwork()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    a, b = net.split(x, 2)
    weights = np.random.RandomState(0).normal(0, 0.2, (8, 3, 3, 3))
    x = net.int8("Convolution", "conv", a, weights, "1=3 4=1 9=1", quantized.IN, quantized.INNER)
    scales = [np.array([0.02])] if reader == "Dequantize" else []
    x = net.layer(reader, "reader", [x], params=params, weights=scales, flagged=False)
    net.layer("ReLU", "behind", [x], ["out0"])
    net.layer("ReLU", "beside", [b], ["out1"])
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan, {FP16}, fp16-range]\n")
    run = gate()
    assert "internal error" not in run.output
    judged = [c for c in ("cpu-vs-vulkan", FP16, "fp16-range") if f"noise::{c}::reader" in run.cases]
    assert len(judged) == 3
    assert run.ids("failed") == [f"noise::{comparison}::reader" for comparison in judged]
    for name in run.ids("failed"):
        assert run.cases[name]["cause"] == "shape"
        assert run.cases[name]["headline"].startswith("gets 'conv', which is int8, and reads ")
    assert run.fixes == {}
    assert run.cases[OUTPUT]["outcome"] == "skipped"
    assert "noise::fp16-range::beside" in run.ids("passed")  # what does not depend on it is judged


def test_an_int8_output_is_judged_by_steps(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    scale = [np.array([40.0])]
    net.layer("Quantize", "quantize", [x], ["out0"], "0=1", scale, flagged=False)
    net.write(pytester.path / "net")
    recorded(pytester.path)
    assert RECORDED in gate().ids("passed")
    wrong = np.load(pytester.path / "out.npy")
    wrong.flat[:50] += 4
    np.save(pytester.path / "out.npy", wrong)
    assert gate().ids("failed") == [RECORDED]


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_the_scale_of_an_input_is_not_called_a_weight(gate: Gate, pytester: pytest.Pytester) -> None:
    quantized.chain(pytester.path, fault=quantized.Fault("silent", "depthwise", 0))
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    case = gate("--ncnn-parity-fix=off").cases["noise::cpu-vs-vulkan::depthwise"]
    assert case["cause"] == "conversion"
    assert case["headline"].endswith("; 1 of its weights and scales is inf or nan in the file")
    assert "write finite numbers into the table" in case["evidence"][0]
    assert "fp16" not in case["message"]


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
@pytest.mark.parametrize("kind", ["lost", "unscaled"])
@pytest.mark.parametrize("layer", ["depthwise", "conv2"])
def test_a_scale_that_is_nan_fails_though_both_sides_agree(
    gate: Gate, pytester: pytest.Pytester, kind: str, layer: str
) -> None:
    quantized.chain(pytester.path, fault=quantized.Fault(kind, layer, 3))
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    case = gate("--ncnn-parity-fix=off").cases[f"noise::cpu-vs-vulkan::{layer}"]
    assert (case["outcome"], case["cause"]) == ("failed", "conversion"), case["message"]
    assert "1 of its weights and scales is inf or nan in the file" in case["headline"]


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
@pytest.mark.parametrize("kind", ["dead", "saturated"])
def test_a_scale_that_is_inf_and_does_no_harm_is_no_fault(
    gate: Gate, pytester: pytest.Pytester, kind: str
) -> None:
    quantized.chain(pytester.path, fault=quantized.Fault(kind, "conv2", 3))
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    case = gate("--ncnn-parity-fix=off").cases["noise::cpu-vs-vulkan::conv2"]
    assert case["outcome"] == "passed", case["message"]


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_scale_that_is_inf_is_named_and_masks_leave_a_network_that_runs(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """ncnn2table writes inf where all weights of an output are 0: 0 on the CPU, anything elsewhere."""
    quantized.chain(pytester.path, fault=quantized.Fault("dead", "depthwise", 3))
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n")
    run = gate()
    case = run.cases["noise::cpu-vs-vulkan::depthwise"]
    assert case["cause"] == "quantization"
    assert "the file's scale is inf for the weights of 1 of its outputs" in case["message"]
    assert any("outputs 3:" in line for line in case["evidence"])
    # depthwise gives int8, which cannot be uploaded, so what reads it leaves Vulkan as well
    fix = run.fixes["cpu-vs-vulkan"]
    assert set(fix["masks"]) == {"depthwise", "conv2"}
