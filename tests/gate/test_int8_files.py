"""A candidate in int8 whose files say something else than those in floats, however little it costs."""

from __future__ import annotations

from pathlib import Path

import calibrated
import numpy as np
import pytest
from calibrated import Model, Wrong
from conftest import Gate
from int8_specs import SPEC, red, write_int8

WIDTH, SIDE = 16, 8


def write_scaled(folder: Path, name: str, wrong: Wrong | None = None) -> None:
    """A Convolution times a MemoryData plus another, as pnnx has it; in int8 both are folded."""
    random = np.random.RandomState(3)
    weights, bias = random.normal(0, 0.2, (WIDTH, 8, 1, 1)), random.normal(0, 0.2, WIDTH)
    gains, shifts = np.exp(random.normal(0, 0.3, WIDTH)), random.normal(0, 0.2, WIDTH)
    last, none = random.normal(0, 0.2, (4, WIDTH, 1, 1)).astype(np.float32), np.zeros(4, np.float32)
    inputs = [np.random.RandomState(seed).normal(0, 1, (8, SIDE, SIDE)) for seed in range(3)]
    net, of_input = calibrated.Counting(), f"0={SIDE} 1={SIDE} 2=8"
    words = f"0={WIDTH} 1=1 5=1 6={weights.size}"
    x = net.layer("Input", "in0", params=of_input)
    x = net.layer("Convolution", "c", [x], params=words, weights=[weights, bias])
    for operator, values, operation in (("mul", gains, 2), ("add", shifts, 0)):
        held = f"{operator}_by"
        net.layer("MemoryData", held, params=f"0=1 1=1 2={WIDTH}", weights=[values], flagged=False)
        x = net.layer("BinaryOp", operator, [x, held], params=f"0={operation}")
    x = net.layer("ReLU", "relu", [x])
    of_last = f"0=4 1=1 5=1 6={last.size}"
    net.layer("Convolution", "last", [x], ["out0"], of_last, [last, none])
    net.write(folder / name)
    model = Model()
    model.add("Input", "in0", params=of_input)
    folded = (weights * gains.reshape(-1, 1, 1, 1)).astype(np.float32)
    offset = (bias * gains + shifts).astype(np.float32)
    model.add("Convolution", "c", ["in0"], f"{words} 9=1", folded, offset, ["relu"])
    model.add("Convolution", "last", ["relu"], of_last, last, none, ["out0"])
    faults = {} if wrong is None else {"c": wrong}
    write_int8(folder, name, model, inputs, faults)


def test_factors_and_offsets_of_layers_with_constants_are_known(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    write_scaled(pytester.path, "healthy")
    write_scaled(pytester.path, "factor", Wrong(("channel",), 2.0))
    write_scaled(pytester.path, "dead", Wrong(("channel",), 1e9))
    write_scaled(pytester.path, "offset", Wrong(("bias",), 1.0))
    headlines = red(gate("--ncnn-parity-fix=off"))
    weights = ("relu", "its weights are not those in floats")
    assert headlines == {
        "healthy": [],
        "factor": [weights],
        "dead": [weights],
        "offset": [("relu", "its biases are not those in floats")],
    }


def write_mobile(folder: Path, name: str, layer: str, *words: str, scale: float = 1.0) -> None:
    """A network whose `layer` has the first of `words` in floats, and the last in int8.

    `scale`: a factor on the scale by which it gives int8.
    """
    model = calibrated.mobile(0, blocks=1, width=8, side=12)
    changed = next(one for one in model.layers if one.name == layer)
    params = changed.params
    changed.params = f"{params} {words[0]}"
    inputs = [calibrated.noise(seed, 12) for seed in range(100, 103)]
    model.write(folder / name)
    scales = model.calibrated(inputs)
    changed.params = f"{params} {words[-1]}"
    spans = model.write_int8(folder / f"{name}-int8", scales)
    content = np.fromfile(folder / f"{name}-int8.bin", np.uint8)
    end = spans[model.layers.index(changed)][1]
    content[end - 4 : end].view(np.float32)[:] *= np.float32(scale)  # the last number of the layer
    content.tofile(folder / f"{name}-int8.bin")
    np.save(folder / "noise.npy", inputs[0])
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name), "utf-8")


def test_what_only_the_files_show(gate: Gate, pytester: pytest.Pytester) -> None:
    """Each costs so little that the layer's values alone would pass."""
    write_mobile(pytester.path, "healthy", "project0", "9=2 -23310=1,0.5", "9=2 -23310=1,5e-1")
    write_mobile(pytester.path, "activation", "project0", "9=2 -23310=1,0.9", "9=2 -23310=1,0.85")
    write_mobile(pytester.path, "padded", "depthwise0", "18=0", "18=0.05")
    write_mobile(pytester.path, "scale", "expand0", "", scale=1.05)
    headlines = red(gate("--ncnn-parity-fix=off"))
    ((layer, given),) = headlines.pop("scale")
    assert layer == "expand0"
    assert given.startswith("it gives int8 by ")
    assert ", depthwise0 reads it by " in given
    slopes = "ReLU with slope 0.9 in floats and ReLU with slope 0.85 in int8"
    assert headlines == {
        "healthy": [],
        "activation": [("project0", f"its activation is {slopes}")],
        "padded": [("depthwise0", "its pad_value (18=) is 0 in floats and 0.05 in int8")],
    }
