"""Networks in int8 as ncnn2int8 writes them (tools/quantize), made from seeds with its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from network import Network

INT8_WEIGHTS = np.array([0x000D4B38], np.uint32)  # the flag in front of int8 weights (src/modelbin.cpp)
IN, INNER, LAST = 40.0, 60.0, 50.0  # scales of the values between layers: 127 is 3.2, 2.1 and 2.5


def to_int8(values: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """As src/layer/quantize.cpp rounds: halves away from zero, to -127..127."""
    scaled = values * scale
    return np.clip(np.trunc(scaled + np.copysign(0.5, scaled)), -127, 127).astype(np.int8)


class QuantizedNetwork(Network):
    """A `Network` that has int8 layers as well."""

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

        `weights` stand as (outputs, ...), in floats. `gives`: the scale of its output, which is then
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
        one = kind == "ConvolutionDepthWise" and term == 2
        self._weights += [INT8_WEIGHTS, np.pad(quantized.ravel(), (0, -quantized.size % 4)), bias]
        self._weights.append(scales[:1] if one else scales)
        self._weights.append(np.array([scale] if gives is None else [scale, gives], np.float32))
        return (outputs or [name])[0]


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
) -> None:
    """Convolution, ConvolutionDepthWise, Convolution in int8 with int8 between them, from (3, 16, 16).

    Behind the first stands what `between` names. `terms` are those of the first two.
    """
    random = np.random.RandomState(0)
    net = QuantizedNetwork()
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
