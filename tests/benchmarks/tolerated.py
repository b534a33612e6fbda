"""What is no fault, though a simple comparison takes it for one, as blocks of a network.

Each block here is right: terms that cancel, small probabilities, a mask that is meant to overflow.
Alone it is a healthy control. With `hot` a real fault is behind it, which must be found.
"""

from __future__ import annotations

import numpy as np
from blocks import Trunk
from planted import mean, opposed, softmax, storage, underflow

HIDDEN = (-1e4, -1e9, float(np.finfo(np.float32).min), -np.inf)
WORDS = 8  # in a sentence
FLAG = np.zeros(1)  # stands in front of each further tensor that may be in another format


def mixed_units(net: Trunk, hot: bool = True) -> set[str]:
    """An output of boxes in pixels and scores near 1. Hot: a Softmax of 4,096 makes the scores wrong.

    That is a hundredth of a budget of the largest box.
    """
    net.resize(64, 64)
    for_scores, net.x = net.fork(2)
    channels, places = net.channels, net.height * net.width
    net.conv(4, 1, size=float(net.rng.uniform(200, 600)))
    boxes = net.add("Reshape", "boxes", f"0={places} 1=4")
    net.x, net.channels = for_scores, channels
    net.conv(1, 1, size=0.02)
    blamed = net.add("Reshape", "places", f"0={places} 1=1")
    if hot:
        blamed = net.add("Softmax", "softmax", "0=1 1=1")
        net.add("BinaryOp", "times", f"0=2 1=1 2={places}.0")
    else:
        net.add("Sigmoid", "sigmoid")
    net.add("Concat", "concat", "0=0", inputs=[boxes, net.x])
    return {blamed}


def drifting(net: Trunk, hot: bool = True) -> set[str]:
    """The same output, of which fp16 loses one score bit by bit: no layer is red, the output is.

    Each term is too small to count in fp16 beside 1; together they are a tenth of a score.
    """
    for_boxes, net.x = net.fork(2)
    channels, places = net.channels, net.height * net.width
    net.conv(1, 1, size=2.0)
    net.add("Sigmoid", "sigmoid")
    net.add("BinaryOp", "small", "0=2 1=1 2=0.04")
    net.add("BinaryOp", "near_one", "0=0 1=1 2=1.0")
    for _ in range(net.rng.randint(9, 13)):
        net.add("BinaryOp", "term", f"0=0 1=1 2={0.0004 if hot else 0.0}")
    net.add("BinaryOp", "less_one", "0=1 1=1 2=1.0")
    net.add("BinaryOp", "score", "0=2 1=1 2=25.0")
    score = net.add("Reshape", "places", f"0={places} 1=1")
    net.x, net.channels = for_boxes, channels
    net.conv(4, 1, size=float(net.rng.uniform(100, 300)))
    boxes = net.add("Reshape", "boxes", f"0={places} 1=4")
    rows = [boxes, score] if net.rng.rand() < 0.5 else [score, boxes]
    net.add("Concat", "concat", "0=0", inputs=rows)
    return {"output"}


def saturating(net: Trunk, hot: bool = True) -> set[str]:
    """A mask of -1e9 and its like in front of a Softmax. Hot: values beyond fp16 behind that."""
    net.resize(8, 8)
    kept, net.x = net.fork(2)
    n, places = net.channels, net.height * net.width
    net.conv(size=2.0)
    net.add("Reshape", "rows", f"0={places} 1={n}")
    rows, hidden = net.x, float(net.rng.choice(HIDDEN))
    mask = np.where(net.rng.rand(n, places) < 0.4, hidden, 0.0)
    mask[:, 0] = 0.0
    net.add("MemoryData", "mask", f"0={places} 1={n}", [mask], [], flagged=False)
    net.add("BinaryOp", "hide", "0=0", inputs=[rows, net.x])
    net.add("Softmax", "attention", "0=1 1=1")
    weights = net.add("Reshape", "planes", f"0={net.width} 1={net.height} 2={n}")
    net.add("BinaryOp", "attend", "0=2", inputs=[kept, weights])
    return storage(net, hot)


def causal(net: Trunk, hot: bool = True) -> set[str]:
    """A causal mask of -1e9 and its like in MultiHeadAttention or SDPA. Hot: a fault behind it."""
    net.resize(8, 8)
    around, net.x = net.fork(2)
    n, places = net.channels, net.height * net.width
    net.conv(size=1.0)
    net.add("Reshape", "rows", f"0={places} 1={n}")
    tokens = net.add("Permute", "tokens", "0=1")
    above = np.triu(np.full((places, places), float(net.rng.choice(HIDDEN))), 1)
    mask = net.add("MemoryData", "mask", f"0={places} 1={places}", [above], [], flagged=False)
    net.x = tokens
    if net.rng.rand() < 0.5:
        parts = []
        for _ in range(4):
            parts += [FLAG, net.rng.normal(0, n**-0.5, (n, n)), net.rng.normal(0, 0.1, n)]
        params = f"0={n} 1=1 2={n * n} 5=1"
        net.add("MultiHeadAttention", "attention", params, parts[1:], [tokens, mask])
    else:
        net.add("Reshape", "head", f"0={n} 1={places} 2=1")
        net.add("SDPA", "attention", "5=1", inputs=[*net.fork(3), mask])
        net.add("Reshape", "tokens", f"0={n} 1={places}")
    net.add("Permute", "channels", "0=1")
    net.add("Reshape", "picture", f"0={net.width} 1={net.height} 2={n}")
    net.add("BinaryOp", "add", "0=0", inputs=[net.x, around])
    faults = (storage, mean, underflow, softmax)
    return faults[net.rng.randint(len(faults))](net, hot)


def noisy(net: Trunk, hot: bool = True) -> set[str]:
    """A branch whose terms cancel: fp16 leaves of it little but rounding. Hot: a fault behind."""
    around, net.x = net.fork(2)
    before, n = net.channels, int(net.rng.randint(3, 6)) * 4
    net.conv(n, 1, size=0.05, bias=np.full(n, float(net.rng.uniform(80, 120))))
    weight = net.rng.normal(0, 1, (before, n))
    weight -= weight.mean(1, keepdims=True)
    net.add("Convolution", "cancel", f"0={before} 1=1 5=1 6={weight.size}", [weight, np.zeros(before)])
    net.add("BinaryOp", "little", "0=2 1=1 2=0.001")
    net.channels = before
    net.add("BinaryOp", "add", "0=0", inputs=[around, net.x])
    return storage(net, hot)


def noisy_sum(net: Trunk, hot: bool = True) -> set[str]:
    """A layer whose terms cancel in all channels. Hot: in one of them the terms overflow on the way."""
    around, net.x = net.fork(2)
    before, n, out = net.channels, int(net.rng.randint(5, 9)) * 8, int(net.rng.randint(8, 17))
    bias = net.rng.uniform(100, 200, n)
    net.conv(n, 1, size=0.3, bias=bias)
    weight = net.rng.normal(0, 1, (out, n))
    weight -= np.outer(weight @ bias, bias) / (bias @ bias)
    if hot:
        weight[net.rng.randint(out)] = opposed(net, 1, bias, hot)[0]
    cancel = net.add(
        "Convolution", "cancel", f"0={out} 1=1 5=1 6={weight.size}", [weight, np.zeros(out)]
    )
    net.channels = out
    net.conv(before, 1, size=1.0 if hot else 0.01)
    net.add("BinaryOp", "add", "0=0", inputs=[net.x, around])
    return {cancel}


def words(net: Trunk, hot: bool = True) -> set[str]:
    """Words that are looked up in a table. Hot: in two, and a Split stores them in 16 bits."""
    kept, size = net.x, int(net.rng.choice([100, 3000, 70000]))
    net.feed_words(WORDS, size)
    names = [net.x]
    if hot:
        split = f"split_{net.x}"
        names = net.fork(2)
    for word, blob in zip(("scale", "shift"), names * (2 // len(names)) if hot else names, strict=False):
        net.embed(word, blob, size)
        row = net.add("Reshape", f"{word}_planes", f"0=1 1=1 2={net.channels}")
        kept = net.add("BinaryOp", word, "0=2" if word == "scale" else "0=0", inputs=[kept, row])
    return {split} if hot else set()


def probabilities(net: Trunk, hot: bool = False) -> set[str]:
    """Scores of a picture on which there is nothing: 1e-5, which fp16 makes 0."""
    net.conv(int(net.rng.randint(2, 9)), 1, bias=None)
    net.add("BinaryOp", "little", f"0=1 1=1 2={net.rng.uniform(10, 14):.3f}")
    net.add("Sigmoid", "sigmoid")
    return set()


def gates(net: Trunk, hot: bool = False) -> set[str]:
    """A value times a mask that lets nothing through: 1e-5 and less, which fp16 makes 0."""
    kept, net.x = net.fork(2)
    net.conv(size=1.0, bias=None)
    net.add("BinaryOp", "little", f"0=1 1=1 2={net.rng.uniform(12, 22):.3f}")
    net.add("Sigmoid", "mask")
    kinds = (("BinaryOp", "0=2"), ("Eltwise", "0=0"))
    kind, params = kinds[net.rng.randint(len(kinds))]
    net.add(kind, "masked", params, inputs=[kept, net.x])
    net.add("Permute", "permuted", f"0={net.rng.randint(6)}")
    return set()


def sharp_map(net: Trunk, hot: bool = False) -> set[str]:
    """A map of 0 and 1 with steep edges between, as text detectors draw it."""
    net.conv(1, 5, size=float(net.rng.uniform(20, 40)))
    # smooth: a pixel that stands out of those around it is no edge, and a fault where it is off
    net.add("Interp", "interp", "0=2 3=48 4=48")
    net.add("Sigmoid", "sigmoid")
    return set()


def bounded(net: Trunk, hot: bool = False) -> set[str]:
    """Values beyond fp16 in front of what bounds them."""
    away = net.rng.choice([-300.0, 300.0], net.channels)  # from 0, where the least rounding is a step
    net.conv(size=40.0, bias=away)
    net.add("BinaryOp", "large", f"0=2 1=1 2={net.rng.uniform(500, 2000):.1f}")
    kinds = (("Sigmoid", ""), ("TanH", ""), ("Clip", "0=-1.0 1=1.0"), ("HardSigmoid", ""))
    kind, params = kinds[net.rng.randint(len(kinds))]
    net.add(kind, "bounded", params)
    return set()


def detections(net: Trunk, hot: bool = False) -> set[str]:
    """Boxes as Yolov3DetectionOutput lists them: none, or all, and of one class.

    For where a score is at a threshold, or two classes have nearly one score, rounding decides.
    """
    net.resize(13, 13)
    bias = np.zeros((3, 6))
    bias[:, 4:] = net.rng.choice([-14.0, 6.0])
    net.conv(bias.size, 1, size=0.5, bias=bias.ravel())
    anchors = "-23304=6,10.0,14.0,23.0,27.0,37.0,58.0 -23305=3,0.0,1.0,2.0 -23306=1,32.0"
    net.add("Yolov3DetectionOutput", "detect", f"0=1 1=3 2=0.25 3=1.0 {anchors}")
    return set()
