"""Finds the layers of the reference whose results cannot be trusted. Pure.

A CPU kernel may read memory that nobody wrote, compute an element among many differently from the same
element alone, or give nan or inf where the function has a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.evidence import Distrust, KernelFault
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.plan.cases import Case

Fingerprint = dict[str, tuple[str, KernelFault]]  # see `worker.fingerprint`


class Doubt(Frozen):
    """The number of a layer that is not trusted, and the fault of its kernel."""

    layer: int
    fault: KernelFault = ""


class Doubts(Frozen):
    """The `layers` that were doubted when the network was run on `sample`."""

    sample: str
    layers: list[Doubt]


def doubtful_layers(graph: Graph, here: Fingerprint, there: Fingerprint) -> list[Doubt]:
    """Return the layers whose outputs, but not inputs, depend on fresh memory, and other faulty ones.

    `here` and `there` come from processes whose fresh memory is filled with different bytes, or are the
    same, and only other faults are found.
    """
    changed = {blob for blob in here.keys() & there.keys() if here[blob][0] != there[blob][0]}
    doubts = []
    for layer in graph.layers:
        if changed.intersection(layer.outputs) and not changed.intersection(layer.inputs):
            doubts.append(Doubt(layer.number))
            continue
        faults = (here[blob][1] for blob in layer.outputs if blob in here)
        doubts += [Doubt(layer.number, fault) for fault in faults if fault][:1]
    return doubts


def depends_on_reference(result: Result) -> bool:
    """Whether the CPU's fp32 values may have caused the failure `result`, or excuse its error.

    This includes an output compared between two networks on Vulkan, because only the CPU can say whether
    it is right. An error that passed as rounding was compared with how far the reference itself moves,
    and a kernel that reads memory nobody wrote moves by itself.
    """
    if result.outcome == "passed":
        return result.evidence.noise is not None
    evidence, death = result.evidence, result.evidence.death
    died_before = death is not None and (death.in_loading or death.of_shapes or death.of_worker)
    failed = result.outcome == "failed" and not evidence.error and not evidence.unreadable
    return failed and not died_before


def weighed(case: Case, result: Result, graph: Graph, doubts: Sequence[Doubt]) -> Result:
    """Return `result`; it fails, naming the layer, if the values of `case` depend on a doubtful one.

    It passes if it failed for nothing but values that become 0, and for a doubtful reader of these: the
    reader would be wrong with others as well.
    """
    blobs = [case.output] if case.output is not None else case.layer.outputs if case.layer else ()
    needed = graph.ancestors(blobs)
    culprits = [doubt for doubt in doubts if doubt.layer in needed]
    missed = result.evidence.underflow
    if not culprits:
        if missed is None or result.outcome != "failed":
            return result
        judges = graph.ancestors(graph.layers[missed.reader_number].outputs)
        if not any(doubt.layer in judges for doubt in doubts):
            return result
        return replace(result, outcome="passed", evidence=replace(result.evidence, underflow=None))
    culprit = graph.layers[culprits[-1].layer]
    distrust = Distrust(culprit.name, culprit.type, culprits[-1].fault)
    evidence = replace(result.evidence, distrust=distrust, noise=None)
    return replace(result, outcome="failed", evidence=evidence, cached=None)
