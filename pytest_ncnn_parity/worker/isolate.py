"""Takes one layer out of its network and writes its line, its weights and its inputs to files."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np

from pytest_ncnn_parity.engine.protocol import Isolate, Isolated, Job
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.network.param_line import SHAPE_HINT_ID
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk


def isolate(job: Isolate, graph: Graph, inputs: Made, nets: JobNets) -> Isolated:
    """Write layer.param, layer.bin and the inputs of the job's case (.npy) to the job's folder.

    The inputs hold the trajectory's values, rounded to the format in which the case feeds them. What
    goes wrong is not raised but returned as `problem`.
    """
    case = job.case
    assert case is not None
    assert case.layer is not None
    layer, folder = graph.layers[case.layer], Path(job.folder)
    try:
        values = _inputs(job, graph, layer, inputs, nets)
        feed = None if case.candidate is None else nets[case.candidate].execution(layer).feed
        folder.mkdir(parents=True)
        (folder / "layer.param").write_bytes(_alone(graph, layer).encode("utf-8"))
        _cut(*nets.weights.in_file(layer), folder / "layer.bin")
        named = {blob: f"in{number}.npy" for number, blob in enumerate(values)}
        for blob, read in values.items():
            value = nets.in_floats(layer, read)
            if value is None:
                return Isolated(problem=f"{blob} is int8, with which a layer alone cannot be fed")
            if value.batch:
                return Isolated(problem=f"{blob} is a batch, with which a layer alone is not fed")
            np.save(folder / named[blob], np.ascontiguousarray(value.rounded(feed).array))
    except StepFailed as failed:
        return Isolated(problem=f"{failed.step} failed, too: {failed.death.detail}")
    except Unavailable as lacking:
        return Isolated(problem=str(lacking))
    except OSError as error:
        return Isolated(problem=f"{error.filename or folder}: {error.strerror}")
    return Isolated(named, ncnn.layer_to_index(layer.type) == -1)


def _inputs(job: Job, graph: Graph, layer: Layer, inputs: Made, nets: JobNets) -> Made:
    """Return the trajectory's inputs of `layer`, which is not run itself: it may kill the worker."""
    wanted = list(dict.fromkeys(layer.inputs))
    blobs: Made = {}
    for step in walk(graph.running(wanted), blobs, wanted):
        if step.type == "Input":
            blobs.update(fed(step, inputs))
        else:
            blobs.update(nets[job.trajectory].run_layer(step, blobs))
    return {blob: blobs[blob] for blob in wanted}


def _alone(graph: Graph, layer: Layer) -> str:
    """Return a .param with Input layers and the unchanged line of `layer`, mask included.

    An input keeps the shape hint that it has in the original .param, because kernels are made for it.
    """
    read = list(dict.fromkeys(layer.inputs))
    lines = [f"Input {blob} 0 1 {blob}{_hint(graph.producer[blob], blob)}" for blob in read]
    count = len(read) + len(layer.outputs)
    return "\n".join([MAGIC, f"{len(lines) + 1} {count}", *lines, graph.line_of(layer), ""])


def _hint(maker: Layer, blob: str) -> str:
    numbers = maker.params.get(SHAPE_HINT_ID, "").split(",")[1:]
    step = len(numbers) // len(maker.outputs)
    own = numbers[maker.outputs.index(blob) * step :][:step]
    return f" {SHAPE_HINT_ID}={','.join([str(step), *own])}" if own else ""


def _cut(source: str, start: int, end: int, target: Path) -> None:
    with Path(source).open("rb") as whole, target.open("wb") as part:
        whole.seek(start)
        left = end - start
        while block := whole.read(min(left, 1 << 20)):
            part.write(block)
            left -= len(block)
