"""Networks written as lines of a .param, and what is said of two of them that are matched."""

from __future__ import annotations

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.network.versions.counterparts import Counterparts


def text(*lines: str) -> str:
    """The .param with these `lines`, one for each layer."""
    layers = [" ".join(line.split()) for line in lines]
    blobs = sum(int(line.split()[3]) for line in layers)
    return "\n".join([MAGIC, f"{len(layers)} {blobs}", *layers, ""])


def network(*lines: str) -> Graph:
    return param.parse(text(*lines), "net.param")


def fed(*lines: str, size: str = "") -> Graph:
    """The network of these `lines` behind the Input in0, whose line states this `size`."""
    return network(f"Input in0 0 1 in0 {size}", *lines)


def named(matched: Counterparts) -> dict[str, tuple[list[str], list[str], dict[str, str]]]:
    """By layer here: the layers there, those that are replaced, and what is fed."""
    here = matched.here.layers
    return {
        here[n].name: ([x.name for x in one.layers], [x.name for x in one.replaced], dict(one.feeds))
        for n, one in matched.of.items()
    }
