"""Digests of the trajectory, to be compared with those of a process whose fresh memory differs."""

from __future__ import annotations

from functools import partial

import ncnn

from pytest_ncnn_parity.engine.evidence import KernelFault
from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker import exponentials
from pytest_ncnn_parity.worker.elements import are_uneven
from pytest_ncnn_parity.worker.ieee import gives_a_number_for_inf, gives_nan_for_a_number
from pytest_ncnn_parity.worker.judge.probes import plain_cpu
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.plain_shapes import gives_another_shape
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import stepped


def fingerprint(
    job: Job, graph: Graph, inputs: Made, nets: JobNets
) -> dict[str, tuple[str, KernelFault]]:
    """Return, by blob, the hex digest of its value in the trajectory and the fault of its kernel.

    The digests end at the first layer that the trajectory cannot run. Custom layers are not ncnn's
    responsibility, so neither their outputs nor the blobs computed from these have a digest.
    """
    trajectory = nets[job.trajectory]

    def plainly(layer: Layer) -> Made:
        return nets.other(plain_cpu(job)).run_layer(layer, values)

    digests: dict[str, tuple[str, KernelFault]] = {}
    values: Made = {}
    for layer, outputs in stepped(graph.running(job.outputs), inputs, values, trajectory.run_layer):
        known = layer.type == "Input" or ncnn.layer_to_index(layer.type) != -1
        if known and all(blob in digests for blob in layer.inputs):
            fault = _fault(layer, values, outputs, trajectory)
            if not fault and gives_another_shape(layer, values, outputs, partial(plainly, layer)):
                fault = "shape"
            digests.update({blob: (value.digest.hex(), fault) for blob, value in outputs.items()})
    return digests


def _fault(layer: Layer, values: Made, outputs: Made, trajectory: Net) -> KernelFault:
    if gives_nan_for_a_number(layer, values, outputs):
        return "nan"
    if exponentials.overflow(layer, values, outputs):
        return "overflow"
    if gives_a_number_for_inf(layer, values, outputs):
        return "number"
    run = partial(trajectory.run_layer, on="changed")
    return "uneven" if are_uneven(layer, values, outputs, run) else ""
