"""A face restorer of more than 500 layers at 512 x 512, made from a seed, for the benchmarks.

Built as GFPGAN is: an encoder halves a picture down to 4 x 4 and gives a latent vector; a decoder in
the manner of StyleGAN2 doubles it again by modulated convolutions with demodulation, scaled and shifted
by what the encoder saw at that size, and adds up a picture. Weights are drawn so that values stay near
1, so it is healthy. The planted one has two modulated convolutions whose weights and styles are so
large that their sums of squares overflow in fp16; demodulation divides that out again.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "example_models"))
from make_style_decoder import modulated
from network import Network

NAME = "decoder-512px"
PLANTED = "decoder-512px-planted"
STRONG = ("512_2", "rgb_512")  # the two, and how much larger theirs are
STRENGTH = 60.0
SIDE = 512
LATENT = 64
CHANNELS = {4: 64, 8: 64, 16: 64, 32: 64, 64: 32, 128: 32, 256: 16, 512: 16}


class Decoder:
    """Writes the layers one after the other."""

    def __init__(self, strong: Container[str] = ()) -> None:
        """`strong`: the modulated convolutions that overflow."""
        self.net = Network()
        self._strong = strong
        self._rng = np.random.RandomState(512)

    def build(self) -> Network:
        seen, latent = self._encoder()
        latents = iter(self.net.split(latent, 3 * len(CHANNELS)))
        x = self.net.layer(
            "MemoryData",
            "const",
            params=f"0=4 1=4 2={CHANNELS[4]}",
            weights=[self._normal(CHANNELS[4], 4, 4)],
            flagged=False,
        )
        channels, picture = CHANNELS[4], None
        for side, out in CHANNELS.items():
            if side > 4:
                x = self._resize(x, f"up_{side}", 2.0)
            for i in (1, 2):
                x = self._modulated(f"{side}_{i}", x, next(latents), channels, out)
                x = self._activated(f"{side}_{i}", x)
                channels = out
            x = self._conditioned(side, x, seen[side], channels)
            x, to_picture = self.net.split(x, 2) if side < SIDE else (x, x)
            rgb = self._modulated(f"rgb_{side}", to_picture, next(latents), channels, 3, 1)
            if picture is not None:
                larger = self._resize(picture, f"skip_{side}", 2.0)
                rgb = self.net.layer("BinaryOp", f"add_{side}", [larger, rgb], params="0=0")
            picture = rgb
        assert picture is not None
        self.net.layer("Clip", "clip", [picture], ["out0"], "0=-8.0 1=8.0")
        return self.net

    def _normal(self, *shape: int) -> np.ndarray:
        return self._rng.normal(0, 1, shape)

    def _encoder(self) -> tuple[dict[int, str], str]:
        """What it sees of the picture at each size, and the latent vector."""
        x = self.net.layer("Input", "in0", params=f"0={SIDE} 1={SIDE} 2=3")
        x = self._activated("see", self._convolution("see", x, 3, CHANNELS[SIDE]))
        channels, seen = CHANNELS[SIDE], {}
        for side in reversed(CHANNELS):
            out = CHANNELS[side]
            x = self._activated(f"see_{side}", self._convolution(f"see_{side}", x, channels, out))
            channels = out
            seen[side], x = self.net.split(x, 2)
            if side > 4:
                x = self._resize(x, f"down_{side}", 0.5)
        x = self.net.layer("Pooling", "mean", [x], params="0=1 4=1")
        return seen, self._linear("latent", x, channels, LATENT)

    def _conditioned(self, side: int, x: str, seen: str, n: int) -> str:
        """`x` scaled and shifted by two convolutions of what was seen at its size."""
        for_scale, for_shift = self.net.split(seen, 2)
        parts = {}
        for name, read in (("scale", for_scale), ("shift", for_shift)):
            made = self._activated(f"{name}_{side}_a", self._convolution(f"{name}_{side}_a", read, n, n))
            parts[name] = self._convolution(f"{name}_{side}_b", made, n, n, gain=0.3)
        one = self.net.layer("BinaryOp", f"one_{side}", [parts["scale"]], params="0=0 1=1 2=1.0")
        x = self.net.layer("BinaryOp", f"scaled_{side}", [x, one], params="0=2")
        return self.net.layer("BinaryOp", f"shifted_{side}", [x, parts["shift"]], params="0=0")

    def _modulated(self, name: str, x: str, latent: str, n: int, out: int, kernel: int = 3) -> str:
        """A convolution modulated by what an affine layer makes of `latent`."""
        area = kernel * kernel
        large = STRENGTH if name in self._strong else 1.0
        weight = large * self._normal(out, n, area) / np.sqrt(n * area)
        style = self._linear(f"style_{name}", latent, LATENT, n, bias=large, gain=0.2 * large)
        return modulated(self.net, name, x, style, weight)

    def _activated(self, name: str, x: str) -> str:
        x = self.net.layer("ReLU", f"{name}_relu", [x], params="0=0.2")
        return self.net.layer("BinaryOp", f"{name}_gain", [x], params="0=2 1=1 2=1.2")

    def _convolution(self, name: str, x: str, n: int, out: int, gain: float = 1.0) -> str:
        weight = gain * self._normal(out, n, 9) / np.sqrt(9 * n)
        return self.net.layer(
            "Convolution",
            name,
            [x],
            params=f"0={out} 1=3 4=1 5=1 6={weight.size}",
            weights=[weight, np.zeros(out)],
        )

    def _linear(self, name: str, x: str, n: int, out: int, bias: float = 0.0, gain: float = 1.0) -> str:
        weight = gain * self._normal(out, n) / np.sqrt(n)
        return self.net.layer(
            "InnerProduct",
            name,
            [x],
            params=f"0={out} 1=1 2={weight.size}",
            weights=[weight, np.full(out, bias)],
        )

    def _resize(self, x: str, name: str, factor: float) -> str:
        return self.net.layer("Interp", name, [x], params=f"0=2 1={factor} 2={factor}")


def write(folder: Path, name: str = NAME) -> None:
    """The .param and .bin of NAME or PLANTED, unless they are there."""
    if not (folder / f"{name}.param").is_file():
        Decoder(STRONG if name == PLANTED else ()).build().write(folder / name)
