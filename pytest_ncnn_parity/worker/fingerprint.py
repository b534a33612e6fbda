"""Digests of the trajectory, to be compared with those of a process whose fresh memory differs."""

from __future__ import annotations

from functools import partial

import ncnn

from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.elements import are_uneven
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import stepped


def fingerprint(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> dict[str, tuple[str, bool]]:
    """Return, by blob, the hex digest of its value in the trajectory and whether the layer is uneven.

    `elements.are_uneven` says what uneven means. The digests end at the first layer that the trajectory
    cannot run. Custom layers are not ncnn's responsibility, so neither their outputs nor the blobs
    computed from these have a digest.
    """
    trajectory = nets[job.trajectory]
    digests: dict[str, tuple[str, bool]] = {}
    values: Made = {}
    for layer, outputs in stepped(graph.running(job.outputs), inputs, values, trajectory.run_layer):
        known = layer.type == "Input" or ncnn.layer_to_index(layer.type) != -1
        if known and all(blob in digests for blob in layer.inputs):
            uneven = are_uneven(layer, values, outputs, partial(trajectory.run_layer, on="changed"))
            digests.update({blob: (value.digest.hex(), uneven) for blob, value in outputs.items()})
    return digests
