"""The worker process: reads jobs from stdin, steps through networks, streams messages to stdout.

It needs only ncnn and numpy besides this package. Because it is started by a command and spoken to over
pipes, it may run under another interpreter, with another ncnn or on another machine.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import ncnn
import numpy as np

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.base.errors import ParityError, in_one_line
from pytest_ncnn_parity.compare.blocks import use_threads
from pytest_ncnn_parity.engine.protocol import (
    OUT_OF_MEMORY,
    FindDevices,
    FindWeights,
    Isolate,
    Job,
    Judge,
    MeasureProfile,
    MeasureTime,
    Result,
    TakeFingerprint,
)
from pytest_ncnn_parity.engine.steps import STEP_MARK, Death, Step
from pytest_ncnn_parity.engine.wire import decode_job, encode_result
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.far.machines import Listener
from pytest_ncnn_parity.worker.fingerprint import fingerprint
from pytest_ncnn_parity.worker.isolate import isolate
from pytest_ncnn_parity.worker.judge.lockstep import Lockstep
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.here import START_VULKAN
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.pool import Pool
from pytest_ncnn_parity.worker.profile import profile
from pytest_ncnn_parity.worker.timing import times
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.inputs import InputErrors, arrays

_MARK = STEP_MARK + b"\n"


class Server:
    """Serves one job after the other, and keeps the networks that the next job uses as well.

    `out`: where messages are written. `lacks`: what `limits.take` returned.
    """

    def __init__(self, out: TextIO, lacks: Mapping[str, bool]) -> None:
        self._out = out
        self._unsent: list[str] = []
        self._lacks = lacks
        # Each result's output on stderr is followed by a mark. `_marks` counts all marks, `_unset` those
        # that have not been written yet.
        self._marks = self._unset = 0
        self._dead: Mapping[Step, Death] = {}
        self._vulkan = self._drivers_sent = False  # Vulkan was started; drivers reported
        listener = Listener(lambda: self.send(beat=True), _hear, self._learn)
        self._pool = Pool(self._enter, listener)

    def send(self, **message: Any) -> None:
        self._unsent.append(strict_json.line(message))
        self._flush()

    def _flush(self, on_stderr: bytes = b"") -> None:
        """Send pending messages, after pending marks and `on_stderr` in a single write to stderr."""
        said = _MARK * self._unset + on_stderr
        if said:
            os.write(2, said)
        self._out.write("\n".join(self._unsent) + "\n")
        self._out.flush()
        self._unsent.clear()
        self._unset = 0

    def _send_later(self, result: Result) -> None:
        """Queue `result`, to be sent when the next native step begins or the job ends at the latest."""
        self._marks += 1
        self._unset += 1
        self._unsent.append(strict_json.line({"case": encode_result(result), "marks": self._marks}))

    def _enter(self, step: Step) -> None:
        """Announce a native step, so that a crash can be traced to it.

        Raises StepFailed for a step that has killed a worker before.
        """
        if step in self._dead:
            raise StepFailed(step, self._dead[step])
        self._vulkan |= step == START_VULKAN
        self._unsent.append(strict_json.line({"at": step}))
        # what follows on stderr belongs to this step
        self._flush(STEP_MARK + str(step).encode() + b"\n")

    def _learn(self, name: str, facts: Mapping[str, str]) -> None:
        self.send(worker={**facts, "name": name})

    def serve(self, lines: TextIO, wakes_vulkan: bool) -> None:
        if wakes_vulkan:
            vulkan.wake()
        self.send(environment=self._environment(), pid=os.getpid(), **self._lacks)
        for line in lines:
            try:
                self._run(decode_job(line))
            except InputErrors as error:
                self.send(error=str(error), inputs=error.problems)
            except MemoryError:  # ends like a crash in the current step, and frees all memory
                os._exit(OUT_OF_MEMORY)
            except ParityError as error:  # a file has changed since it was collected
                self.send(error=str(error), inputs={})
            except StepFailed as problem:  # the cases report it, if there are any
                self.send(error=f"{problem.step}: {problem.death.detail}", inputs={})
            except Unavailable as problem:
                self.send(error=str(problem), inputs={})
            # a bug of this package, which must not be taken for a crash of the current step
            except Exception as error:
                self.send(error=_internal(error), inputs={})
            self.send(end=True)

    def _run(self, job: Job) -> None:
        self._dead = {death.step: death for death in job.dead if death.step is not None}
        if isinstance(job, FindDevices):
            self.send(answer=self._pool.devices())
            return
        self._pool.prepare(job)
        use_threads(job.threads)
        graph = self._pool.graph(job.models[0]).fed(job.inputs)
        blobs = {blob: Blob.of(array) for blob, array in arrays(job.inputs, graph).items()}
        nets = JobNets(self._pool, job, blobs)
        if isinstance(job, Judge):
            self._judge(job, graph, blobs, nets)
        elif isinstance(job, Isolate):
            self.send(answer=isolate(job, graph, blobs, nets))
        elif isinstance(job, FindWeights):
            self.send(answer=[self._pool.weights(model).spans() for model in job.models])
        elif isinstance(job, MeasureTime):
            self.send(answer=times(job, graph, blobs, nets))
        elif isinstance(job, TakeFingerprint):
            self.send(answer=fingerprint(job, graph, blobs, nets))
        elif isinstance(job, MeasureProfile):
            self.send(answer=profile(job, graph, blobs, nets))

    def _judge(self, job: Judge, graph: Graph, inputs: Made, nets: JobNets) -> None:
        if job.masks is not None:
            graph = graph.remasked(job.masks)
        for result in Lockstep(SampleRun(job, graph, inputs, nets)).results():
            if self._vulkan and not self._drivers_sent:
                self._drivers_sent = True
                self.send(gpus=vulkan.versions())
            self._send_later(_noting(result, self._pool.files.unread(job.models[0])))
            if job.until_failed and result.outcome == "failed":
                return

    @staticmethod
    def _environment() -> dict[str, str]:
        return {
            "ncnn": ncnn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": _system(),
        }


def _system() -> str:
    """Return what platform.platform() does; on Linux, that would start a process to name the CPU."""
    if sys.platform != "linux":
        return platform.platform()
    known = platform.uname()
    libc = "".join(platform.libc_ver())
    return "-".join(filter(None, (known.system, known.release, known.machine, libc and f"with-{libc}")))


def _noting(result: Result, unread: int) -> Result:
    """Return `result` with the number of bytes in the weights file that no layer reads."""
    return replace(result, evidence=replace(result.evidence, unread=unread)) if unread else result


def _hear(name: str, text: str) -> None:
    """Repeat on stderr what the native code of a declared worker printed during the current step."""
    lines = "".join(f"{name}: {line}\n" for line in text.splitlines())
    os.write(2, lines.encode())


def _internal(error: Exception) -> str:
    """Return the message for an internal error."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return f"internal error in the worker at {place}: {in_one_line(error)}; please report it"


def main() -> None:
    # native code may print to stdout, which must not break a message, so its output goes to stderr
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    # a custom layer may read from stdin, as a debugger does: it would wait for the next job, and take it
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    order = json.loads(sys.argv[1])  # see `engine.spawn.Order`
    lacks = limits.take(order["most"])
    gc.freeze()  # what has been imported need not be searched for garbage before each job
    with jobs:
        Server(out, lacks).serve(jobs, order["wakes_vulkan"])
    out.flush()
    # says that nothing will follow: memory and the GPU, which take time, are given back after that
    for pipe in (out.fileno(), 1, 2):
        os.close(pipe)
    os._exit(0)  # skips ncnn's destructors, which may run in the wrong order with the driver's


if __name__ == "__main__":
    main()
