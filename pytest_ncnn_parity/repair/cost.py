"""What masks cost: milliseconds, layers that leave the GPU, and transfers to and from it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph


class Cost(Frozen):
    """A network before and after. Milliseconds are medians over `rounds`, in which both ran in turn.

    `moved` layers leave the GPU, and `left` stay on it. `uploads` and `downloads` count the values that
    are transferred in one run, before and after.
    """

    before_ms: float
    after_ms: float
    rounds: int
    moved: int
    left: int
    uploads: tuple[int, int]
    downloads: tuple[int, int]


def crossings(graph: Graph, where: Sequence[str]) -> tuple[int, int]:
    """(uploads, downloads) of a run: the blobs that are written on one side and read on the other.

    `where` holds "cpu" or "vulkan" for every layer. An input is written on the CPU, and an output is
    read there.
    """
    up = down = 0
    for blob, maker in graph.producer.items():
        on_gpu = maker.type != "Input" and where[maker.number] == "vulkan"
        readers = {where[reader.number] for reader in graph.consumers[blob]} or {"cpu"}
        up += not on_gpu and "vulkan" in readers
        down += on_gpu and "cpu" in readers
    return up, down


def cost(
    graph: Graph,
    before: tuple[Sequence[float], Sequence[str]],
    after: tuple[Sequence[float], Sequence[str]],
) -> Cost:
    """The cost, from the milliseconds of all rounds and the place where each layer runs."""
    (ms, where), (patched_ms, patched_where) = before, after
    computing = [layer.number for layer in graph.layers if layer.type != "Input"]
    ups, downs = zip(crossings(graph, where), crossings(graph, patched_where), strict=True)
    return Cost(
        before_ms=statistics.median(ms),
        after_ms=statistics.median(patched_ms),
        rounds=len(ms),
        moved=sum(where[n] == "vulkan" != patched_where[n] for n in computing),
        left=sum(patched_where[n] == "vulkan" for n in computing),
        uploads=(ups[0], ups[1]),
        downloads=(downs[0], downs[1]),
    )
