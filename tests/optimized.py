"""A network as an export has it and as an optimizer leaves it, from the same weights."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
from network import Network

CHANNELS = 8
EPS = 1e-5


def export(folder: Path, name: str = "net") -> None:
    """Convolutions c1 to c3, each with a BatchNorm and a ReLU of its own, a sum, and an InnerProduct."""
    _network(folded=False).write(folder / name)


def optimized(folder: Path, name: str = "opt", wrong: str = "") -> None:
    """The same with everything folded; one weight of the layer `wrong` is another."""
    _network(folded=True, wrong=wrong).write(folder / name)


def _network(folded: bool, wrong: str = "") -> Network:
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params=f"0=10 1=10 2={CHANNELS}")
    x = _block(net, "c1", x, rng, folded, wrong)
    a, b = net.split(x, 2)
    a = _block(net, "c2", a, rng, folded, wrong)
    x = net.layer("BinaryOp", "sum", [a, b], params="0=0")
    x = _block(net, "c3", x, rng, folded, wrong)
    weights = [rng.normal(0, 0.05, (4, CHANNELS * 100)), rng.normal(0, 0.1, 4)]
    words = f"0=4 1=1 2={4 * CHANNELS * 100}"
    if folded:
        net.layer("InnerProduct", "fc", [x], ["out0"], f"{words} 9=1", weights)
    else:
        x = net.layer("InnerProduct", "fc", [x], params=words, weights=weights)
        net.layer("ReLU", "fc_relu", [x], ["out0"])
    return net


def _block(net: Network, name: str, x: str, rng: np.random.RandomState, folded: bool, wrong: str) -> str:
    weights, bias = rng.normal(0, 0.12, (CHANNELS, CHANNELS, 3, 3)), rng.normal(0, 0.1, CHANNELS)
    slope, mean, variance, shift = (rng.uniform(0.5, 1.5, CHANNELS) for _ in range(4))
    words = f"0={CHANNELS} 1=3 4=1 5=1 6={weights.size}"
    if not folded:
        x = net.layer("Convolution", name, [x], params=words, weights=[weights, bias])
        norm = [slope, mean, variance, shift]
        x = net.layer(
            "BatchNorm", f"{name}_norm", [x], None, f"0={CHANNELS} 1={EPS}", norm, flagged=False
        )
        return net.layer("ReLU", f"{name}_relu", [x])
    factor = slope / np.sqrt(variance + EPS)
    weights = weights * factor.reshape(-1, 1, 1, 1)
    if wrong == name:
        weights[3, 2, 1, 1] += 3.0
    bias = (bias - mean) * factor + shift
    return net.layer("Convolution", name, [x], [f"{name}_relu"], f"{words} 9=1", [weights, bias])


def renumbered(source: Path, target: Path) -> None:
    """The .param as another export has it: other names of layers and inner blobs, the same weights."""
    magic, counts, *lines = source.read_text("utf-8").splitlines()
    blobs: dict[str, str] = {}
    written = [magic, counts]
    for number, line in enumerate(lines):
        type_, _, n_inputs, n_outputs, *rest = line.split()
        count = int(n_inputs) + int(n_outputs)
        for blob in rest[int(n_inputs) : count]:
            blobs[blob] = blob if re.fullmatch(r"(in|out)\d+", blob) else str(len(blobs) + 700)
        named = [blobs[blob] for blob in rest[:count]]
        head = [type_, f"{type_.lower()}_{number}", n_inputs, n_outputs]
        written.append(" ".join([*head, *named, *rest[count:]]))
    target.write_text("\n".join(written) + "\n", "utf-8")


def exported_anew(source: Path, dice: random.Random) -> tuple[str, dict[str, str]]:
    """The .param as another converter may have it, and by the name of each layer there the one here.

    Layers stand in another order and have other names, a Reshape that only a BinaryOp reads is gone,
    and a 0 is not stated.
    """
    waiting = [line.split() for line in source.read_text("utf-8").splitlines()[2:]]
    gone: dict[str, str] = {}
    readers = {
        blob: [one[0] for one in waiting if blob in one[4 : 4 + int(one[2])]]
        for words in waiting
        for blob in words[4:]
    }
    for words in list(waiting):
        if words[0] == "Reshape" and readers[words[5]] == ["BinaryOp"]:
            gone[words[5]] = words[4]
            waiting.remove(words)
    lines, names = [], {}
    blobs: dict[str, str] = {}
    while waiting:
        ready = [
            one
            for one in waiting
            if all(gone.get(blob, blob) in blobs for blob in one[4 : 4 + int(one[2])])
        ]
        words = dice.choice(ready)
        waiting.remove(words)
        reads = [blobs[gone.get(blob, blob)] for blob in words[4 : 4 + int(words[2])]]
        made = words[4 + len(reads) : 4 + len(reads) + int(words[3])]
        for blob in made:
            blobs[blob] = blob if re.fullmatch(r"(in|out)\d+", blob) else f"b{len(blobs)}"
        params = [word for word in words[4 + len(reads) + len(made) :] if not word.endswith("=0")]
        name = f"layer_{len(lines)}"
        names[name] = words[1]
        here = [blobs[blob] for blob in made]
        lines.append(" ".join([words[0], name, words[2], words[3], *reads, *here, *params]))
    return "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""]), names
