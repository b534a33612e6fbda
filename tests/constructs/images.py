"""Convolutions and their variants, and layers that resize or rearrange pictures."""

from __future__ import annotations

from itertools import product

import numpy as np

from constructs.construct import Array, Draft, Table

TABLE = Table("images", [])


def windows(x: Array, kernel: tuple[int, ...], stride: int = 1, dilation: int = 1) -> Array:
    """(channels, *space) as (channels, *positions, *kernel)."""
    extent = [dilation * (k - 1) + 1 for k in kernel]
    view = np.lib.stride_tricks.sliding_window_view(x, extent, tuple(range(1, x.ndim)))
    near = [slice(None, None, stride)] * len(kernel)
    return view[(slice(None), *near, *[slice(None, None, dilation)] * len(kernel))]


def padded(x: Array, pad: int) -> Array:
    return np.pad(x, [(0, 0)] + [(pad, pad)] * (x.ndim - 1))


def convolve(x: Array, weight: Array, bias: Array, stride: int = 1, dilation: int = 1) -> Array:
    """`weight` is (outputs, inputs, *kernel), in as many dimensions of space as x has."""
    n = x.ndim - 1
    seen = windows(x, weight.shape[2:], stride, dilation)
    summed = [0, *range(n + 1, 2 * n + 1)], list(range(1, n + 2))
    moved = np.tensordot(seen, weight, summed)  # positions, then outputs
    return np.moveaxis(moved, -1, 0) + bias.reshape(-1, *[1] * n)


def deconvolve(x: Array, weight: Array, bias: Array, stride: int, pad: int, output_pad: int) -> Array:
    """`weight` is (outputs, inputs, kernel, kernel), for each value a stamp in the output."""
    out, _, kernel, _ = weight.shape
    height, width = ((side - 1) * stride + kernel + output_pad for side in x.shape[1:])
    y = np.zeros((out, height, width))
    for i, j in product(range(x.shape[1]), range(x.shape[2])):
        stamp = np.tensordot(weight, x[:, i, j], (1, 0))
        y[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel] += stamp
    return y[:, pad : height - pad, pad : width - pad] + bias[:, None, None]


# -- convolutions --------------------------------------------------------------------------------------


@TABLE.row()
def dilated_convolution(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(3, 11, 9), net.draw(4, 3, 3, 3, size=0.3), net.draw(4)
    net.layer("Convolution", "conv", ["in0"], ["out0"], "0=4 1=3 2=2 3=2 4=2 5=1 6=108", [w, b])
    return {"out0": convolve(padded(x, 2), w, b, 2, 2)}


@TABLE.row()
def grouped_convolution(net: Draft) -> dict[str, Array]:
    """Two groups of other widths before and behind; then a PReLU with a slope for each channel."""
    x, w, b, slope = net.feed(6, 8, 7), net.draw(4, 3, 3, 3, size=0.3), net.draw(4), net.draw(4)
    net.layer("ConvolutionDepthWise", "conv", ["in0"], ["x"], "0=4 1=3 4=1 5=1 6=108 7=2", [w, b])
    net.layer("PReLU", "prelu", ["x"], ["out0"], "0=4", [slope], flagged=False)
    halves = [convolve(padded(x[3 * g :][:3], 1), w[2 * g :][:2], b[2 * g :][:2]) for g in (0, 1)]
    y = np.concatenate(halves)
    return {"out0": np.where(y < 0, slope[:, None, None] * y, y)}


@TABLE.row()
def convolution_with_given_weights(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(3, 8, 7), net.feed(4, 3, 3, 3), net.feed(4)
    net.layer("Convolution", "conv", list(net.inputs), ["out0"], "0=4 1=3 4=1 5=1 6=108 19=1")
    return {"out0": convolve(padded(x, 1), w, b)}


@TABLE.row()
def convolution_in_time(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(3, 16), net.draw(4, 3, 5, size=0.3), net.draw(4)
    net.layer("Convolution1D", "conv", ["in0"], ["x"], "0=4 1=5 3=2 4=2 5=1 6=60", [w, b])
    net.layer("Pooling1D", "pool", ["x"], ["out0"], "0=0 1=2 2=2")
    y = convolve(padded(x, 2), w, b, 2)
    return {"out0": windows(y, (2,), 2).max(-1)}


@TABLE.row()
def convolution_in_space(net: Draft) -> dict[str, Array]:
    """Blobs of four dimensions: convolution, pooling by means and by the largest."""
    x, w, b = net.feed(3, 6, 8, 7), net.draw(4, 3, 3, 3, 3, size=0.2), net.draw(4)
    net.layer("Convolution3D", "conv", ["in0"], ["x"], "0=4 1=3 4=1 5=1 6=324", [w, b])
    first, second = net.split("x", 2)
    net.layer("Pooling3D", "means", [first], ["out0"], "0=1 1=2 2=2 5=1")
    net.layer("Pooling3D", "largest", [second], ["out1"], "0=0 1=2 2=1 5=1")
    y = convolve(padded(x, 1), w, b)
    axes = (-3, -2, -1)
    return {
        "out0": windows(y, (2, 2, 2), 2).mean(axes),
        "out1": windows(y, (2, 2, 2)).max(axes),
    }


@TABLE.row()
def deconvolution_with_output_padding(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(3, 5, 4), net.draw(4, 3, 3, 3, size=0.3), net.draw(4)
    net.layer("Deconvolution", "deconv", ["in0"], ["out0"], "0=4 1=3 3=2 4=1 5=1 6=108 18=1", [w, b])
    return {"out0": deconvolve(x, w, b, 2, 1, 1)}


@TABLE.row()
def deconvolution_by_channel(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(4, 5, 4), net.draw(4, 1, 4, 4, size=0.3), net.draw(4)
    params = "0=4 1=4 3=2 4=1 5=1 6=64 7=4"
    net.layer("DeconvolutionDepthWise", "deconv", ["in0"], ["out0"], params, [w, b])
    rows = [deconvolve(x[c : c + 1], w[c : c + 1], b[c : c + 1], 2, 1, 0) for c in range(4)]
    return {"out0": np.concatenate(rows)}


@TABLE.row()
def deformable_convolution(net: Draft) -> dict[str, Array]:
    """Each tap is moved by offsets of a part of a pixel, and weighed by a mask."""
    x, w, b = net.feed(3, 7, 6), net.draw(4, 3, 3, 3, size=0.3), net.draw(4)
    offset = net.feed(values=net.uniform(18, 7, 6, low=-1, high=1))
    mask = net.feed(values=net.uniform(9, 7, 6, low=0, high=1))
    net.layer("DeformableConv2D", "conv", list(net.inputs), ["out0"], "0=4 1=3 4=1 5=1 6=108", [w, b])
    y = np.zeros((4, 7, 6)) + b[:, None, None]
    rows, columns = np.mgrid[:7, :6].astype(float)
    for tap, (i, j) in enumerate(product(range(3), range(3))):
        row, column = rows - 1 + i + offset[2 * tap], columns - 1 + j + offset[2 * tap + 1]
        y += np.tensordot(w[:, :, i, j], bilinear(x, row, column) * mask[tap], 1)
    return {"out0": y}


# -- resampling ----------------------------------------------------------------------------------------


def bilinear(x: Array, row: Array, column: Array) -> Array:
    """Values of x (channels, height, width) between its pixels; outside there are zeros."""
    height, width = x.shape[1:]
    total = 0.0
    for i, j in product((0, 1), (0, 1)):
        y, z = np.floor(row).astype(int) + i, np.floor(column).astype(int) + j
        share = (1 - abs(row - y)) * (1 - abs(column - z))
        inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
        total = total + x[:, y.clip(0, height - 1), z.clip(0, width - 1)] * share * inside
    return np.asarray(total)


@TABLE.row()
def grid_sample(net: Draft) -> dict[str, Array]:
    """Bilinear, zeros outside; then the nearest pixel, the edge outside, corners aligned."""
    x = net.feed(3, 6, 7)
    grid = net.feed(values=net.uniform(4, 5, 2, low=-1.2, high=1.2))
    x1, x2 = net.split("in0", 2)
    g1, g2 = net.split("in1", 2)
    net.layer("GridSample", "between", [x1, g1], ["out0"], "0=1 1=1 2=0")
    net.layer("GridSample", "nearest", [x2, g2], ["out1"], "0=2 1=2 2=1")
    between = bilinear(x, ((grid[..., 1] + 1) * 6 - 1) / 2, ((grid[..., 0] + 1) * 7 - 1) / 2)
    row, column = (grid[..., 1] + 1) / 2 * 5, (grid[..., 0] + 1) / 2 * 6
    nearest = x[:, np.rint(row).clip(0, 5).astype(int), np.rint(column).clip(0, 6).astype(int)]
    return {"out0": between, "out1": nearest}


def cubic(t: Array) -> Array:
    """Keys' kernel with a = -0.75, as PyTorch has it."""
    a, t = -0.75, abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def stretch(old: int, new: int, kernel: str, aligned: bool = False) -> Array:
    """(new, old): how much each old pixel gives to each new one; the edge goes on outside."""
    at = np.arange(new) * (old - 1) / (new - 1) if aligned else (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for i, place in enumerate(at):
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            distance = np.array(place - tap)
            share = cubic(distance) if kernel == "cubic" else np.maximum(0, 1 - abs(distance))
            matrix[i, min(max(tap, 0), old - 1)] += share
    return matrix


@TABLE.row()
def interp_to_the_size_of_another(net: Draft) -> dict[str, Array]:
    """Nearest, bilinear and bicubic: the size is that of a second input."""
    x, _ = net.feed(3, 5, 6), net.feed(1, 10, 12)
    pictures, sizes = net.split("in0", 3), net.split("in1", 3)
    modes = ("nearest", "bilinear", "bicubic")
    for i, mode in enumerate(modes):
        scale = " 1=2.0 2=2.0" if mode == "nearest" else ""
        net.layer("Interp", mode, [pictures[i], sizes[i]], [f"out{i}"], f"0={i + 1} 5=1{scale}")
    smooth = [stretch(5, 10, kernel) @ x @ stretch(6, 12, kernel).T for kernel in ("linear", "cubic")]
    return {"out0": x.repeat(2, 1).repeat(2, 2), "out1": smooth[0], "out2": smooth[1]}


@TABLE.row()
def interp_with_aligned_corners(net: Draft) -> dict[str, Array]:
    x = net.feed(3, 5, 6)
    first, second = net.split("in0", 2)
    net.layer("Interp", "bilinear", [first], ["out0"], "0=2 3=9 4=8 6=1")
    net.layer("Interp", "bicubic", [second], ["out1"], "0=3 3=9 4=8 6=1")
    results = [
        stretch(5, 9, kernel, True) @ x @ stretch(6, 8, kernel, True).T for kernel in ("linear", "cubic")
    ]
    return {"out0": results[0], "out1": results[1]}


@TABLE.row()
def pixel_shuffle_and_back(net: Draft) -> dict[str, Array]:
    """Channels become pixels by PixelShuffle; by Reorg pixels become channels, in the same order."""
    x = net.feed(8, 3, 4)
    net.layer("PixelShuffle", "shuffle", ["in0"], ["x"], "0=2")
    first, second = net.split("x", 2)
    net.layer("Reorg", "reorg", [first], ["out0"], "0=2")
    w, b = net.draw(3, 2, 1, 1), net.draw(3)
    net.layer("Convolution", "conv", [second], ["out1"], "0=3 1=1 5=1 6=6", [w, b])
    y = x.reshape(2, 2, 2, 3, 4).transpose(0, 3, 1, 4, 2).reshape(2, 6, 8)
    return {"out0": x, "out1": convolve(y, w, b)}


@TABLE.row()
def channels_shuffled(net: Draft) -> dict[str, Array]:
    x, w, b = net.feed(6, 5, 4), net.draw(6, 3, 1, 1), net.draw(6)
    net.layer("ShuffleChannel", "shuffle", ["in0"], ["x"], "0=2")
    net.layer("ConvolutionDepthWise", "conv", ["x"], ["out0"], "0=6 1=1 5=1 6=18 7=2", [w, b])
    y = x.reshape(2, 3, 5, 4).transpose(1, 0, 2, 3).reshape(6, 5, 4)
    halves = [convolve(y[3 * g :][:3], w[3 * g :][:3], b[3 * g :][:3]) for g in (0, 1)]
    return {"out0": np.concatenate(halves)}


@TABLE.row()
def windows_taken_and_laid_back(net: Draft) -> dict[str, Array]:
    """Unfold, and Fold of what it gave: each pixel as often as windows see it."""
    x = net.feed(3, 7, 8)
    net.layer("Unfold", "unfold", ["in0"], ["x"], "1=3 3=2 4=1")
    first, second = net.split("x", 2)
    net.layer("Sigmoid", "sigmoid", [first], ["out0"])
    net.layer("Fold", "fold", [second], ["out1"], "1=3 3=2 4=1 20=8 21=7")
    seen = windows(padded(x, 1), (3, 3), 2)
    columns = seen.transpose(0, 3, 4, 1, 2).reshape(27, -1)
    counts = np.zeros((9, 10))
    for i, j in product(range(seen.shape[1]), range(seen.shape[2])):
        counts[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += 1
    return {"out0": 1 / (1 + np.exp(-columns)), "out1": x * counts[1:8, 1:9]}


@TABLE.row()
def pooling_to_a_given_size(net: Draft) -> dict[str, Array]:
    """Adaptive pooling, whose windows overlap, by means; and by the largest with a border."""
    x = net.feed(3, 7, 8)
    first, second = net.split("in0", 2)
    net.layer("Pooling", "adaptive", [first], ["out0"], "0=1 7=1 8=3 18=2")
    net.layer("Pooling", "largest", [second], ["out1"], "0=0 1=3 2=2 3=1 5=1")

    def parts(old: int, new: int) -> list[slice]:
        return [slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]

    means = np.array([[x[:, r, c].mean((1, 2)) for c in parts(8, 3)] for r in parts(7, 2)])
    bordered = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return {"out0": means.transpose(2, 0, 1), "out1": windows(bordered, (3, 3), 2).max((-2, -1))}
