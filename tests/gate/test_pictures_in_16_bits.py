"""Outputs of pictures, off by less than a grey step more or less makes of them."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network
from PIL import Image

pytestmark = pytest.mark.once

GREY = 91  # of 255; in fp16 it and the centre, which is larger by a fiftieth, are the same
IMAGE = "{image: grey.png, color: gray, norm: [0.00392156862745098]}"


def steep(folder: Path, factor: float, constant: float = 0.0) -> None:
    """Sigmoid of a pixel's distance to a grey value, times `factor`; each layer is right by itself.

    A `constant` that is added and subtracted again takes bits of fp16 from the pixel.
    """
    net = Network()
    x = net.layer("Input", "in0", params="0=24 1=24 2=1")
    if constant:
        x = net.layer("BinaryOp", "up", [x], params=f"0=0 1=1 2={constant}")
        x = net.layer("BinaryOp", "down", [x], params=f"0=1 1=1 2={constant}")
    x = net.layer("BinaryOp", "centre", [x], params=f"0=1 1=1 2={(GREY + 0.02) / 255:.9f}")
    x = net.layer("BinaryOp", "steep", [x], params=f"0=2 1=1 2={factor}")
    net.layer("Sigmoid", "mask", [x], ["out0"])
    net.layer("ReLU", "other", [net.layer("Input", "in1", params="0=4 1=4 2=1")], ["out1"])
    net.write(folder / "net")
    # one pixel in five is just below the centre, and above it by a grey step more; the others are above
    pixels = np.where(np.random.RandomState(0).random_sample((24, 24)) < 0.2, GREY, GREY + 1)
    pixels = pixels.astype(np.uint8)
    Image.fromarray(pixels).save(folder / "grey.png")
    np.save(folder / "grey.npy", (pixels / 255.0).astype(np.float32)[None])


def judged(gate: Gate, folder: Path, source: str = IMAGE, more: str = "") -> tuple[list[str], str]:
    """The red cases in 16 bits on Vulkan, and what is said of the output."""
    other = "{constant: 0.5, shape: [1, 4, 4]}"
    networks.spec(
        folder, f"inputs: {{s: {{in0: {source}, in1: {other}}}}}\ncompare: [fp16-vs-fp32-vulkan]\n{more}"
    )
    run = gate("--ncnn-parity-fix=off")
    output = run.cases["s::fp16-vs-fp32-vulkan::output:out0"]
    return [name.rpartition("::")[2] for name in run.ids("failed")], output["message"]


def test_an_output_that_a_grey_step_turns_over_is_judged_by_that(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    steep(pytester.path, factor=40000.0)
    red, said = judged(gate, pytester.path)
    assert red == []
    assert "where each pixel of the picture moves by a grey step, up to " in " ".join(said.split())
    # the same values, of which nobody says that they are a picture
    red, said = judged(gate, pytester.path, "{file: grey.npy}")
    assert red == ["output:out0"]
    advice = "if in0 is a picture, feed it by `image:`"
    assert advice in said
    # what the user allows is all that is allowed
    custom = "tolerance: {outputs: {out0: {scaled: 0.05}}}\n"
    red, said = judged(gate, pytester.path, more=custom)
    assert red == ["output:out0"]
    assert advice not in said


def test_an_error_larger_than_a_grey_step_is_red(gate: Gate, pytester: pytest.Pytester) -> None:
    steep(pytester.path, factor=100.0, constant=1000.0)
    red, said = judged(gate, pytester.path)
    assert red == ["output:out0"]
    assert "feed it by `image:`" not in said


def test_where_a_layer_is_red_the_output_is_judged_as_ever(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    steep(pytester.path, factor=40000.0, constant=100000.0)
    red, _ = judged(gate, pytester.path)
    assert len(red) > 1
    assert "output:out0" in red


def test_smooth_noise_stands_for_a_picture(gate: Gate, pytester: pytest.Pytester) -> None:
    steep(pytester.path, factor=40000.0)
    smooth = f"{{random: smooth, low: {(GREY - 1) / 255:.6f}, high: {(GREY + 1) / 255:.6f}}}"
    assert judged(gate, pytester.path, smooth)[0] == ["output:out0"]  # its steps are small
    assert judged(gate, pytester.path, "{random: smooth}")[0] == []
    assert judged(gate, pytester.path, "{random: uniform}")[0] in ([], ["output:out0"])
