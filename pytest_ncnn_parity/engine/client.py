"""Sends jobs to a worker and reads its messages; when a worker dies, another one goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.endings import without_step
from pytest_ncnn_parity.engine.evidence import Death, Evidence
from pytest_ncnn_parity.engine.process import COMMAND, FILL, Died, EngineError, WorkerProcess
from pytest_ncnn_parity.engine.protocol import Job, Judge, Result
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.workers import Worker

__all__ = ["Engine", "EngineError"]

MAX_DEATHS = 20  # in one job; with more of them it is not a case that is at fault, but the model


T = TypeVar("T")


@cache
def _results() -> TypeAdapter[Result]:
    """The validator of results, made once on first use: it takes as long as a hundred cases."""
    return TypeAdapter(Result)


class Engine:
    """Runs jobs in a worker process, one worker after the other. Close it when done.

    `environment` and `devices` hold what workers said of themselves; `watch` is called with each native
    step. `early`: what may have started a worker before.
    """

    def __init__(
        self,
        timeout: float,
        command: tuple[str, ...] | None = None,
        memory: int | None = None,
        folder: Path | None = None,
        fill: int = FILL,
        workers: Mapping[str, Worker] = MappingProxyType({}),
        early: EarlyWorker | None = None,
    ) -> None:
        self.timeout = timeout
        self.environment: dict[str, str] = {}
        self.devices: list[dict[str, str]] = []
        # by name, what the declared workers report of themselves
        self.workers: dict[str, dict[str, str]] = {}
        self.watch: Callable[[Step], None] = lambda _: None
        self._command = command or COMMAND
        self._early = early or EarlyWorker()
        self._memory = memory
        self._folder = folder
        self._fill = fill
        self._workers = workers
        self._worker: WorkerProcess | None = None
        self._begun: Job | None = None  # what the worker has been given, but nobody has heard yet
        self._fatal: dict[Step, Death] = {}  # steps that no later job needs to try again
        self._beyond: str | None = None  # the reason why no later job needs to be tried, if there is one
        # by the device's index, what ncnn reports of its driver
        self._gpus: dict[str, dict[str, str]] = {}

    def begin(self, job: Judge) -> None:
        """Have a worker begin `job`, whose results are those of the next `run` of it.

        It is not waited for. EngineError: no worker can be started, or it takes no job.
        """
        worker = self.start()
        try:
            worker.send(self._left(job, job.done, self._ended_by(job)), self.timeout)
        except Died as died:
            self._discard()
            raise EngineError(died.death.detail) from None
        self._begun = job

    def run(self, job: Judge) -> Iterator[Result]:
        """Results of the job's cases as they come."""
        known = set()
        for message in self._messages(job):
            assert isinstance(message, Result)
            if message.id not in known:
                known.add(message.id)
                yield message

    def ask(self, job: Job, answer: type[T]) -> T:
        """Run a job that judges nothing, and return what it found as an `answer`."""
        # read to the end: a worker left in the middle of a job cannot be asked again
        *_, message = self._messages(job)
        assert isinstance(message, Mapping)
        return _decoded(TypeAdapter(answer), message["answer"])

    def _messages(self, job: Job) -> Iterator[Result | Mapping[str, Any]]:
        """What workers say of the job; a result may come twice.

        A native step that kills the worker, or outlasts the time limit, is the failure of the cases
        that need it; the rest of the job goes on in a fresh worker.
        """
        start = job.done if isinstance(job, Judge) else ()
        done = list(start)
        dead = self._ended_by(job)
        deaths = 0
        while True:
            if self._beyond is not None:
                raise EngineError(self._beyond)
            worker = self._ready()
            problem: EngineError | None = None
            try:
                self._give(worker, job, done, dead)
                for message in self._heard(worker):
                    if "case" in message:
                        result = _decoded(_results(), message["case"])
                        done.append(result.id)
                        self._learn(worker)
                        yield _with_stderr(result, worker)
                    elif "error" in message:
                        problem = EngineError(message["error"], message["inputs"])
                    else:
                        yield message
            except Died as died:
                self._learn(worker)
                self._discard()
                if worker.jobs > 1:
                    # an earlier job may have damaged the worker: ask a fresh one, and from the start,
                    # for what it finds is not to depend on how far that one got
                    done = list(start)
                    continue
                step = died.death.step
                if step is None or step in dead:
                    raise EngineError(without_step(died.death)) from None
                dead[step] = died.death
                deaths += 1
                self._weigh(job, step, died.death, deaths)
            # the caller does not want the rest, which must not be taken for the next job's
            except BaseException:
                self._discard()
                raise
            else:
                if problem is not None:
                    raise problem
                return

    def _give(
        self, worker: WorkerProcess, job: Job, done: Sequence[str], dead: Mapping[Step, Death]
    ) -> None:
        """Send what is left of `job`, unless the worker has begun it."""
        if self._begun is not job:
            worker.send(self._left(job, done, dead), self.timeout)
        self._begun = None

    def _ended_by(self, job: Job) -> dict[Step, Death]:
        """The steps that are not to be tried: what ended workers before."""
        return {**self._fatal, **{death.step: death for death in job.dead if death.step is not None}}

    def _left(self, job: Job, done: Sequence[str], dead: Mapping[Step, Death]) -> Job:
        """What is left of `job`."""
        left = dataclasses.replace(job, dead=tuple(dead.values()), workers=self._named(job))
        return dataclasses.replace(left, done=tuple(done)) if isinstance(left, Judge) else left

    def _named(self, job: Job) -> tuple[Worker, ...]:
        """The declared workers that the networks of `job` name."""
        names = dict.fromkeys(net.worker for net in job.nets if net.worker in self._workers)
        return tuple(self._workers[name] for name in names if name is not None)

    def _weigh(self, job: Job, step: Step, death: Death, deaths: int) -> None:
        """Note a death that every sample would share. Raises EngineError after too many `deaths`."""
        if step.ends_alike:
            self._fatal[step] = death
        if deaths > MAX_DEATHS:
            what = (
                f"the worker died {deaths} times with this model; the last: "
                f"{step}, {death.detail}. No further case was run"
            )
            if isinstance(job, Judge) and not job.remember and len(job.models) == 1:
                self._beyond = what  # in other jobs, what died was a mask that was only tried
            raise EngineError(what) from None

    def _heard(self, worker: WorkerProcess) -> Iterator[dict[str, Any]]:
        """What a worker says of its job; what it says of itself is heard here."""
        for message in worker.messages(self.timeout):
            if "at" in message:
                self.watch(message["at"])
            elif "worker" in message:
                self.workers[message["worker"].pop("name")] = message["worker"]
            elif "beat" in message:
                continue
            elif "gpus" in message:
                self._gpus = message["gpus"]
            else:
                yield message

    def start(self) -> WorkerProcess:
        """The worker, started if there is none. It is not waited for until it is awake."""
        if self._worker is None:
            early = self._early.take(self._command, self._memory, self._fill)
            self._worker = early or WorkerProcess(self._command, self._memory, self._folder, self._fill)
        return self._worker

    def _ready(self) -> WorkerProcess:
        worker = self.start()
        try:
            self.environment = worker.environment
        except BaseException:
            self._worker = None
            raise
        return worker

    def _learn(self, worker: WorkerProcess) -> None:
        """Read the devices that ncnn found from stderr, where alone their fp16 flags are printed.

        Those of which the worker has not said what driver they have are read once it has, for what is
        read now may be behind the result that is looked at; or when it has died.
        """
        for index, (name, flags) in worker.stderr.devices.items():
            if index in self._gpus or not worker.is_alive:
                self._add({"index": index, "name": name, "fp16": flags, **self._gpus.get(index, {})})

    def _add(self, device: dict[str, str]) -> None:
        """Add `device`, in place of what was known of it before."""
        if any(device.items() <= known.items() for known in self.devices):
            return
        self.devices = [known for known in self.devices if not known.items() <= device.items()]
        self.devices.append(device)

    def start_afresh(self) -> None:
        """Go on with another worker, and try again what has ended workers so far."""
        self._discard()
        self._fatal.clear()
        self._beyond = None

    def stop(self) -> None:
        """End the worker at once, whatever it is doing."""
        self._discard()

    def _discard(self) -> None:
        self._begun = None
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is a worker."""
        return None if self._worker is None else self._worker.pid

    def learn(
        self,
        environment: Mapping[str, str],
        devices: Iterable[Mapping[str, str]],
        workers: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """Take what a worker of another process said of itself, and of devices and declared workers."""
        self.environment = self.environment or dict(environment)
        for device in devices:
            self._add(dict(device))
        self.workers.update({name: dict(facts) for name, facts in workers.items()})

    def close(self) -> None:
        if self._worker is not None:
            self._worker.finish()
            self._worker = None


def _with_stderr(result: Result, worker: WorkerProcess) -> Result:
    """A failed result with what native code said about it on stderr."""
    if result.outcome != "failed":
        return result
    evidence = result.evidence
    death = evidence.death
    label = death.step.label if death is not None and death.step is not None else str(evidence.setup)
    shader = worker.stderr.shader_failures.get(str(Step("load", label)))
    if death is not None and death.kind == "refused":
        death = dataclasses.replace(death, stderr=worker.stderr.text())
    # the whole text, because devices are reported elsewhere
    if death is not None and death.kind == "files":
        death = dataclasses.replace(death, stderr=worker.stderr.of_step(str(death.step)))
    seen: Evidence = dataclasses.replace(evidence, shader=shader or evidence.shader, death=death)
    return dataclasses.replace(result, evidence=seen)


def _decoded(kind: TypeAdapter[T], value: Any) -> T:
    """`value` of a message as a `kind`."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineError(
            f"the worker wrote something other than a message: {where}: {first['msg']}"
        ) from None
