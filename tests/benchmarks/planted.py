"""Small networks, each with a known fault of fp16 planted among healthy blocks: the truth to blame.

A seed varies the depth, sizes, weights, operators and position; what is planted is far beyond fp16's
limits, and the rest is far within. `kinds.py` writes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from blocks import Trunk

FP16_MAX = 65504.0
PEAK = 3.5  # of some thousand normal values, the largest in units of their size

Plant = Callable[[Trunk, bool], set[str]]  # into a network, beyond fp16 or within; whom to blame


def _beyond(net: Trunk, hot: bool) -> float:
    """A largest value, well beyond what fp16 holds, or well within."""
    return FP16_MAX * net.rng.uniform(*((5, 11) if hot else (0.01, 0.05)))


def _large(net: Trunk, hot: bool) -> str:
    """Convolutions whose values grow to where the last one's are too large."""
    net.conv(int(net.rng.randint(6, 13)), size=float(net.rng.uniform(100, 400)))
    return net.conv(size=_beyond(net, hot) / PEAK, rectified=net.rng.rand() < 0.3)


# -- the faults ------------------------------------------------------------------------------------


def storage(net: Trunk, hot: bool = True) -> set[str]:
    """A convolution makes values fp16 cannot hold, and the next ones bring them back."""
    large = _large(net, hot)
    if net.rng.rand() < 0.4:
        net.add("ReLU", "relu")
    if net.rng.rand() < 0.4:
        net.parallel()
    else:
        net.conv()
    return {large}


def demodulation(net: Trunk, hot: bool = True) -> set[str]:
    """5 to 15 modulated convolutions, as in a StyleGAN2 decoder; one's sum of squares overflows."""
    blocks = int(net.rng.randint(5, 16))
    chosen = net.rng.randint(blocks)
    kept, net.x = net.fork(2)
    shape = net.channels, net.height, net.width
    length, out = int(net.rng.randint(12, 33)), int(net.rng.randint(8, 15))
    net.latent(length)
    latents = net.fork(blocks)
    net.x, (net.channels, net.height, net.width) = kept, shape
    sums = []
    for i, latent in enumerate(latents):
        # a style of about 100: its square and the weights' stay below 65504, the sum of 72 does not
        strength = float(net.rng.uniform(90, 120)) if hot and i == chosen else 1.0
        sums.append(net.modulated(latent, length, out, strength))
        net.activation()
        net.add("BinaryOp", "gain", f"0=2 1=1 2={1 / net.rms():.6g}")
    return {sums[chosen]}


def cancelling(net: Trunk, hot: bool = True) -> set[str]:
    """A long sum whose first half is large and positive, its second large and negative."""
    if net.rng.rand() < 0.5:
        return {_cancelling_inner(net, hot)}
    n = int(net.rng.randint(32, 65)) * 8
    bias = net.rng.uniform(100, 200, n)
    net.conv(n, 1, size=6.0, bias=bias)
    out = int(net.rng.randint(8, 17))
    weight = opposed(net, out, bias, hot)
    summed = net.add("Convolution", "long", f"0={out} 1=1 5=1 6={weight.size}", [weight, np.zeros(out)])
    net.channels = out
    net.conv()
    return {summed}


def _cancelling_inner(net: Trunk, hot: bool) -> str:
    net.resize(8, 8)
    n = int(net.rng.randint(4, 7)) * 4
    bias = net.rng.uniform(100, 200, n)
    net.conv(n, size=6.0, bias=bias)
    net.add("Flatten", "flatten")
    out, side = int(net.rng.randint(4, 9)), int(net.rng.randint(4, 7))
    weight = opposed(net, out * side**2, np.repeat(bias, 64), hot)
    params = f"0={len(weight)} 1=1 2={weight.size}"
    summed = net.add("InnerProduct", "long", params, [weight, np.zeros(len(weight))])
    net.channels, net.height, net.width = out, side, side
    net.add("Reshape", "picture", f"0={side} 1={side} 2={out}")
    net.conv()
    return summed


def opposed(net: Trunk, out: int, mean: np.ndarray, hot: bool) -> np.ndarray:
    """Rows of weights that sum up to beyond fp16 over the first half of inputs of this `mean`.

    The second half takes most of it away again. Unless hot it adds as much: what cancels loses
    digits in fp16 long before it overflows.
    """
    # Not further beyond, and not down to 0: on Vulkan an inner product keeps the sum of each 32
    # terms in fp16 whatever 31=1 says (innerproduct_sum8), so that must fit and its rounding be small
    partial = FP16_MAX * net.rng.uniform(*((5, 8) if hot else (0.01, 0.05)))
    rest = net.rng.normal(0, 0.08 * FP16_MAX, out) - partial if hot else np.full(out, partial)
    weight = net.rng.uniform(0.5, 1, (out, len(mean)))
    half = len(mean) // 2
    weight[:, :half] *= (partial / (weight[:, :half] @ mean[:half]))[:, None]
    weight[:, half:] *= (rest / (weight[:, half:] @ mean[half:]))[:, None]
    return weight


def mean(net: Trunk, hot: bool = True) -> set[str]:
    """A mean over large values, which add up to beyond fp16 before the division."""
    return {(_mean_of_all if net.rng.rand() < 0.5 else _mean_of_windows)(net, hot)}


def _mean_of_all(net: Trunk, hot: bool) -> str:
    """Values less their channel's mean."""
    net.at_least(14)
    level = _beyond(net, hot) / (net.height * net.width)
    n = int(net.rng.randint(6, 13))
    net.conv(n, size=level / 4, bias=level * net.rng.uniform(0.8, 1.2, n))
    kept, net.x = net.fork(2)
    mean = net.add("Reduction", "mean", "0=3 1=0 -23303=2,1,2 4=1 5=1")
    net.add("BinaryOp", "centre", "0=1", inputs=[kept, mean])
    net.conv()
    return mean


def _mean_of_windows(net: Trunk, hot: bool) -> str:
    net.at_least(20)
    kernel = int(net.rng.randint(10, 17))
    level = _beyond(net, hot) / kernel**2
    n = int(net.rng.randint(6, 13))
    net.conv(n, size=level / 4, bias=level * net.rng.uniform(0.8, 1.2, n))
    stride = int(net.rng.randint(2, 5))
    average = net.add("Pooling", "average", f"0=1 1={kernel} 2={stride} 5=1")
    net.height, net.width = ((side - kernel) // stride + 1 for side in (net.height, net.width))
    net.conv()
    return average


def softmax(net: Trunk, hot: bool = True) -> set[str]:
    """Attention over 4096 places of a picture, nearly flat: in fp16 a sum of ones ends at 2048."""
    height = int(net.rng.choice([32, 64, 128])) if hot else 8
    net.resize(height, 4096 // height if hot else 8)
    kept, net.x = net.fork(2)
    n, places = net.channels, net.height * net.width
    heads = 1 if net.rng.rand() < 0.5 else n
    net.conv(heads, 1, size=0.02)
    net.add("Reshape", "places", f"0={places} 1={heads}")
    softmax = net.add("Softmax", "softmax", "0=1 1=1")
    net.add("BinaryOp", "times", f"0=2 1=1 2={places}.0")
    weights = net.add("Reshape", "map", f"0={net.width} 1={net.height} 2={heads}")
    net.channels = n
    net.add("BinaryOp", "attend", "0=2", inputs=[kept, weights])
    net.conv()
    return {softmax}


def underflow(net: Trunk, hot: bool = True) -> set[str]:
    """x / sqrt(x + 1e-8), or over the root of its mean square: channels are dead or well alive."""
    n = int(net.rng.randint(6, 13))
    alive = np.where(np.arange(n) % net.rng.randint(2, 4) == 0, -8.0, 8.0)
    net.conv(n, size=1.0, bias=alive)
    net.add("ReLU", "relu")
    epsilon = "1e-08" if hot else "0.01"
    kept, net.x = net.fork(2)
    if net.rng.rand() < 0.5:
        net.add("UnaryOp", "square", "0=4")
        net.add("Reduction", "mean", "0=3 1=0 -23303=2,1,2 4=1 5=1")
    shifted = net.add("BinaryOp", "eps", f"0=0 1=1 2={epsilon}")
    factor = net.add("UnaryOp", "rsqrt", "0=6")
    net.add("BinaryOp", "normalise", "0=2", inputs=[kept, factor])
    net.conv()
    return {shifted}


def two(net: Trunk, hot: bool = True) -> set[str]:
    """Two faults of different kinds, with blocks between."""
    too_large = storage if net.rng.rand() < 0.5 else branch
    faults: list[Plant] = [too_large, cancelling, mean, softmax, underflow]
    first, second = net.rng.choice(len(faults), 2, replace=False)
    blamed = faults[first](net, hot)
    net.grow(int(net.rng.randint(1, 3)))
    return blamed | faults[second](net, hot)


def branch(net: Trunk, hot: bool = True) -> set[str]:
    """A large value at a fork or a join."""
    joins = (_read_by_three, _concatenated, _added, _multiplied)
    return {joins[net.rng.randint(len(joins))](net, hot)}


def _read_by_three(net: Trunk, hot: bool) -> str:
    large = _large(net, hot)
    for_conv, for_depthwise, for_relu = net.fork(3)
    net.x = for_conv
    left = net.conv(size=20.0)
    net.x = for_depthwise
    right = net.depthwise(size=20.0)
    both = net.add("BinaryOp", "add", "0=0", inputs=[left, right])
    net.x = for_relu
    net.add("ReLU", "relu")
    third = net.conv(size=20.0)
    net.add("BinaryOp", "add", "0=0", inputs=[both, third])
    net.conv()
    return large


def _concatenated(net: Trunk, hot: bool) -> str:
    around, net.x = net.fork(2)
    before = net.channels
    large = _large(net, hot)
    net.channels += before
    net.add("Concat", "concat", "0=0", inputs=[large, around])
    net.conv(int(net.rng.randint(6, 13)), 1)
    return large


def _added(net: Trunk, hot: bool) -> str:
    net.conv(int(net.rng.randint(6, 13)), size=float(net.rng.uniform(100, 400)))
    around, net.x = net.fork(2)
    large = net.conv(size=_beyond(net, hot) / PEAK)
    net.add("BinaryOp", "add", "0=0", inputs=[large, around])
    net.conv()
    return large


def _multiplied(net: Trunk, hot: bool) -> str:
    """Neither factor is large, only their product, whose peak is that of two."""
    size = np.sqrt(_beyond(net, hot)) / PEAK * 1.2
    net.conv(int(net.rng.randint(6, 13)))
    for_right, net.x = net.fork(2)
    left = net.conv(size=size)
    net.x = for_right
    right = net.conv(size=size)
    product = net.add("BinaryOp", "product", "0=2", inputs=[left, right])
    net.conv()
    return product


def winograd(net: Trunk, hot: bool = True) -> set[str]:
    """A 3x3 convolution of values that fit fp16, as its results do; winograd's transform does not."""
    n = int(net.rng.randint(4, 9)) * 4  # from 16 channels on ncnn takes winograd
    largest = FP16_MAX * net.rng.uniform(*((0.4, 0.5) if hot else (0.0005, 0.001)))
    net.conv(n, 1)
    net.add("TanH", "tanh")
    net.add("BinaryOp", "up", f"0=2 1=1 2={largest:.0f}.0")
    blamed = net.conv(size=largest / PEAK, bias=np.zeros(n))
    net.conv(int(net.rng.randint(6, 13)), 1)
    return {blamed}


def int8(net: Trunk, hot: bool = True) -> set[str]:
    """Values beyond fp16 that a chain in int8 reads, behind another chain in int8."""
    net.in_int8(int(net.rng.randint(1, 4)))
    net.activation()
    large = _large(net, hot)
    net.in_int8(int(net.rng.randint(1, 4)))
    net.conv()
    return {large}


def healthy(net: Trunk, hot: bool = False) -> set[str]:
    """No fault: blocks, and two of those above with values well within fp16."""
    two(net, hot)
    return set()
