"""Networks written as lines of a .param, and what is said of two of them that are matched."""

from __future__ import annotations

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.counterparts import Counterparts
from pytest_ncnn_parity.network.graph import Graph


def network(*lines: str) -> Graph:
    layers = [" ".join(line.split()) for line in lines]
    blobs = sum(int(line.split()[3]) for line in layers)
    return param.parse("\n".join(["7767517", f"{len(layers)} {blobs}", *layers, ""]), "net.param")


def named(matched: Counterparts) -> dict[str, tuple[list[str], list[str], dict[str, str]]]:
    """By layer here: the layers there, those that are replaced, and what is fed."""
    here = matched.here.layers
    return {
        here[n].name: ([x.name for x in one.layers], [x.name for x in one.replaced], dict(one.feeds))
        for n, one in matched.of.items()
    }
