"""The worker process: reads jobs on stdin, steps networks, streams messages on stdout.

Needs only ncnn and numpy beside this package. Started by a command and spoken to over its pipes, so
another interpreter, another ncnn or another machine may stand in for it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import ncnn
import numpy as np

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.engine.stderr import STEP
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.isolate import isolate
from pytest_ncnn_parity.worker.judge.lockstep import Lockstep
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.loaded import START_VULKAN
from pytest_ncnn_parity.worker.networks.pool import JobNets, Pool
from pytest_ncnn_parity.worker.profile import survey
from pytest_ncnn_parity.worker.timing import times
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.inputs import InputErrors, arrays


class Worker:
    """Serves jobs one after the other; keeps networks that the next job names as well."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._dead: Mapping[str, Mapping[str, Any]] = {}
        self._vulkan = self._told = False  # whether Vulkan was started, and its drivers told of
        self._pool = Pool(self._enter)

    def send(self, **message: Any) -> None:
        try:
            line = json.dumps(message, allow_nan=False)
        except ValueError:  # inf or nan somewhere in it
            line = json.dumps(_plain(message), allow_nan=False)
        self._out.write(line + "\n")
        self._out.flush()

    def _enter(self, step: str) -> None:
        """Announce a native step, so that a death in it has a name; refuse one that killed before."""
        if step in self._dead:
            raise StepFailed(step, self._dead[step])
        self.send(at=step)
        self._vulkan |= step == START_VULKAN
        os.write(2, STEP + step.encode() + b"\n")  # what follows there was said in this step

    def serve(self, lines: TextIO) -> None:
        self.send(environment=self._environment())
        for line in lines:
            try:
                self._run(Job.decode(line))
            except InputErrors as error:
                self.send(error=str(error), inputs=error.problems)
            except MemoryError:  # ends as a crash does: in the step in flight, and with all it holds
                os._exit(limits.OUT_OF_MEMORY)
            except ParityError as error:  # a file that has changed since it was collected
                self.send(error=str(error), inputs={})
            except Exception as error:  # ours: else it would pass for a crash of the step in flight
                self.send(error=_told(error), inputs={})
            self.send(end=True)

    def _run(self, job: Job) -> None:
        self._dead = job.dead
        self._pool.prepare(job)
        graph = self._pool.graph(job.models[0])
        blobs = {blob: Blob.of(made) for blob, made in arrays(job.inputs, graph).items()}
        nets = JobNets(self._pool, job)
        if job.kind == "survey":
            self.send(survey=survey(job, graph, blobs, nets))
        elif job.kind == "time":
            self.send(time=times(job, graph, blobs, nets))
        elif job.kind == "isolate":
            self.send(isolate=isolate(job, graph, blobs, nets, self._pool.files))
        else:
            if job.masks is not None:
                graph = graph.remasked(job.masks)
            for result in Lockstep(job, graph, blobs, nets).results():
                if self._vulkan and not self._told:
                    self._told = True
                    self.send(gpus=vulkan.versions())
                unread = self._pool.files.unread(job.models[0])
                noted = {**result.evidence, "unread": unread} if unread else result.evidence
                self.send(case={**vars(result), "evidence": noted})

    @staticmethod
    def _environment() -> dict[str, Any]:
        return {
            "ncnn": ncnn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.platform(),
        }


def _told(error: Exception) -> str:
    """An error that should not be, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return f"internal error in the worker at {place}: {type(error).__name__}: {error}; please report it"


def _plain(value: Any) -> Any:
    """`value` for strict JSON: inf and nan become strings, tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def main() -> None:
    # what native code prints to stdout must not tear a message: give it stderr instead
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int)
    limits.take(parser.parse_args().memory)
    Worker(out).serve(sys.stdin)
    out.flush()
    os._exit(0)  # without ncnn's destructors, whose order against the driver's is not ours


if __name__ == "__main__":
    main()
