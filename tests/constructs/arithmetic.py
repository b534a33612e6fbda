"""Norms, activations, broadcasts, and what moves, joins, sums and cuts values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from quantized import to_int8

from constructs.construct import FLAG, Array, Draft, Fault, Table

TABLE = Table("arithmetic", [])


# -- norms ---------------------------------------------------------------------------------------------


def normalized(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + eps)


@TABLE.row()
def group_norm(net: Draft) -> dict[str, Array]:
    x, gamma, beta = net.feed(6, 5, 4), net.draw(6), net.draw(6)
    net.layer("GroupNorm", "norm", ["in0"], ["out0"], "0=2 1=6 2=1e-5", [gamma, beta], flagged=False)
    y = normalized(x.reshape(2, 3, 5, 4), (1, 2, 3), 1e-5).reshape(x.shape)
    return {"out0": y * gamma[:, None, None] + beta[:, None, None]}


@TABLE.row()
def instance_norm(net: Draft) -> dict[str, Array]:
    """With weights for each channel, and without."""
    x, gamma, beta = net.feed(4, 6, 5), net.draw(4), net.draw(4)
    a, b = net.split("in0", 2)
    net.layer("InstanceNorm", "affine", [a], ["out0"], "0=4 1=1e-5", [gamma, beta], flagged=False)
    net.layer("InstanceNorm", "plain", [b], ["out1"], "0=4 1=1e-5 2=0")
    y = normalized(x, (1, 2), 1e-5)
    return {"out0": y * gamma[:, None, None] + beta[:, None, None], "out1": y}


@TABLE.row()
def layer_norm_of_planes_and_rows(net: Draft) -> dict[str, Array]:
    x = net.feed(4, 6, 5)
    a, b = net.split("in0", 2)
    over_plane, over_row = [net.draw(2, 30), net.draw(2, 5)]
    net.layer("LayerNorm", "plane", [a], ["out0"], "0=30 1=1e-5", list(over_plane), flagged=False)
    net.layer("LayerNorm", "row", [b], ["out1"], "0=5 1=1e-5", list(over_row), flagged=False)
    gamma, beta = over_plane.reshape(2, 6, 5)
    planes = normalized(x, (1, 2), 1e-5) * gamma + beta
    return {"out0": planes, "out1": normalized(x, (2,), 1e-5) * over_row[0] + over_row[1]}


@TABLE.row()
def demodulated_weights(net: Draft) -> dict[str, Array]:
    """As StyleGAN2 scales weights: each by the reciprocal root of the sum of its squares."""
    x = net.feed(24, 16, 9)
    a, b = net.split("in0", 2)
    net.layer("UnaryOp", "square", [a], ["squares"], "0=4")
    net.layer("Reduction", "sum", ["squares"], ["sums"], "0=0 1=0 -23303=1,2 4=1 5=1")
    net.layer("BinaryOp", "eps", ["sums"], ["more"], "0=0 1=1 2=1e-8")
    net.layer("UnaryOp", "rsqrt", ["more"], ["factor"], "0=6")
    net.layer("BinaryOp", "scale", [b, "factor"], ["out0"], "0=2")
    return {"out0": x / np.sqrt((x**2).sum(2, keepdims=True) + 1e-8)}


# -- activations ---------------------------------------------------------------------------------------

Function = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


ACTIVATIONS: dict[str, tuple[str, Function]] = {
    "Swish": ("", lambda x: x * _sigmoid(x)),
    "GELU": ("", lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    "HardSwish": ("0=0.16666667 1=0.5", lambda x: x * (x / 6 + 0.5).clip(0, 1)),
    "HardSigmoid": ("0=0.16666667 1=0.5", lambda x: (x / 6 + 0.5).clip(0, 1)),
    "Mish": ("", lambda x: x * np.tanh(_softplus(x))),
    "ELU": ("0=0.7", lambda x: np.where(x < 0, 0.7 * np.expm1(x), x)),
    "SELU": ("", lambda x: 1.050700987 * np.where(x < 0, 1.673263242 * np.expm1(x), x)),
    "Softplus": ("", _softplus),
    "Clip": ("0=-1.0 1=1.5", lambda x: x.clip(-1, 1.5)),
    "ReLU": ("0=0.1", lambda x: np.where(x < 0, 0.1 * x, x)),
}


@TABLE.row()
def activations(net: Draft) -> dict[str, Array]:
    x = net.feed(3, 5, 6)
    copies = net.split("in0", len(ACTIVATIONS))
    for i, (kind, (params, _)) in enumerate(ACTIVATIONS.items()):
        net.layer(kind, kind.lower(), [copies[i]], [f"out{i}"], params)
    return {f"out{i}": function(x) for i, (_, function) in enumerate(ACTIVATIONS.values())}


@TABLE.row(since="1.0.20260114")  # before, what is near zero stays
def shrunk_towards_zero(net: Draft) -> dict[str, Array]:
    x = net.feed(3, 5, 6)
    net.layer("Shrink", "shrink", ["in0"], ["out0"], "0=0.25 1=0.5")
    return {"out0": np.where(abs(x) > 0.5, x - 0.25 * np.sign(x), 0.0)}


# -- several values ------------------------------------------------------------------------------------

BROADCASTS = {  # BinaryOp's number, shapes of what it gets, what it does
    "add": (0, (4, 5, 6), (4, 1, 1), np.add),
    "subtract": (1, (1, 5, 6), (4, 5, 6), np.subtract),
    "multiply": (2, (4, 1, 6), (4, 5, 1), np.multiply),
    "larger": (4, (5, 6), (5, 1), np.maximum),
    "less": (5, (4, 5, 6), (6,), np.minimum),
    "from": (7, (4, 3, 5, 6), (4, 1, 1, 1), lambda a, b: b - a),
}


@TABLE.row()
def broadcasts(net: Draft) -> dict[str, Array]:
    results = {}
    for i, (name, (number, first, second, function)) in enumerate(BROADCASTS.items()):
        a, b = net.feed(*first), net.feed(*second)
        net.layer("BinaryOp", name, [f"in{2 * i}", f"in{2 * i + 1}"], [f"out{i}"], f"0={number}")
        results[f"out{i}"] = function(a, b)
    return results


@TABLE.row()
def matrix_products(net: Draft) -> dict[str, Array]:
    """MatMul of stacks with one matrix and with a stack; the second transposed."""
    x, one, stack = net.feed(4, 5, 6), net.feed(6, 7), net.feed(4, 3, 6)
    a, b = net.split("in0", 2)
    net.layer("MatMul", "one", [a, "in1"], ["out0"])
    net.layer("MatMul", "stack", [b, "in2"], ["out1"], "0=1")
    return {"out0": x @ one, "out1": x @ stack.transpose(0, 2, 1)}


@TABLE.row()
def gemm_of_constants(net: Draft) -> dict[str, Array]:
    """A constant on the left, transposed, with a column that is added; and scaled on both sides."""
    x, a, c = net.feed(6, 5), net.draw(6, 4, size=0.5), net.draw(4)
    params = "0=0.5 1=2.0 2=1 4=1 6=1 7=4 9=6 10=1"
    net.layer("Gemm", "gemm", ["in0"], ["out0"], params, [a, FLAG, c])
    return {"out0": 0.5 * (a.T @ x + 2 * c[:, None])}


@TABLE.row()
def einsums(net: Draft) -> dict[str, Array]:
    """ncnn wants the letters of the result in order, from i on."""
    x, y, z = net.feed(4, 5, 6), net.feed(6, 3), net.feed(4, 5)
    a, b = net.split("in0", 2)
    for i, (equation, inputs) in enumerate({"ijl,lk->ijk": [a, "in1"], "jki,jk->i": [b, "in2"]}.items()):
        letters = ",".join(str(ord(letter)) for letter in equation)
        net.layer("Einsum", f"einsum{i}", inputs, [f"out{i}"], f"-23300={len(equation)},{letters}")
    return {"out0": np.einsum("ijl,lk->ijk", x, y), "out1": np.einsum("jki,jk->i", x, z)}


@TABLE.row()
def reductions_over_several_axes(net: Draft) -> dict[str, Array]:
    x = net.feed(4, 5, 6)
    copies = net.split("in0", 4)
    net.layer("Reduction", "mean", [copies[0]], ["out0"], "0=3 1=0 -23303=2,1,2 4=1 5=1")
    net.layer("Reduction", "largest", [copies[1]], ["out1"], "0=4 1=0 -23303=2,0,2 4=0 5=1")
    net.layer("Reduction", "l2", [copies[2]], ["out2"], "0=8 1=0 -23303=1,-1 4=0 5=1")
    net.layer("Reduction", "logsumexp", [copies[3]], ["out3"], "0=10 1=1 4=0 5=1")
    return {
        "out0": x.mean((1, 2), keepdims=True),
        "out1": x.max((0, 2)),
        "out2": np.sqrt((x**2).sum(-1)),
        "out3": np.log(np.exp(x).sum()).reshape(1),
    }


@TABLE.row()
def cumulative_sums(net: Draft) -> dict[str, Array]:
    x = net.feed(4, 5, 6)
    copies = net.split("in0", 3)
    for axis in range(3):
        net.layer("CumulativeSum", f"along{axis}", [copies[axis]], [f"out{axis}"], f"0={axis}")
    return {f"out{axis}": x.cumsum(axis) for axis in range(3)}


@TABLE.row()
def quantized_convolution(net: Draft) -> dict[str, Array]:
    """Quantize makes int8 of floats; a convolution multiplies int8 by int8 and gives floats."""
    x, weight, bias = net.feed(4, 5, 6), net.draw(8, 4, size=0.3), net.draw(8)
    scales = (127 / abs(weight).max(1)).astype(np.float32)
    steps = to_int8(weight, scales[:, None])
    net.layer("Quantize", "quantize", ["in0"], ["x"], "0=1", [np.array([40.0])], flagged=False)
    net.layer("Convolution", "conv", ["x"], ["out0"], "0=8 1=1 5=1 6=32 8=2")
    net.int8_weights(steps, [bias, scales, np.array([40.0])])
    y = np.tensordot(steps.astype(float), to_int8(x, 40.0).astype(float), 1)
    return {"out0": y / (40 * scales[:, None, None].astype(float)) + bias[:, None, None]}


@TABLE.row(
    fault=Fault(
        "dequantize",
        "fp16-vs-fp32-vulkan",
        "storage-overflow",
        "1.0.20260114",
        "red in fp16 on Vulkan: ncnn casts the integers to fp16 as if they were floats; a mask fixes it",
    )
)
def dequantized_sums(net: Draft) -> dict[str, Array]:
    """Sums of products in int8, integers of 32 bits, with a scale and a bias for each channel."""
    sums = net.feed(values=net.uniform(4, 5, 6, low=-9000, high=9000).astype(int))
    scales, bias = net.uniform(4, low=2e-4, high=5e-4), net.draw(4)
    net.layer("Dequantize", "dequantize", ["in0"], ["out0"], "0=4 1=4", [scales, bias], flagged=False)
    return {"out0": sums * scales[:, None, None] + bias[:, None, None]}


# -- values moved --------------------------------------------------------------------------------------


@TABLE.row()
def slices_and_joins(net: Draft) -> dict[str, Array]:
    """Two uneven slices of blobs of four dimensions, joined in another order along another axis."""
    x = net.feed(5, 4, 6, 3)
    net.layer("Slice", "slice", ["in0"], ["a", "b"], "-23300=2,3,-233 1=2")
    net.layer("Concat", "concat", ["b", "a"], ["joined"], "0=2")
    net.layer("Permute", "permute", ["joined"], ["out0"], "0=1")
    y = np.concatenate([x[:, :, 3:], x[:, :, :3]], 2)
    return {"out0": y.transpose(0, 1, 3, 2)}


@TABLE.row()
def crop_to_the_size_of_another(net: Draft) -> dict[str, Array]:
    x, _ = net.feed(5, 8, 9), net.feed(3, 4, 5)
    net.layer("Crop", "crop", ["in0", "in1"], ["out0"], "0=2 1=3 2=1")
    return {"out0": x[1:4, 3:7, 2:7]}


@TABLE.row()
def borders(net: Draft) -> dict[str, Array]:
    """Mirrored, repeated, and a value for each channel."""
    x, values = net.feed(3, 5, 6), net.draw(3)
    copies = net.split("in0", 3)
    sides = "0=2 1=1 2=3 3=2"
    net.layer("Padding", "mirror", [copies[0]], ["out0"], f"{sides} 4=2")
    net.layer("Padding", "repeat", [copies[1]], ["out1"], f"{sides} 4=1")
    net.layer("Padding", "value", [copies[2]], ["out2"], f"{sides} 4=0 6=3", [values], flagged=False)
    border = ((0, 0), (2, 1), (3, 2))
    filled = [np.pad(x[c], border[1:], constant_values=values[c]) for c in range(3)]
    return {
        "out0": np.pad(x, border, "reflect"),
        "out1": np.pad(x, border, "edge"),
        "out2": np.array(filled),
    }


@TABLE.row()
def copies(net: Draft) -> dict[str, Array]:
    """CopyTo lays one blob into another; Tile repeats along two axes."""
    x, part = net.feed(4, 6, 7), net.feed(2, 3, 4)
    net.layer("CopyTo", "copy", ["in0", "in1"], ["x"], "0=2 1=1 2=1")
    net.layer("Tile", "tile", ["x"], ["out0"], "-23302=3,1,2,3")
    y = x.copy()
    y[1:3, 1:4, 2:6] = part
    return {"out0": np.tile(y, (1, 2, 3))}


@TABLE.row(since="1.0.20250916")
def flips(net: Draft) -> dict[str, Array]:
    x = net.feed(3, 4, 5, 6)
    net.layer("Flip", "flip", ["in0"], ["out0"], "-23300=2,1,-1")
    return {"out0": x[:, ::-1, :, ::-1]}


# -- sound ---------------------------------------------------------------------------------------------


def hann(length: int) -> Array:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def frames(x: Array, length: int, hop: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, length)[::hop]


@TABLE.row(since="1.0.20241226")
def spectrograms(net: Draft) -> dict[str, Array]:
    """Of power, mirrored at the ends; then complex, without; each with a window of Hann's."""
    x = net.feed(64)
    a, b = net.split("in0", 2)
    net.layer("Spectrogram", "power", [a], ["out0"], "0=16 1=2 2=4 4=1")
    net.layer("Spectrogram", "complex", [b], ["out1"], "0=16 1=0 2=8 4=1 5=0 7=1")
    power = np.fft.rfft(frames(np.pad(x, 8, "reflect"), 16, 4) * hann(16))
    plain = np.fft.rfft(frames(x, 16, 8) * hann(16)) / 4
    return {"out0": (abs(power) ** 2).T, "out1": np.stack([plain.T.real, plain.T.imag], -1)}


@TABLE.row(since="1.0.20241226")
def sound_from_a_spectrogram(net: Draft) -> dict[str, Array]:
    """What Spectrogram takes apart InverseSpectrogram puts together."""
    x = net.feed(64)
    net.layer("Spectrogram", "there", ["in0"], ["x"], "0=16 1=0 2=4 4=1")
    net.layer("InverseSpectrogram", "back", ["x"], ["out0"], "0=16 1=1 2=4 4=1")
    return {"out0": x}
