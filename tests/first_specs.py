"""What init feeds to a network of a few layers, for tests."""

from __future__ import annotations

from pathlib import Path

from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.spec.first_inputs import FirstInput, first_inputs


def first(*layers: str) -> list[FirstInput]:
    """All inputs of a network with these layers, and one input more for each `Input`."""
    lines = ["Input in0 0 1 in0", *layers]
    blobs = sum(int(line.split()[3]) for line in lines)
    graph = parse("\n".join(("7767517", f"{len(lines)} {blobs}", *lines, "")), "net.param")
    return list(first_inputs(graph, Path("nowhere/net.ncnn.param")))


def sources(*layers: str) -> list[str]:
    return [one.source for one in first(*layers)]


def commented(*layers: str) -> list[tuple[str, ...]]:
    return [one.comments for one in first(*layers)]


def shapes(*layers: str) -> list[str]:
    return [source.partition("shape: ")[2].rstrip("}") for source in sources(*layers)]
