"""A StyleGAN2-like decoder as in GFPGAN: 15 modulated convolutions, each with its demodulation.

    weight * style -> square -> Reduction sum -> + 1e-8 -> rsqrt -> mul

The 15th sum is about 1.8e6 to 3.0e6: fine in fp32, inf in fp16, as GFPGAN 1.4 has it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from network import Network

BLOCKS = 15
LATENT = 32
CHANNELS = 16
SUMS = np.array([1.80e6, 2.40e6, 2.96e6])  # of the last demodulation, by output channel


def build() -> Network:
    rng = np.random.RandomState(14)
    net = Network()
    latent = net.layer("Input", "in0", params=f"0={LATENT}")
    latents = net.split(latent, BLOCKS)
    x = net.layer(
        "MemoryData",
        "const",
        params=f"0=4 1=4 2={CHANNELS}",
        weights=[rng.normal(0, 1, (CHANNELS, 4, 4))],
        flagged=False,
    )
    channels = CHANNELS
    for i in range(1, BLOCKS + 1):
        last = i == BLOCKS
        out = len(SUMS) if last else 2 * CHANNELS if i == BLOCKS - 1 else CHANNELS
        x = _modulated(net, rng, i, x, latents[i - 1], channels, out)
        channels = out
        if not last:
            x = net.layer("ReLU", f"relu_{i}", [x], params="0=0.2")
            x = net.layer("BinaryOp", f"gain_{i}", [x], params="0=2 1=1 2=1.414214")
        if i % 5 == 0 and not last:
            x = net.layer("Interp", f"up_{i}", [x], params="0=2 1=2.0 2=2.0")
    net.layer("Clip", "rgb", [x], ["out0"], "0=-4.0 1=4.0")
    return net


def _modulated(
    net: Network, rng: np.random.RandomState, i: int, x: str, latent: str, n: int, out: int
) -> str:
    """A 3x3 convolution, modulated by what an affine layer makes of `latent`."""
    last = i == BLOCKS
    weight = rng.uniform(-1, 1, (out, n, 9))
    strength = 1.0
    if last:
        strength = 144.0
        weight *= np.sqrt(SUMS / strength**2 / (weight**2).sum((1, 2)))[:, None, None]
    affine = rng.normal(0, 0.02 * strength, (n, LATENT)), np.full(n, strength)
    style = net.layer(
        "InnerProduct",
        f"style_{i}",
        [latent],
        params=f"0={n} 1=1 2={n * LATENT}",
        weights=list(affine),
    )
    return modulated(net, str(i), x, style, weight)


def modulated(net: Network, name: str, x: str, style: str, weight: np.ndarray) -> str:
    """A convolution whose weights `style` scales, normalised by what that does to its outputs' size.

    `weight`: (outputs, inputs, kernel * kernel); the picture keeps its size.
    """
    out, n, area = weight.shape
    kernel = math.isqrt(area)
    for_weight, for_x = net.split(style, 2)
    row = net.layer("Reshape", f"row_{name}", [for_weight], params=f"0=1 1={n} 2=1")
    memory = net.layer(
        "MemoryData",
        f"weight_{name}",
        params=f"0={area} 1={n} 2={out}",
        weights=[weight],
        flagged=False,
    )
    scaled = net.layer("BinaryOp", f"modulate_{name}", [memory, row], params="0=2")
    squared = net.layer("UnaryOp", f"square_{name}", [scaled], params="0=4")
    total = net.layer("Reduction", f"sum_{name}", [squared], params="0=0 1=0 -23303=2,1,2 4=0 5=1")
    safe = net.layer("BinaryOp", f"eps_{name}", [total], params="0=0 1=1 2=1e-08")
    factor = net.layer("UnaryOp", f"rsqrt_{name}", [safe], params="0=6")
    column = net.layer("Reshape", f"column_{name}", [factor], params=f"0=1 1=1 2={out}")
    planes = net.layer("Reshape", f"planes_{name}", [for_x], params=f"0=1 1=1 2={n}")
    styled = net.layer("BinaryOp", f"style_x_{name}", [x, planes], params="0=2")
    made = net.layer(
        "Convolution",
        f"conv_{name}",
        [styled],
        params=f"0={out} 1={kernel} 4={kernel // 2} 5=0 6={weight.size}",
        weights=[weight],
    )
    return net.layer("BinaryOp", f"demodulate_{name}", [made, column], params="0=2")


if __name__ == "__main__":
    folder = Path(__file__).parent / "style_decoder"
    folder.mkdir(exist_ok=True)
    build().write(folder / "style_decoder")
