"""Digests of the reference's values, for comparison with a process whose fresh memory differs."""

from __future__ import annotations

import ncnn

from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.elements import are_uneven
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import stepped


def fingerprint(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> dict[str, tuple[str, bool]]:
    """By blob, a digest of what the trajectory computes, and whether single elements disagree with it.

    It ends where the trajectory cannot be stepped. Operators of the project's own are left out, because
    ncnn does not answer for them: their outputs have no digest, nor has what lies behind them.
    """
    trajectory = nets[job.trajectory]
    digests: dict[str, tuple[str, bool]] = {}
    values: Made = {}
    for layer, outputs in stepped(graph.running(job.outputs), inputs, values, trajectory.run_layer):
        known = layer.type == "Input" or ncnn.layer_to_index(layer.type) != -1
        if known and all(blob in digests for blob in layer.inputs):
            uneven = are_uneven(layer, values, outputs, trajectory.run_layer)
            digests.update({blob: (value.digest.hex(), uneven) for blob, value in outputs.items()})
    return digests
