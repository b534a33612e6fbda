"""What masks cannot fix must not hide what they can; layers without names of their own; files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP16 = "fp16-vs-fp32-vulkan"
ONLY_FP16 = f"compare: [{FP16}]\n"


def test_a_known_failure_is_not_for_masks_to_fix(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.two_branches(pytester.path)
    known = "known:\n" + "".join(
        f"  - {{{key}, comparison: {FP16}, reason: {reason}}}\n"
        for key, reason in (("layer: huge", "we scale it on our side"), ("output: out0", "so is this"))
    )
    samples = "inputs:\n  small: {in0: {constant: 5.0, shape: [16]}}\n"
    networks.spec(pytester.path, samples + ONLY_FP16 + known)
    run = gate()
    assert run.result.ret == 0
    assert run.fixes == {}
    large = "inputs:\n  large: {in0: {constant: 100.0, shape: [16]}}\n"
    networks.spec(pytester.path, large + ONLY_FP16 + known)
    run = gate()
    assert [name.split("::")[2] for name in run.ids("failed")] == ["big"]
    assert run.fixes[FP16]["masks"] == {"big": 18, "back": 18}


def test_what_is_known_in_one_sample_is_fixed_for_the_other(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.two_branches(pytester.path)
    samples = (
        "inputs:\n  a: {in0: {constant: 5.0, shape: [16]}}\n  b: {in0: {constant: 5.0, shape: [16]}}\n"
    )
    known = "known:\n" + "".join(
        f"  - {{{key}, sample: a, reason: scaled on our side}}\n"
        for key in ("layer: huge", "output: out0")
    )
    networks.spec(pytester.path, samples + ONLY_FP16 + known)
    fix = gate().fixes[FP16]
    assert (fix["masks"], fix["verified"]) == ({"huge": 18, "down": 18}, True)


def test_a_fault_of_the_reference_hides_no_fix(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.overflow_beside(pytester.path, "UnaryOp", "0=8")  # the logarithm of what is below 0
    networks.spec(pytester.path, "inputs:\n  s: {in0: {constant: -5.0}}\n" + ONLY_FP16)
    run = gate()
    fix = run.fixes[FP16]
    assert (fix["masks"], fix["verified"]) == ({"up": 18, "down": 18}, True)
    assert "left out, because no mask can fix it: other, output:out1" in run.output


def test_masks_that_make_no_output_better(gate: Gate, pytester: pytest.Pytester) -> None:
    """They are no fix for a layer that only rounds too much for a strict tolerance, which does no harm.

    For one that loses its weights they are: on another input its share of the output may be larger.
    """
    strict = Network()
    x = strict.layer("Input", "in0", params="0=64")
    x = strict.layer("BinaryOp", "third", [x], params="0=2 1=1 2=0.333")
    strict.layer("BinaryOp", "more", [x], ["out0"], "0=2 1=1 2=0.777")
    strict.write(pytester.path / "strict")
    tolerance = "tolerance: {layers: {third: {scaled: 1.0e-6}}}\n"
    networks.spec(pytester.path, networks.NOISE + ONLY_FP16 + tolerance, "strict")
    hidden = Network()
    hidden.layer("Input", "in0", params="0=64")
    (x, y) = hidden.split("in0", 2)
    x = hidden.layer("BinaryOp", "large", [x], params="0=2 1=1 2=1000.0")
    tiny = np.random.RandomState(0).uniform(-3e-7, 3e-7, 64 * 64)
    x = hidden.layer("InnerProduct", "tiny", [x], params="0=64 1=0 2=4096", weights=[tiny])
    hidden.layer("BinaryOp", "sum", [y, x], ["out0"], "0=0")
    hidden.write(pytester.path / "hidden")
    networks.spec(pytester.path, networks.NOISE + ONLY_FP16, "hidden")
    run = gate()
    assert sorted(name.split("::")[2] for name in run.ids("failed")) == ["third", "tiny"]
    (of_hidden, of_strict) = (model["fixes"][0] for model in run.report["models"])
    assert (of_strict["masks"], of_strict["verified"], of_strict["patch"]) == ({}, False, "")
    no_better = "with third 31=18 the red layers are right, but no output is better for it"
    assert no_better in of_strict["how"]
    (output,) = of_strict["outputs"]
    assert (output["output"], output["before"] < 0.001) == ("out0", True)
    assert (of_hidden["masks"], of_hidden["verified"]) == ({"tiny": 18}, True)
    (note,) = of_hidden["notes"]
    assert note.startswith("what is red is right with this fix; the outputs were so without: out0 ")


def test_masks_that_are_predicted_are_widened_until_the_network_is_right_with_them(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """fp16-range blames the lost epsilon; on Vulkan the small probabilities in front are too coarse."""
    net = Network()
    x = net.layer("Input", "in0", params="0=50")
    x = net.layer("Sigmoid", "prob", [x])
    x = net.layer("BinaryOp", "eps", [x], params="0=0 1=1 2=1e-9")
    x = net.layer("UnaryOp", "log", [x], params="0=8")
    net.layer("BinaryOp", "scale", [x], ["out0"], "0=2 1=1 2=0.1")
    net.write(pytester.path / "net")
    np.save(pytester.path / "in0.npy", np.linspace(-18.0, -11.5, 50, dtype=np.float32))
    networks.spec(pytester.path, "inputs:\n  s: {in0: {file: in0.npy}}\ncompare: [fp16-range]\n")
    fix = gate().fixes["fp16-range"]
    assert (fix["masks"], fix["verified"]) == ({"prob": 18, "eps": 18, "log": 18}, True)
    assert any("a smaller set" in note for note in fix["notes"])


def test_of_several_outputs_those_that_the_masks_fix_are_named(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.overflow_beside(pytester.path, "BinaryOp", "0=2 1=1 2=0.5")
    networks.spec(pytester.path, "inputs:\n  s: {in0: {constant: 5.0}}\n" + ONLY_FP16)
    run = gate()
    outputs = {one["output"]: (one["before"], one["after"]) for one in run.fixes[FP16]["outputs"]}
    assert outputs["out0"][0] == "inf"
    assert outputs["out0"][1] < 0.001
    assert outputs["out1"] == (0.0, 0.0)
    assert "out1: 0, before 0" in run.output


def test_an_input_beyond_fp16_is_fixed_at_its_reader(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("BinaryOp", "down", [x], params="0=2 1=1 2=0.00001")
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(pytester.path / "net")
    text = "inputs:\n  large: {in0: {random: uniform, low: 1.0e+5, high: 2.0e+5}}\n" + ONLY_FP16
    networks.spec(pytester.path, text)
    run = gate()
    assert run.cases[f"large::{FP16}::in0"]["cause"] == "storage-overflow"
    assert (run.fixes[FP16]["masks"], run.fixes[FP16]["verified"]) == ({"down": 18}, True)
    networks.spec(pytester.path, text + "masks: {down: 18}\n")
    again = gate()
    assert again.ids("failed") == []
    assert "no layer takes it in 16 bits" in again.cases[f"large::{FP16}::in0"]["message"]


def test_layers_of_one_name_are_masked_one_by_one(gate: Gate, pytester: pytest.Pytester) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    for i, factor in enumerate(("1.5", "30000.0", "0.00003", "0.5")):
        x = net.layer("BinaryOp", "op", [x], [f"b{i}"], f"0=2 1=1 2={factor}")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, "inputs:\n  s: {in0: {constant: 5.0}}\n" + ONLY_FP16)
    run = gate("--ncnn-parity-fix=write")
    fix = run.fixes[FP16]
    assert len(fix["lines"]) == 2
    assert "or in the spec" not in run.output
    (written,) = (path for path in fix["written"] if path.endswith(".param"))
    assert Path(written).read_text("utf-8").count("31=18") == 2


def test_a_patch_that_cannot_be_written_costs_no_fix(
    gate: Gate, example: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    example("accumulate")
    pytester.makeconftest(  # the folder was there when the run began
        """
        import pathlib
        def pytest_collection_finish():
            pathlib.Path("x").write_text("")
        """
    )
    run = gate("--ncnn-parity-fix=write", "--ncnn-parity-dir=x")
    assert (run.fixes[FP16]["masks"], run.fixes[FP16]["verified"]) == ({"average": 1}, True)
    assert run.fixes[FP16]["written"] == []
    assert "the patch could not be written" in run.output
    assert "or write a patch" not in run.output


def test_what_is_predicted_is_fixed_together_with_what_only_the_device_shows(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """`up` overflows, as predicted. The terms of `subtract` cancel, which no value of fp32 shows."""
    net = Network()
    a, b, c = net.split(net.layer("Input", "in0", params="0=64"), 3)
    a = net.layer("BinaryOp", "up", [a], params="0=2 1=1 2=30000.0")
    net.layer("BinaryOp", "down", [a], ["out0"], "0=2 1=1 2=0.00003")
    b = net.layer("BinaryOp", "scale", [b], params="0=2 1=1 2=1.001")
    net.layer("BinaryOp", "subtract", [b, c], ["out1"], "0=1")
    net.write(pytester.path / "net")
    sample = "inputs: {s: {in0: {random: normal, seed: 0}}}\n"
    networks.spec(pytester.path, f"{sample}compare: [{FP16}, fp16-range]\n")
    fixes = gate().fixes
    predicted, on_device = fixes["fp16-range"], fixes[FP16]
    assert {"up", "down", "subtract"} <= on_device["masks"].keys()
    assert predicted["masks"] == on_device["masks"]
    assert (predicted["verified"], predicted["minimal"]) == (True, True)
    assert "not enough on the device" in predicted["notes"][0]
    networks.spec(pytester.path, f"{sample}compare: [fp16-range]\n")
    predicted = gate().fixes["fp16-range"]
    assert predicted["masks"].keys() == {"up", "down"}
    assert not predicted["verified"]
