"""Times whole networks as users run them, taking turns within one process."""

from __future__ import annotations

import time

from pytest_ncnn_parity.engine.protocol import Job, Timing
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made

MAX_ROUNDS = 9
SECONDS = 3.0  # no further round begins after this time: long runs vary little


def times(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> list[Timing]:
    """Return the timing of each network of the job, in milliseconds per run.

    Each network runs once without being counted, unless these runs are so long that it makes no
    difference. Then come rounds in which each runs once, so that a busy machine slows all of them down
    alike.
    """
    timings: list[Timing] = []
    running: dict[int, tuple[Net, list[float]]] = {}
    for number in range(len(job.nets)):
        try:
            net = nets[number]
            first = net.time(inputs, job.outputs)
        except (StepFailed, Unavailable) as problem:
            timings.append(Timing(problem=str(problem)))
        else:
            running[number] = (net, [first])
            timings.append(Timing(where=tuple(net.execution(layer).where for layer in graph.layers)))
    took = sum(first for _, (first,) in running.values()) / 1000.0
    start = time.perf_counter()
    for _ in range(MAX_ROUNDS if took < SECONDS else 0):
        for number, (net, milliseconds) in list(running.items()):
            try:
                milliseconds.append(net.time(inputs, job.outputs))
            except (StepFailed, Unavailable) as problem:
                timings[number] = Timing(problem=str(problem))
                del running[number]
        if time.perf_counter() - start > SECONDS:
            break
    for number, (_, milliseconds) in running.items():
        timings[number] = Timing(tuple(milliseconds[1:] or milliseconds), timings[number].where)
    return timings
