"""What a search for masks wants to know of a sample before it starts."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.param import COPYING, Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.pool import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import walk


def survey(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> dict[str, Any]:
    """The trajectory measured, and where every other network of the job runs its layers.

    `ranges`: blob -> [absmax, values that fp16 makes 0]. `lost`: layer number -> how far, as a share
    of its largest output, the layer in fp32 is off once its inputs are rounded to the candidate's 16
    bits: what no mask on the layer itself can bring back. `runs`: for each further network of the
    job, [where, storage] of every layer, as read back. A layer the trajectory cannot run ends it.
    """
    trajectory = nets[job.trajectory]
    halves = [spec.precision[:4] for spec in job.nets if spec.precision != "fp32"]
    half = halves[0] if halves else "fp16"
    blobs: Made = {}
    ranges: dict[str, list[float]] = {}
    lost: dict[int, float] = {}
    for layer in walk(graph.layers, blobs):
        if layer.type == "Input":
            made = {blob: inputs[blob] for blob in layer.outputs}
        else:
            try:
                made = trajectory.run_layer(layer, blobs)
                if layer.type not in COPYING:
                    off = trajectory.run_layer(layer, blobs, half)
                    lost[layer.number] = _lost(off, made)
            except StepFailed:
                break
        blobs.update(made)
        ranges.update({name: [blob.absmax, blob.tiny] for name, blob in made.items()})
    runs = []
    for number in range(len(job.nets)):
        if number != job.trajectory:
            with suppress(StepFailed, Unavailable):  # then it has a failed case that says so
                executions = [nets[number].execution(layer) for layer in graph.layers]
                runs.append([[run.where, run.storage] for run in executions])
    return {"ranges": ranges, "lost": lost, "runs": runs}


def _lost(off: Made, made: Made) -> float:
    """How far `off` is from `made`; infinitely where even shapes differ, as of what a detector finds."""
    if any(off[blob].array.shape != made[blob].array.shape for blob in made):
        return math.inf
    return max(compare(off[blob].array, made[blob].array, Tolerance()).scaled for blob in made)
