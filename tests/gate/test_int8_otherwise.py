"""A candidate in int8 that has other operators than the model in floats."""

from __future__ import annotations

from pathlib import Path

import calibrated
import numpy as np
import pytest
from calibrated import Model, Wrong
from conftest import Gate
from int8_specs import SPEC, red, write_int8
from quantized import QuantizedNetwork

pytestmark = pytest.mark.once
SIDE, WIDTH = 8, 8


def write_merged(folder: Path, name: str, wrong: dict[str, Wrong]) -> None:
    """Factors of the channels in front, and a block of three branches; in int8 all is folded."""
    random = np.random.RandomState(0)
    first, wide, point, last = (
        random.normal(0, deviation, shape).astype(np.float32)
        for deviation, shape in (
            (0.2, (WIDTH, 3, 3, 3)),
            (0.15, (WIDTH, WIDTH, 3, 3)),
            (0.3, (WIDTH, WIDTH, 1, 1)),
            (0.3, (4, WIDTH, 1, 1)),
        )
    )
    gains, of_input = np.array([0.25, 1.0, 4.0], np.float32), f"0={SIDE} 1={SIDE} 2=3"
    biases = random.normal(0, 0.2, (3, WIDTH)).astype(np.float32)
    words = {
        "first": "0=8 1=3 4=1 5=1 6=216",
        "wide": "0=8 1=3 4=1 5=1 6=576",
        "last": "0=4 1=1 5=1 6=32",
    }
    net, none = calibrated.Counting(), np.zeros(4, np.float32)
    x = net.layer("Input", "in0", params=of_input)
    net.layer("MemoryData", "by", params="0=1 1=1 2=3", weights=[gains], flagged=False)
    x = net.layer("BinaryOp", "norm", [x, "by"], params="0=2")
    x = net.layer("Convolution", "first", [x], params=words["first"], weights=[first, biases[0]])
    a, b, c = net.split(x, 3)
    a = net.layer("Convolution", "wide", [a], params=words["wide"], weights=[wide, biases[1]])
    b = net.layer("Convolution", "point", [b], params="0=8 1=1 5=1 6=64", weights=[point, biases[2]])
    x = net.layer("BinaryOp", "one", [a, b], params="0=0")
    x = net.layer("BinaryOp", "two", [x, c], params="0=0")
    x = net.layer("ReLU", "relu", [x])
    net.layer("Convolution", "last", [x], ["out0"], words["last"], [last, none])
    net.write(folder / name)
    merged = wide.copy()
    merged[:, :, 1, 1] += point[:, :, 0, 0] + np.eye(WIDTH, dtype=np.float32)
    model = Model()
    model.add("Input", "in0", params=of_input)
    model.add("Convolution", "first", ["in0"], words["first"], first * gains[:, None, None], biases[0])
    of_merged = f"{words['wide']} 9=1"
    model.add("Convolution", "merged", ["first"], of_merged, merged, biases[1] + biases[2], ["relu"])
    model.add("Convolution", "last", ["relu"], words["last"], last, none, ["out0"])
    inputs = [np.random.RandomState(seed).normal(0, 1, (3, SIDE, SIDE)) for seed in range(3)]
    write_int8(folder, name, model, inputs, wrong)


def test_what_is_folded_into_weights_from_in_front_and_beside_is_known(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    write_merged(pytester.path, "healthy", {})
    write_merged(pytester.path, "behind", {"first": Wrong(("channel",), 1.3)})
    write_merged(pytester.path, "merged", {"merged": Wrong(("channel",), 1.3)})
    write_merged(pytester.path, "offset", {"merged": Wrong(("bias",), 1.0)})
    assert red(gate("--ncnn-parity-fix=off")) == {
        "healthy": [],
        "behind": [("first", "its weights are not those in floats")],
        "merged": [("relu", "its weights are not those in floats")],
        "offset": [("relu", "its biases are not those in floats")],
    }


def write_activation(folder: Path, name: str, wrong: dict[str, float]) -> None:
    """x * HardSigmoid(x) between products; in int8, of which the first is, x * relu6(x + 3) / 6.

    `wrong`: by product, a factor of some rows of its weights.
    """
    random = np.random.RandomState(1)
    rows = {layer: random.normal(0, 0.5, (8, 8)) for layer in ("up", "down")}
    bias = np.linspace(-0.2, 0.3, 8)
    words = "0=8 1=1 2=64"
    net = calibrated.Counting()
    x = net.layer("Input", "in0", params="0=8")
    a, b = net.split(net.layer("InnerProduct", "up", [x], params=words, weights=[rows["up"], bias]), 2)
    a = net.layer("HardSigmoid", "gate", [a], params="0=0.16666667 1=0.5")
    x = net.layer("BinaryOp", "mul", [b, a], params="0=2")
    x = net.layer("InnerProduct", "down", [x], params=words, weights=[rows["down"], bias])
    net.layer("InnerProduct", "last", [x], ["out0"], words, [rows["up"], bias])
    net.write(folder / name)
    other = QuantizedNetwork()
    x = other.layer("Input", "in0", params="0=8")
    used = {layer: own.copy() for layer, own in rows.items()}
    for layer, factor in wrong.items():
        used[layer][2:5] *= factor
    a, b = other.split(other.int8("InnerProduct", "up", x, used["up"], "", 40.0), 2)
    a = other.layer("BinaryOp", "plus", [a], params="0=0 1=1 2=3")
    a = other.layer("Clip", "clip", [a], params="0=0 1=6")
    x = other.layer("BinaryOp", "mul", [b, a], params="0=2")
    x = other.layer("BinaryOp", "sixth", [x], params="0=3 1=1 2=6")
    x = other.layer("InnerProduct", "down", [x], params=words, weights=[used["down"], bias])
    other.layer("InnerProduct", "last", [x], ["out0"], words, [rows["up"], bias])
    other.write(folder / f"{name}-int8")
    np.save(folder / "noise.npy", random.normal(0, 1, 8).astype(np.float32))
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name), "utf-8")


def test_what_is_written_otherwise_beside_a_layer_in_int8_is_no_difference(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    write_activation(pytester.path, "healthy", {})
    write_activation(pytester.path, "first", {"up": 1.3})
    write_activation(pytester.path, "second", {"down": 1.3})
    run = gate("--ncnn-parity-fix=off")
    assert {name: [layer for layer, _ in layers] for name, layers in red(run).items()} == {
        "healthy": [],
        "first": ["up"],
        "second": ["down"],
    }
    mul = next(c for m in run.report["models"] for c in m["cases"] if c["layer"] == "mul")
    assert mul["message"].endswith("sixth (BinaryOp) there gives what mul gives here")
