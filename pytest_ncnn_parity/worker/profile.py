"""Measures a sample for the search of a fix: each blob's range, each layer's sensitivity to rounding."""

from __future__ import annotations

import math
from contextlib import suppress

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import MeasureProfile, SampleProfile
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import stepped


def profile(job: MeasureProfile, graph: Graph, inputs: Made, nets: JobNets) -> SampleProfile:
    """Measure the trajectory, and read back where the job's other networks run their layers.

    Measuring ends at the first layer that the trajectory cannot run. A network that cannot be loaded is
    left out.
    """
    trajectory = nets[job.trajectory]
    half = next(filter(None, (spec.setup.half for spec in job.nets)), "fp16")
    blobs: Made = {}
    absmax: dict[str, float] = {}
    sensitivity: dict[int, float] = {}
    for layer, outputs in stepped(graph.running(job.outputs), inputs, blobs, trajectory.run_layer):
        if job.sensitivity and layer.type != "Input" and not copies(layer):
            try:
                rounded = trajectory.run_layer(layer, blobs, half)
            except StepFailed:
                break
            sensitivity[layer.number] = _distance(rounded, outputs)
        absmax.update({name: blob.absmax for name, blob in outputs.items()})
    runs = []
    for number in range(len(job.nets)):
        if number != job.trajectory:
            with suppress(StepFailed, Unavailable):  # the cases of this network report it
                executions = [nets[number].execution(layer) for layer in graph.layers]
                runs.append(tuple((run.where, run.format_inside or run.storage) for run in executions))
    return SampleProfile(absmax, sensitivity, tuple(runs))


def _distance(rounded: Made, outputs: Made) -> float:
    """Return the largest error of `rounded`, as a share of the largest of `outputs`.

    It is infinite where the shapes differ, as those of detections may.
    """
    if any(rounded[blob].shape != outputs[blob].shape for blob in outputs):
        return math.inf
    pairs = ((rounded[blob].array, outputs[blob].array) for blob in outputs)
    return max(compare(candidate, reference, Tolerance()).scaled for candidate, reference in pairs)
