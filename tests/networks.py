"""Small networks for the tests, each with one thing about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from network import Network


def chain(folder: Path, layers: int = 4, name: str = "net") -> None:
    """An input of 8 values and a chain of cheap layers l1 ... lN."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    for i in range(1, layers + 1):
        x = net.layer("BinaryOp", f"l{i}", [x], params="0=0 1=1 2=0.25")
    net.write(folder / name)


def convolution(folder: Path, masks: str = "", name: str = "net") -> None:
    """Three 3x3 convolutions c1, c2, c3 on (8, 24, 24); `masks` is appended to c2's line."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=24 1=24 2=8")
    for i in (1, 2, 3):
        weights = [rng.normal(0, 0.1, (8, 8, 3, 3)), rng.normal(0, 0.1, 8)]
        params = "0=8 1=3 4=1 5=1 6=576" + (f" {masks}" if i == 2 and masks else "")
        x = net.layer("Convolution", f"c{i}", [x], params=params, weights=weights)
    net.write(folder / name)


def convolutions(folder: Path, layers: int, masks: Mapping[int, int], name: str = "net") -> None:
    """A chain of 1x1 convolutions c1 ... cN on (8, 4, 4); `masks` by layer."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=4 1=4 2=8")
    for i in range(1, layers + 1):
        weights = [np.eye(8) + rng.normal(0, 0.01, (8, 8)), np.zeros(8)]
        params = "0=8 1=1 5=1 6=64" + (f" 31={masks[i]}" if i in masks else "")
        x = net.layer("Convolution", f"c{i}", [x], params=params, weights=weights)
    net.write(folder / name)


def underflow(folder: Path, name: str = "net") -> None:
    """|x| + 1e-8 -> Split -> rsqrt, and the sum beside it: in fp16 1e-8 is 0 where x is."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    x = net.layer("ReLU", "relu", [x])
    x = net.layer("BinaryOp", "eps", [x], params="0=0 1=1 2=1e-08")
    a, b = net.split(x, 2)
    a = net.layer("UnaryOp", "rsqrt", [a], params="0=6")
    net.layer("BinaryOp", "join", [a, b], ["out0"], "0=0")
    net.write(folder / name)


def slow(folder: Path, name: str = "net", side: int = 256) -> None:
    """`quick`, then `slow`: a convolution that takes seconds, on one thread whatever the machine."""
    net = Network()
    x = net.layer("Input", "in0", params=f"0={side} 1={side} 2=8")
    x = net.layer("ReLU", "quick", [x])
    size = 128 * 8 * 31 * 31
    weights = [np.full(size, 1e-4), np.zeros(128)]
    net.layer("Convolution", "slow", [x], ["out0"], f"0=128 1=31 4=15 5=1 6={size} 31=128", weights)
    net.write(folder / name)


def winograd(folder: Path, name: str = "net") -> None:
    """A 3x3 convolution `conv` for winograd; its results are as large as its inputs."""
    net = Network()
    x = net.layer("Input", "in0", params="0=32 1=32 2=32")
    weights = [np.random.RandomState(0).normal(0, 1 / 17, (32, 32, 3, 3)), np.zeros(32)]
    x = net.layer("Convolution", "conv", [x], params="0=32 1=3 4=1 5=1 6=9216", weights=weights)
    net.layer("ReLU", "relu", [x], ["out0"])
    net.write(folder / name)


# 3x3 convolutions that ncnn's Vulkan backend computes by winograd: (outputs, size of the weights)
BY_WINOGRAD = ((16, 0.01), (18, 0.03), (32, 0.06))
# and others, which it does not, or not with these parameters
DIRECTLY = (
    ("few", 15, 3, ""),
    ("masked", 32, 3, "31=64"),
    ("strided", 32, 3, "3=2"),
    ("dilated", 32, 3, "2=2"),
    ("wide", 32, 5, ""),
)


def convolutions_side_by_side(folder: Path, side: int, name: str = "net") -> None:
    """Convolutions of one input of 32 x `side` x `side`, w0... by winograd and others that are not."""
    rng = np.random.RandomState(side)
    net = Network()
    x = net.layer("Input", "in0", params=f"0={side} 1={side} 2=32")
    taken = net.split(x, len(BY_WINOGRAD) + len(DIRECTLY))
    kinds = [
        *((f"w{i}", outputs, 3, "", size) for i, (outputs, size) in enumerate(BY_WINOGRAD)),
        *((*kind, 0.03) for kind in DIRECTLY),
    ]
    for (layer, outputs, kernel, further, size), blob in zip(kinds, taken, strict=True):
        count = outputs * 32 * kernel * kernel
        weights = [rng.normal(0, size, (outputs, 32, kernel, kernel)), np.zeros(outputs)]
        params = f"0={outputs} 1={kernel} 4={kernel // 2} 5=1 6={count} {further}".rstrip()
        net.layer("Convolution", layer, [blob], [f"out_{layer}"], params=params, weights=weights)
    net.write(folder / name)


def two_branches(folder: Path, name: str = "net") -> None:
    """One input, two ways: `big` squares it, `small` does not; each overflows only for large inputs."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    a, b = net.split(x, 2)
    a = net.layer("BinaryOp", "big", [a], params="0=2 1=1 2=1000.0")
    a = net.layer("BinaryOp", "back", [a], params="0=2 1=1 2=0.001")
    b = net.layer("BinaryOp", "huge", [b], params="0=2 1=1 2=30000.0")
    b = net.layer("BinaryOp", "down", [b], params="0=2 1=1 2=0.00003")
    x = net.layer("BinaryOp", "join", [a, b], params="0=0")
    net.layer("ReLU", "last", [x], ["out0"])
    net.write(folder / name)


def overflow_beside(folder: Path, operator: str, params: str, name: str = "net") -> None:
    """Two outputs: `up` overflows on the way to out0, for which masks are; `other` makes out1."""
    net = Network()
    a, b = net.split(net.layer("Input", "in0", params="0=16"), 2)
    a = net.layer("BinaryOp", "up", [a], params="0=2 1=1 2=30000.0")
    net.layer("BinaryOp", "down", [a], ["out0"], "0=2 1=1 2=0.00003")
    net.layer(operator, "other", [b], ["out1"], params)
    net.write(folder / name)


def depthwise(folder: Path, side: int, name: str = "net") -> None:
    """A 3x3 depthwise convolution `depthwise` with stride 2, of an input of 8 x `side` x `side`."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params=f"0={side} 1={side} 2=8")
    weights = [rng.normal(size=(8, 1, 3, 3)), rng.normal(size=8)]
    params = "0=8 1=3 3=2 4=1 5=1 6=72 7=8"
    net.layer("ConvolutionDepthWise", "depthwise", [x], ["out0"], params, weights)
    net.write(folder / name)


def grey(folder: Path, name: str = "net") -> None:
    """A 3x3 convolution `conv` with stride 2 and padding, of an input of one channel: in two
    dimensions, or in three.
    """
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0")
    weights = [rng.normal(size=(16, 1, 3, 3)), rng.normal(size=16)]
    net.layer("Convolution", "conv", [x], ["out0"], "0=16 1=3 3=2 4=1 5=1 6=144", weights)
    net.write(folder / name)


def drift(folder: Path, layers: int = 30, name: str = "net") -> None:
    """Layers that add 0.0004 to a 1: fp16's next value is 0.00098 away, so each adds nothing there."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    for i in range(1, layers + 1):
        x = net.layer("BinaryOp", f"add_{i}", [x], params="0=0 1=1 2=0.0004")
    net.layer("ReLU", "last", [x], ["out0"])
    net.write(folder / name)


def cancellation(folder: Path, name: str = "net") -> None:
    """1.001 x - x: what fp16 rounded off the first term is half of what the difference leaves."""
    net = Network()
    x = net.layer("Input", "in0", params="0=64")
    a, b = net.split(x, 2)
    a = net.layer("BinaryOp", "scale", [a], params="0=2 1=1 2=1.001")
    x = net.layer("BinaryOp", "subtract", [a, b], params="0=1")
    net.layer("ReLU", "last", [x], ["out0"])
    net.write(folder / name)


def spec(folder: Path, text: str, name: str = "net") -> Path:
    """Write NAME.parity.yaml for NAME.param; `text` follows the model's line."""
    path = folder / f"{name}.parity.yaml"
    path.write_text(f"model: {{param: {name}.param, bin: {name}.bin}}\n{text}", "utf-8")
    return path


def fed(folder: Path, text: str, **values: np.ndarray) -> Path:
    """The spec of net.param with a sample s that feeds these `values`, by input, from files."""
    files = []
    for name, array in values.items():
        np.save(folder / f"{name}.npy", np.asarray(array, np.float32))
        files.append(f"{name}: {{file: {name}.npy}}")
    return spec(folder, f"inputs: {{s: {{{', '.join(files)}}}}}\n{text}")


# the head of a detector of four anchors and one class, which reads (24, h, w)
FOUR_ANCHORS = (
    "0=1 1=4 2=0.6 3=0.45 -23304=8,32.0,32.0,48.0,24.0,24.0,48.0,64.0,64.0 "
    "-23305=4,0.0,1.0,2.0,3.0 -23306=1,4.0"
)
NOISE = "inputs:\n  noise: {in0: {random: normal}}\n"

# a layer's name in a .param: no blanks, anything else
HOSTILE = "a\x1b[31m\x07\u202e\u2028`|*<script>alert(1)</script>&\"'%0A::error::x##[error]@all]]>"
# of a spec: other.param and other.bin, run on the CPU, against the spec's own files
WITH_OTHER = (
    "compare: [{name: other, candidate: {device: cpu, model: {param: other.param, bin: other.bin}}}]\n"
)
