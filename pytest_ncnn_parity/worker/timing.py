"""How long networks take, as their users run them: in turns, in one process."""

from __future__ import annotations

import time
from typing import Any

from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.network.param import Graph
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.pool import JobNets
from pytest_ncnn_parity.worker.values.blob import Made

MAX_ROUNDS = 9
SECONDS = 3.0  # after this and three rounds no further round begins; nor after ten times this


def times(job: Job, graph: Graph, inputs: Made, nets: JobNets) -> list[dict[str, Any]]:
    """For each network of the job: `ms`, a list of milliseconds, or `problem`, why there is none.

    One uncounted run each, then rounds in which each runs once, so that a busy machine slows all.
    `where` holds "cpu" or "vulkan" for every layer.
    """
    found: list[dict[str, Any]] = []
    for number in range(len(job.nets)):
        try:
            net = nets[number]
            net.run(inputs, graph.outputs)
        except (StepFailed, Unavailable) as problem:
            found.append({"problem": str(problem), "ms": [], "where": []})
        else:
            where = [net.execution(layer).where for layer in graph.layers]
            found.append({"problem": None, "ms": [], "where": where})
    start = time.perf_counter()
    for turn in range(MAX_ROUNDS):
        for number, told in enumerate(found):
            if told["problem"] is None:
                before = time.perf_counter()
                nets[number].run(inputs, graph.outputs)
                told["ms"].append(1000.0 * (time.perf_counter() - before))
        if time.perf_counter() - start > (SECONDS if turn >= 2 else 10 * SECONDS):
            break
    return found
