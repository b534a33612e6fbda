"""A new user's first run: what init writes runs as it is, and makes no healthy network red."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate, Run
from network import Network


def first_run(gate: Gate, folder: Path, *args: str, **numbers: int) -> Run:
    """Write what init prints for net.param, `numbers` in the places that ask for some, and run it."""
    command = [sys.executable, "-m", "pytest", "--ncnn-parity-init", "net.param"]
    printed = subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True).stdout
    for word, number in numbers.items():
        printed = re.sub(rf"(?<=[\[ ]){word}(?=[\],])", str(number), printed)
    (folder / "net.parity.yaml").write_text(printed, "utf-8")
    return gate("--ncnn-parity-fix=off", *args)


def spec_text(folder: Path) -> str:
    return (folder / "net.parity.yaml").read_text("utf-8")


def convolved(folder: Path, line: str, channels: int = 3) -> None:
    """Two convolutions and a classifier at each place, as old face detectors have them."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "data", params=line)
    for name, inputs, outputs in (("conv1", channels, 10), ("conv2", 10, 16)):
        weights = [rng.normal(0, 0.2, (outputs, inputs, 3, 3)), rng.normal(0, 0.2, outputs)]
        size = outputs * inputs * 9
        x = net.layer("Convolution", name, [x], params=f"0={outputs} 1=3 5=1 6={size}", weights=weights)
        x = net.layer("ReLU", f"{name}_relu", [x])
    weights = [rng.normal(0, 0.2, (2, 16)), np.zeros(2)]
    x = net.layer("Convolution", "conv3", [x], params="0=2 1=1 5=1 6=32", weights=weights)
    net.layer("Softmax", "prob", [x], params="0=0 1=1")
    net.write(folder / "net")


@pytest.mark.once
def test_an_input_line_in_another_order_gives_way_to_the_weights(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    convolved(pytester.path, "0=3 1=12 2=12")
    run = first_run(gate, pytester.path)
    assert run.ids("failed") == []
    assert "noise::cpu-vs-vulkan::output:prob" in run.ids("passed")
    text = spec_text(pytester.path)
    assert "# The Input line states [12, 12, 3], which contradicts the weights" in text
    assert "data: {random: smooth, low: 0, high: 1, shape: [3, 12, 12]}" in text


@pytest.mark.once
@pytest.mark.parametrize("source", ["{random: normal, shape: [3, 12, 12]}", "{file: picture.npy}"])
def test_a_spec_overrules_such_a_line(source: str, gate: Gate, pytester: pytest.Pytester) -> None:
    convolved(pytester.path, "0=3 1=12 2=12")
    np.save(pytester.path / "picture.npy", np.random.RandomState(0).rand(3, 12, 12))
    networks.spec(pytester.path, f"inputs:\n  s: {{data: {source}}}\ncompare: [cpu-vs-vulkan]\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == []
    assert "s::cpu-vs-vulkan::output:prob" in run.ids("passed")


def test_a_spec_that_fits_neither_is_reported_with_both_reasons(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    convolved(pytester.path, "0=3 1=12 2=12")
    networks.spec(pytester.path, "inputs:\n  s: {data: {constant: 1, shape: [4, 12, 12]}}\n")
    run = gate()
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    assert "conv1 (Convolution) gets [4, 12, 12], of 4 channels; its weights are for 3" in run.output


@pytest.mark.once
def test_an_upscaler_is_fed_a_picture_not_white_noise(gate: Gate, pytester: pytest.Pytester) -> None:
    """Its own mean and range: it scales by 255, and squares what a smooth picture has little of."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "data")
    mean = net.layer(
        "MemoryData", "mean", params="0=1 1=1 2=3", weights=[[0.45, 0.44, 0.4]], flagged=False
    )
    x = net.layer("BinaryOp", "centred", [x, mean], params="0=1")
    x = net.layer("BinaryOp", "scaled", [x], params="0=2 1=1 2=255.0")
    weights = [rng.normal(0, 0.1, (12, 3, 3, 3)), np.zeros(12)]
    x = net.layer("Convolution", "conv", [x], params="0=12 1=3 4=1 5=1 6=324", weights=weights)
    net.layer("PixelShuffle", "out0", [x], params="0=2")
    net.write(pytester.path / "net")
    run = first_run(gate, pytester.path, HEIGHT=24, WIDTH=32)
    assert "data: {random: smooth, low: 0, high: 1, shape: [3, 24, 32]}" in spec_text(pytester.path)
    assert run.ids("failed") == []
    assert "noise::fp16-vs-fp32-vulkan::output:out0" in run.ids("passed")


@pytest.mark.once
def test_a_language_model_is_fed_words(gate: Gate, pytester: pytest.Pytester) -> None:
    rng = np.random.RandomState(0)
    net = Network()
    ids = net.layer("Input", "ids")
    left, right = net.split(ids, 2)
    table = [rng.normal(0, 1, (100, 16))]
    left = net.layer("Embed", "tok", [left], params="0=16 1=100 2=0 3=1600", weights=table)
    right = net.layer("Embed", "other", [right], params="0=16 1=60 2=0 3=960", weights=[table[0][:60]])
    net.layer("BinaryOp", "out0", [left, right], params="0=0")
    net.write(pytester.path / "net")
    first_run(gate, pytester.path, "-k", "fp16-range", LENGTH=7)
    assert "ids: {random: integers, low: 0, high: 59, shape: [7]}" in spec_text(pytester.path)


def test_floats_for_words_are_an_error_that_says_what_to_write(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    net.layer("Embed", "tok", [net.layer("Input", "ids")], ["out0"], "0=16 1=100 2=0 3=1600",
              [np.zeros((100, 16))])  # fmt: skip
    net.write(pytester.path / "net")
    networks.spec(
        pytester.path,
        "inputs:\n  noise: {ids: {random: uniform, low: 0, high: 99, shape: [7]}}\n",
    )
    run = gate()
    assert run.result.ret == pytest.ExitCode.INTERRUPTED
    assert (
        "net.parity.yaml:3:11: inputs.noise.ids: tok (Embed) reads whole numbers, 0 to 99; random: "
        "uniform gives fractions. Write {random: integers, low: 0, high: 99, shape: [7]}"
    ) in run.output
