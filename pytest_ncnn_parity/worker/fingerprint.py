"""Digests of the reference's values, for comparison with a process whose fresh memory differs."""

from __future__ import annotations

import ncnn

from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import stepped


def fingerprint(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> dict[str, str]:
    """By blob, a digest of what the trajectory computes, as far as it can be stepped.

    An operator of the project's own is not asked: what it computes is not for ncnn to answer for. What
    it makes has no digest, nor has what lies behind it.
    """
    trajectory = nets[job.trajectory]
    digests: dict[str, str] = {}
    for layer, outputs in stepped(graph.running(job.outputs), inputs, {}, trajectory.run_layer):
        known = layer.type == "Input" or ncnn.layer_to_index(layer.type) != -1
        if known and all(blob in digests for blob in layer.inputs):
            digests.update({blob: value.digest.hex() for blob, value in outputs.items()})
    return digests
