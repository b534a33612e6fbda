"""pytest's side of the engine: starts workers, reads their messages, outlives their deaths."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.engine.process import Died, EngineError, Worker
from pytest_ncnn_parity.engine.protocol import Job, Result

__all__ = ["Engine", "EngineError"]

MAX_DEATHS = 20  # in one job: past that a model is beyond testing, not a case
BEFORE_ANY_VALUE = ("start Vulkan", "load on")  # steps that end the same way whatever the sample


class Engine:
    """Runs jobs in a worker process, one worker after the other. Close it when done."""

    def __init__(
        self,
        timeout: float,
        command: tuple[str, ...] | None = None,
        memory: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.timeout = timeout
        self.environment: dict[str, Any] = {}
        self.devices: list[dict[str, str]] = []
        self._command = command or (sys.executable, "-m", "pytest_ncnn_parity.worker.main")
        self._memory = memory
        self._folder = folder
        self._worker: Worker | None = None
        self._fatal: dict[str, Mapping[str, Any]] = {}  # steps that no job need try again
        self._beyond: str | None = None  # why no job need be tried any more
        self._gpus: dict[str, dict[str, str]] = {}  # by index, what ncnn tells of their drivers
        self.watch: Callable[[str], None] = lambda _: None  # told of each native step

    def run(self, job: Job) -> Iterator[Result]:
        """Results of the job's cases as they come."""
        for message in self._messages(job):
            assert isinstance(message, Result)
            yield message

    def ask(self, job: Job) -> Any:
        """What a job that judges nothing has to tell."""
        (message,) = self._messages(job)
        assert isinstance(message, Mapping)
        return message[job.kind]

    def _messages(self, job: Job) -> Iterator[Result | Mapping[str, Any]]:
        """What workers say of the job.

        A native step that kills the worker, or outlasts the time limit, is the failure of the cases
        that need it; the rest of the job goes on in a fresh worker.
        """
        done: list[str] = list(job.done)
        dead: dict[str, Mapping[str, Any]] = {**self._fatal, **job.dead}
        deaths = 0
        while True:
            if self._beyond is not None:
                raise EngineError(self._beyond)
            worker = self._ready()
            problem: EngineError | None = None
            try:
                worker.send(dataclasses.replace(job, done=tuple(done), dead=dead), self.timeout)
                for message in self._heard(worker):
                    if "case" in message:
                        result = Result(**message["case"])
                        done.append(result.id)
                        self._learn(worker)
                        yield self._with_stderr(result, worker)
                    elif "error" in message:
                        problem = EngineError(message["error"], message["inputs"])
                    else:
                        yield message
            except Died as died:
                self._discard()
                if worker.jobs > 1:
                    continue  # what an earlier job broke may have killed it: ask a fresh worker
                if died.step in dead or died.step is None:
                    raise EngineError(
                        f"the worker died outside of any network ({died.death.detail}):\n"
                        f"{died.death.stderr}"
                    ) from None
                dead[died.step] = dataclasses.asdict(died.death)
                deaths += 1
                self._weigh(job, died, deaths)
            except BaseException:  # nobody wants the rest: it must not be taken for the next job's
                self._discard()
                raise
            else:
                if problem is not None:
                    raise problem
                return

    def _weigh(self, job: Job, died: Died, deaths: int) -> None:
        """What the last of a job's `deaths` means for what is still to be done."""
        assert died.step is not None
        patched = died.step.endswith("(patched)")  # one name for many networks
        if died.step.startswith(BEFORE_ANY_VALUE) and not patched:
            self._fatal[died.step] = dataclasses.asdict(died.death)
        if deaths > MAX_DEATHS:
            what = (
                f"the worker died {deaths} times with this model; the last: "
                f"{died.step}, {died.death.detail}. No further case was run"
            )
            if job.kind == "judge" and not job.remember and len(job.models) == 1:
                self._beyond = what  # elsewhere what died are masks that were tried
            raise EngineError(what) from None

    def _heard(self, worker: Worker) -> Iterator[dict[str, Any]]:
        """What a worker says of its job; what it says of itself is heard here."""
        for message in worker.messages(self.timeout):
            if "at" in message:
                self.watch(message["at"])
            elif "gpus" in message:
                self._gpus = message["gpus"]
            else:
                yield message

    def _with_stderr(self, result: Result, worker: Worker) -> Result:
        """A failed result with what native code said about it on stderr."""
        if result.outcome != "failed":
            return result
        evidence = dict(result.evidence)
        shader = worker.stderr.shader_failures.get(f"load on {evidence.get('setup')}")
        if shader is not None:
            evidence["shader"] = shader
        if evidence.get("death", {}).get("kind") == "refused":
            evidence["death"] = {**evidence["death"], "stderr": worker.stderr.text()}
        return dataclasses.replace(result, evidence=evidence)

    def _ready(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(self._command, self._memory, self._folder)
            self.environment = self._worker.environment
        return self._worker

    def _learn(self, worker: Worker) -> None:
        """Know the devices ncnn found: their fp16 flags stand on stderr alone."""
        for index, (name, flags) in worker.stderr.devices.items():
            device = {"index": index, "name": name, "fp16": flags, **self._gpus.get(index, {})}
            if device not in self.devices:
                self.devices.append(device)

    def _discard(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.finish()
            self._worker = None
