"""Finds the layers of the reference whose result depends on memory that nobody wrote. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.plan.cases import Case


def doubtful_layers(graph: Graph, here: Mapping[str, str], there: Mapping[str, str]) -> list[int]:
    """The layers whose bits change with what fresh memory holds, though the bits of their inputs do not.

    `here` and `there` are digests by blob, from processes whose fresh memory holds other bytes.
    """
    changed = {blob for blob in here.keys() & there.keys() if here[blob] != there[blob]}
    return [
        layer.number
        for layer in graph.layers
        if changed.intersection(layer.outputs) and not changed.intersection(layer.inputs)
    ]


def depends_on_reference(result: Result) -> bool:
    """Whether `result` is a failure that the CPU's fp32 values may have caused, or is excused by them.

    Of an output that is compared between two networks on Vulkan as well: whether it is right there
    only the CPU can say. An error that passed as rounding was compared with how far the reference itself
    moves, and a kernel that reads memory which nobody wrote moves by itself.
    """
    if result.outcome == "passed":
        return result.evidence.noise is not None
    evidence, death = result.evidence, result.evidence.death
    died_before = death is not None and (death.in_loading or death.of_shapes or death.of_worker)
    failed = result.outcome == "failed" and not evidence.error and not evidence.unreadable
    return failed and not died_before


def weighed(case: Case, result: Result, graph: Graph, doubtful: Sequence[int]) -> Result:
    """`result` with the doubtful layer, if any, that the values of `case` depend on: it fails then."""
    blobs = [case.output] if case.output is not None else case.layer.outputs if case.layer else ()
    needed = graph.ancestors(blobs)
    culprits = [graph.layers[number] for number in doubtful if number in needed]
    if not culprits:
        return result
    distrust = Distrust(culprits[-1].name, culprits[-1].type)
    evidence = replace(result.evidence, distrust=distrust, noise=None)
    return replace(result, outcome="failed", evidence=evidence, cached=None)
