"""Networks in int8 as ncnn2int8 writes them (tools/quantize), made from seeds with its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from network import Network
from networks import FOUR_ANCHORS

from pytest_ncnn_parity.network import weight_tags

INT8_WEIGHTS = np.array([weight_tags.INT8], np.uint32)
IN, INNER, LAST = 40.0, 60.0, 50.0  # scales of the values between layers: 127 is 3.2, 2.1 and 2.5


def to_int8(values: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """As src/layer/quantize.cpp rounds: halves away from zero, to -127..127."""
    scaled = values * scale
    return np.clip(np.trunc(scaled + np.copysign(0.5, scaled)), -127, 127).astype(np.int8)


FAULTS = ("channel", "weight_scale", "input_scale", "output_scale")


@dataclass(frozen=True)
class Fault:
    """In the int8 layer so named: a channel's weights are wrong by 10 %, or a scale by a factor of 4.

    `dead`: a channel's weights are 0 and their scale is inf, as ncnn2table writes it. `saturated`: the
    same as x86 quantizes it, 0 * inf cast to -127. `silent`: the scale of its input is inf. `lost`: it
    is nan. `unscaled`: the scale of a channel's weights is nan.
    """

    kind: str
    layer: str
    channel: int


class QuantizedNetwork(Network):
    """A `Network` that has int8 layers as well, one of them with a `fault`."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self._fault = fault

    def int8(
        self,
        kind: str,
        name: str,
        blob: str,
        weights: np.ndarray,
        params: str,
        scale: float,
        gives: float | None = None,
        term: int = 2,
        outputs: list[str] | None = None,
    ) -> str:
        """A layer of type `kind` that quantizes its input by `scale`; returns its output.

        `weights` are (outputs, ...), in floats. `gives`: the scale of its output, which is then
        int8. `term` 1 is what ncnn2int8 writes for ConvolutionDepthWise; 2 has one scale for all groups
        there.
        """
        count = len(weights)
        largest = np.abs(weights).reshape(count, -1).max(1)
        if kind == "ConvolutionDepthWise" and term == 2:
            largest = np.full(count, largest.max())
        scales = (127.0 / largest).astype(np.float32)
        quantized = to_int8(weights, scales.reshape(count, *[1] * (weights.ndim - 1)))
        bias = np.linspace(-0.2, 0.3, count, dtype=np.float32)
        size, biased = ("2", "1") if kind == "InnerProduct" else ("6", "5")
        given = term if gives is None else term + 100
        words = f"0={count} {params} {biased}=1 {size}={weights.size} 8={given}"
        self.layer(kind, name, [blob], outputs, words)
        own = np.array([scale] if gives is None else [scale, gives], np.float32)
        if self._fault is not None and self._fault.layer == name:
            self._spoil(quantized, scales, own)
        one = kind == "ConvolutionDepthWise" and term == 2
        self._weights += [INT8_WEIGHTS, np.pad(quantized.ravel(), (0, -quantized.size % 4)), bias]
        self._weights += [scales[:1] if one else scales, own]
        return (outputs or [name])[0]

    def _spoil(self, weights: np.ndarray, scales: np.ndarray, own: np.ndarray) -> None:
        kind, channel = self._fault.kind, self._fault.channel
        if kind == "channel":
            weights[channel] = np.round(0.9 * weights[channel])
        elif kind == "dead":
            weights[channel], scales[channel] = 0, np.inf
        elif kind == "saturated":
            weights[channel], scales[channel] = -127, np.inf
        elif kind == "silent":
            own[0] = np.inf
        elif kind == "lost":
            own[0] = np.nan
        elif kind == "unscaled":
            scales[channel] = np.nan
        elif kind == "weight_scale":
            scales[channel] *= 4
        else:
            own[FAULTS.index(kind) - 2] *= 4


Between = Callable[[QuantizedNetwork, str, int], str]


def _relu(net: QuantizedNetwork, x: str, channels: int) -> str:
    return net.layer("ReLU", "relu", [x])


def _split(net: QuantizedNetwork, x: str, channels: int) -> str:
    """Both copies are read by layers that quantize, as ncnn2int8 wants it."""
    a, b = net.split(x, 2)
    weights = np.random.RandomState(9).normal(0, 0.3, (8, channels, 1, 1))
    net.int8("Convolution", "beside", b, weights, "1=1", INNER, outputs=["out1"])
    return a


def _concat(net: QuantizedNetwork, x: str, channels: int) -> str:
    a, b = net.split(x, 2)
    return net.layer("Concat", "concat", [a, b], params="0=0")


def _padding(net: QuantizedNetwork, x: str, channels: int) -> str:
    return net.layer("Padding", "padding", [x], params="0=1 1=1 2=1 3=1")


def _several(net: QuantizedNetwork, x: str, channels: int) -> str:
    """Four layers in a row that hand int8 on."""
    a, b = net.split(net.layer("ReLU", "relu", [x]), 2)
    x = net.layer("Concat", "concat", [a, b], params="0=0")
    return net.layer("Dropout", "dropout", [x])


BETWEEN: dict[str, Between | None] = {
    "nothing": None,
    "relu": _relu,
    "split": _split,
    "concat": _concat,
    "padding": _padding,
    "several": _several,
}


def chain(
    folder: Path,
    between: str = "nothing",
    channels: int = 8,
    terms: tuple[int, int] = (2, 1),
    name: str = "net",
    fault: Fault | None = None,
) -> None:
    """Convolution, ConvolutionDepthWise, Convolution in int8 with int8 between them, from (3, 16, 16).

    The layers that `between` names are behind the first. `terms` are those of the first two.
    """
    random = np.random.RandomState(0)
    net = QuantizedNetwork(fault)
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    weights = random.normal(0, 0.2, (channels, 3, 3, 3))
    x = net.int8("Convolution", "conv1", x, weights, "1=3 4=1 9=1", IN, INNER, terms[0])
    make = BETWEEN[between]
    wide = channels
    if make is not None:
        x = make(net, x, channels)
        wide *= 2 if between in ("concat", "several") else 1
    weights = random.normal(0, 0.3, (wide, 1, 3, 3))
    depthwise = f"1=3 4=1 7={wide} 9=1"
    x = net.int8("ConvolutionDepthWise", "depthwise", x, weights, depthwise, INNER, LAST, terms[1])
    weights = random.normal(0, 0.2, (channels, wide, 1, 1))
    net.int8("Convolution", "conv2", x, weights, "1=1", LAST, outputs=["out0"])
    net.write(folder / name)


def classifier(folder: Path, name: str = "net") -> None:
    """A Convolution that gives int8, a Flatten of it, and an InnerProduct in int8."""
    random = np.random.RandomState(1)
    net = QuantizedNetwork()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    weights = random.normal(0, 0.2, (8, 3, 4, 4))
    x = net.int8("Convolution", "conv1", x, weights, "1=4 3=4 9=1", IN, INNER)
    x = net.layer("Flatten", "flatten", [x])
    net.int8("InnerProduct", "classes", x, random.normal(0, 0.1, (10, 128)), "", INNER, outputs=["out0"])
    net.write(folder / name)


def concat_of_two(folder: Path, name: str = "net") -> None:
    """An int8 value, joined with what a convolution makes of it in int8, and read by another."""
    random = np.random.RandomState(2)
    net = QuantizedNetwork()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    weights = random.normal(0, 0.2, (8, 3, 3, 3))
    x = net.int8("Convolution", "conv1", x, weights, "1=3 4=1 9=1", IN, INNER)
    a, b = net.split(x, 2)
    b = net.int8("Convolution", "conv2", b, random.normal(0, 0.2, (8, 8, 1, 1)), "1=1", INNER, INNER)
    x = net.layer("Concat", "concat", [a, b], params="0=0")
    weights = random.normal(0, 0.2, (4, 16, 1, 1))
    net.int8("Convolution", "conv3", x, weights, "1=1", INNER, outputs=["out0"])
    net.write(folder / name)


def deep(
    folder: Path,
    seed: int,
    blocks: int = 12,
    requantized: bool = True,
    name: str = "net",
    fault: Fault | None = None,
    second_head: bool = False,
) -> None:
    """Inverted residual blocks in int8, as a mobile network has them, from (3, 48, 48).

    `second_head`: a TanH in floats, "out1", reads what the head reads.
    """
    random = np.random.RandomState(seed)
    net = QuantizedNetwork(fault)
    _blocks(net, random, blocks, requantized)
    weights = random.normal(0, 0.2, (24, 16, 1, 1))
    pool, other = net.split("pool", 2) if second_head else ("pool", "")
    net.int8("Convolution", "head", pool, weights, "1=1", SIX, outputs=["out0"])
    if second_head:
        net.layer("TanH", "bounded", [other], ["out1"])
    net.write(folder / name)


def detector(folder: Path, seed: int, blocks: int = 3, fault: Fault | None = None) -> None:
    """The same blocks with a head of four anchors, which lists a dozen boxes of one class."""
    random = np.random.RandomState(seed)
    net = QuantizedNetwork(fault)
    _blocks(net, random, blocks, requantized=True)
    weights = random.normal(0, 0.15, (24, 16, 1, 1))
    net.int8("Convolution", "head", "pool", weights, "1=1", SIX)
    net.layer("Yolov3DetectionOutput", "boxes", ["head"], ["out0"], FOUR_ANCHORS)
    net.write(folder / "net")


SIX = 127.0 / 6.0  # the scale of values up to 6


def _blocks(
    net: QuantizedNetwork, random: np.random.RandomState, blocks: int, requantized: bool
) -> None:
    """From (3, 48, 48) to "pool", (16, 12, 12). Every block is added to what it read, in floats.

    Convolutions that are read by int8 alone give int8 where `requantized`.
    """
    gives = SIX if requantized else None

    def conv(blob: str, name: str, shape: tuple[int, ...], params: str, gives: float | None) -> str:
        kind = "ConvolutionDepthWise" if shape[1] == 1 else "Convolution"
        # of this variance values keep theirs behind a ReLU
        weights = random.normal(0, (2.0 / np.prod(shape[1:])) ** 0.5, shape)
        return net.int8(kind, name, blob, weights, params, SIX, gives, 1 if shape[1] == 1 else 2)

    x = net.layer("Input", "in0", params="0=48 1=48 2=3")
    x = conv(x, "stem", (16, 3, 3, 3), "1=3 3=2 4=1 9=1", None)
    for i in range(blocks):
        a, b = net.split(x, 2)
        y = conv(a, f"expand{i}", (48, 16, 1, 1), "1=1 9=1", gives)
        y = conv(y, f"depthwise{i}", (48, 1, 3, 3), "1=3 4=1 7=48 9=1", gives)
        y = conv(y, f"project{i}", (16, 48, 1, 1), "1=1", None)
        x = net.layer("BinaryOp", f"add{i}", [b, y], params="0=0")
        x = net.layer("BinaryOp", f"half{i}", [x], params="0=2 1=1 2=0.7")
    net.layer("Pooling", "pool", [x], params="0=1 1=2 2=2")


def overflow(folder: Path, name: str = "net") -> None:
    """Values beyond fp16 between a convolution in int8 and a chain in int8."""
    random = np.random.RandomState(3)
    net = QuantizedNetwork()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    x = net.int8("Convolution", "conv1", x, random.normal(0, 0.2, (8, 3, 3, 3)), "1=3 4=1 9=1", IN)
    x = net.layer("BinaryOp", "large", [x], params="0=2 1=1 2=60000.0")
    x = net.layer("BinaryOp", "small", [x], params="0=3 1=1 2=60000.0")
    x = net.int8("Convolution", "conv2", x, random.normal(0, 0.2, (8, 8, 1, 1)), "1=1 9=1", INNER, LAST)
    net.int8(
        "Convolution", "conv3", x, random.normal(0, 0.2, (8, 8, 3, 3)), "1=3 4=1", LAST, outputs=["out0"]
    )
    net.write(folder / name)
