"""A network that overflows only inside a layer: the sum of an average, in an fp16 accumulator.

Every value between layers is below 700; 256 of them add up to beyond 65504 before the division.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from network import Network


def build() -> Network:
    rng = np.random.RandomState(7)
    net = Network()
    x = net.layer("Input", "in0", params="0=64 1=64 2=3")
    x = net.layer(
        "Convolution",
        "features",
        [x],
        params="0=8 1=3 4=1 5=1 6=216 9=1",
        weights=[rng.normal(0, 0.2, (8, 3, 3, 3)), rng.uniform(300, 500, 8)],
    )
    x = net.layer("Pooling", "average", [x], params="0=1 1=16 2=16 5=1")
    x = net.layer(
        "Convolution",
        "mix",
        [x],
        params="0=8 1=1 5=1 6=64 9=1",
        weights=[rng.normal(0, 0.01, (8, 8)), rng.normal(0, 1, 8)],
    )
    net.layer(
        "InnerProduct",
        "classify",
        [x],
        ["out0"],
        "0=10 1=1 2=1280",
        weights=[rng.normal(0, 0.1, (10, 128)), np.zeros(10)],
    )
    return net


if __name__ == "__main__":
    folder = Path(__file__).parent / "accumulate"
    folder.mkdir(exist_ok=True)
    build().write(folder / "accumulate")
