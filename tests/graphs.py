"""Networks as graphs alone, without weights or files."""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.param import parse

# x*1500 -> Split -> Reduction sumsq -> rsqrt -> mul, the case of GFPGAN
DEMODULATION = (
    "BinaryOp scale in0 big",
    "Split fork big left right",
    "Reduction sum left total",
    "UnaryOp rsqrt total root",
    "BinaryOp mul right,root scaled",
    "Convolution conv scaled out0",
)
# two branches of one input meet again
RESIDUAL = (
    "Split fork in0 left right",
    "Convolution conv left wide",
    "ReLU relu wide held",
    "BinaryOp add right,held joined",
    "Softmax prob joined out0",
)
# tiny values pass two copies on their way to the reader that cannot do without them
COPIED = (
    "Softmax prob in0 tiny",
    "Split fork tiny left right",
    "Reshape shape left flat",
    "Crop crop right part",
    "UnaryOp log flat out0",
    "ReLU relu part out1",
)
CHAIN = ("ReLU a in0 b1", "ReLU b b1 b2", "ReLU c b2 b3", "ReLU d b3 b4", "ReLU e b4 b5")


def network(*lines: str, **masks: int) -> Graph:
    """A network of lines `Type name inputs outputs... id=value...`, several inputs joined by commas."""
    layers = ["Input in0 0 1 in0"]
    for line in lines:
        kind, name, inputs, *rest = line.split()
        outputs = [word for word in rest if "=" not in word]
        blobs = [*inputs.split(","), *outputs]
        counts = f"{len(blobs) - len(outputs)} {len(outputs)}"
        params = [*rest[len(outputs) :], f"31={masks.get(name, 0)}"]
        layers.append(" ".join([kind, name, counts, *blobs, *params]))
    return parse("\n".join(["7767517", f"{len(layers)} 9999", *layers]), "net.param")
