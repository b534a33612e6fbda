"""Sends jobs to a worker and reads its messages; if the worker dies, a fresh one continues the job."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.endings import without_step
from pytest_ncnn_parity.engine.facts import Facts
from pytest_ncnn_parity.engine.process import Died, EngineError, WorkerProcess
from pytest_ncnn_parity.engine.protocol import Job, Judge, Result
from pytest_ncnn_parity.engine.reported import known_of, once_each, steps_told
from pytest_ncnn_parity.engine.spawn import COMMAND, FILL, Order
from pytest_ncnn_parity.engine.stderr import with_stderr
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.workers import Worker

__all__ = ["Engine", "EngineError"]

MAX_DEATHS = 20  # per job; beyond this number, the fault lies in the model and not in single cases


T = TypeVar("T")


@cache
def _results() -> TypeAdapter[Result]:
    """The validator of results, built once on first use: building it takes as long as 100 cases."""
    return TypeAdapter(Result)


class Engine:
    """Runs jobs in one worker process at a time. Call `close` when done.

    `facts`: what workers reported about themselves. `watch` is called with each native step. `early` may
    hold a worker that was started beforehand.
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
        self.facts = Facts()
        self.watch: Callable[[Step], None] = lambda _: None
        self._order = Order(command or COMMAND, memory, folder, fill)
        self._early = early or EarlyWorker()
        self._workers = workers
        self._worker: WorkerProcess | None = None
        self._ending: list[WorkerProcess] = []  # workers that were told to end
        self._begun: Job | None = None  # the job that was sent but whose messages have not been read yet
        self._tried_again: set[Step] = set()  # after a death from outside
        self._fatal: dict[Step, Death] = {}  # steps that no later job tries again
        self._beyond: str | None = None  # why no later job is tried, if that is so

    def begin(self, job: Job) -> None:
        """Send `job` to a worker without waiting for it; the next `run` or `ask` of `job` goes on.

        Raises EngineError if no worker can be started.
        """
        self.start().begin(self._left(job, _done(job), self._ended_by(job)))
        self._begun = job

    def run(self, job: Judge) -> Iterator[Result]:
        """Yield the result of each case of `job` as it arrives, once per case. Raises EngineError."""
        return once_each(message for message in self._messages(job) if isinstance(message, Result))

    def holds_result(self) -> bool:
        """Return whether `run` yields a result without waiting for the worker."""
        return self._worker is not None and self._worker.holds_result()

    def holds_end(self) -> bool:
        """Return whether `run` ends without waiting for the worker."""
        return self._worker is not None and self._worker.holds_end()

    def ask(self, job: Job, answer: type[T]) -> T:
        """Run a job that judges nothing; return its answer, of type `answer`. Raises EngineError."""
        # read to the end, because a worker that is left in the middle of a job cannot take another
        for message in deque(self._messages(job), maxlen=1):
            if isinstance(message, Mapping) and "answer" in message:
                return _decoded(TypeAdapter(answer), message["answer"])
        raise EngineError("the worker ended the job without an answer")

    def _messages(self, job: Job) -> Iterator[Result | Mapping[str, Any]]:
        """Yield the messages that workers send about the job; a result may come twice.

        A native step that kills the worker or exceeds the time limit fails the cases that need it. The
        rest of the job continues in a fresh worker.
        """
        done = _done(job)
        dead = self._ended_by(job)
        known = len(dead)
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
                        done[result.id] = result
                        self.facts.read_devices(worker.stderr)
                        yield with_stderr(result, worker.stderr)
                    elif "error" in message:
                        problem = EngineError(message["error"], message["inputs"])
                    else:
                        yield message
            except Died as died:
                self.facts.read_devices(worker.stderr, has_ended=True)
                self._discard()
                if worker.jobs > 1:
                    # an earlier job may have damaged the worker: a fresh one starts from the beginning,
                    # so that no further result depends on how far the damaged one got
                    done = _done(job)
                    continue
                self._weigh(job, died.death, dead, known)
            # the caller abandons the job: its remaining messages must not be read as the next job's
            except BaseException:
                self._discard()
                raise
            else:
                if problem is not None:
                    raise problem
                return

    def _give(
        self,
        worker: WorkerProcess,
        job: Job,
        done: Mapping[str, Result | None],
        dead: Mapping[Step, Death],
    ) -> None:
        """Send what is left of `job`, unless the worker has already begun it."""
        if self._begun is not job:
            worker.send(self._left(job, done, dead), self.timeout)
        self._begun = None

    def _ended_by(self, job: Job) -> dict[Step, Death]:
        """The steps that are not tried because they ended a worker before."""
        return {**self._fatal, **{death.step: death for death in job.dead if death.step is not None}}

    def _left(self, job: Job, done: Mapping[str, Result | None], dead: Mapping[Step, Death]) -> Job:
        """`job` with what is `done`, the `dead` steps that are not tried, and the workers it needs."""
        left = dataclasses.replace(job, dead=tuple(dead.values()), workers=self._named(job))
        if not isinstance(left, Judge):
            return left
        found = [result for result in done.values() if result is not None]
        steps = (*left.told, *steps_told(found, known_of(left.cases)))
        red = (*left.red, *(result.id for result in found if result.outcome == "failed"))
        return dataclasses.replace(left, done=tuple(done), red=red, told=steps)

    def _named(self, job: Job) -> tuple[Worker, ...]:
        """The declared workers that the networks of `job` name."""
        names = dict.fromkeys(net.worker for net in job.nets if net.worker in self._workers)
        return tuple(self._workers[name] for name in names if name is not None)

    def _weigh(self, job: Job, death: Death, dead: dict[Step, Death], known: int) -> None:
        """Add a death to the `dead` steps, of which so many were `known` before the job.

        A step that all cases of a setup need, and that something outside ended, is tried once more.
        Raises EngineError after too many deaths.
        """
        step = death.step
        if step is None or step in dead:
            raise EngineError(without_step(death)) from None
        if death.from_outside and not step.runs and step not in self._tried_again:
            self._tried_again.add(step)
            return
        dead[step] = death
        if step.ends_alike:
            self._fatal[step] = death
        deaths = len(dead) - known
        if deaths > MAX_DEATHS:
            what = (
                f"the worker died {deaths} times with this model; the last: "
                f"{step}, {death.detail}. No further case was run"
            )
            if isinstance(job, Judge) and not job.remember and len(job.models) == 1:
                self._beyond = what  # in other jobs, what died was only a trial of masks
            raise EngineError(what) from None

    def _heard(self, worker: WorkerProcess) -> Iterator[dict[str, Any]]:
        """Yield a worker's messages about its job; its messages about itself are handled here."""
        for message in worker.messages(self.timeout):
            if "at" in message:
                self.watch(message["at"])
            elif "beat" not in message and not self.facts.take(message):
                yield message

    def start(self) -> WorkerProcess:
        """Return the worker, started if there is none, without waiting until it is ready."""
        if self._worker is None:
            self._worker = WorkerProcess(self._order, self._early.take(self._order))
        return self._worker

    def _ready(self) -> WorkerProcess:
        worker = self.start()
        try:
            self.facts.versions = worker.environment
        except BaseException as error:
            self._worker = self._begun = None
            if not worker.wakes_vulkan or not isinstance(error, EngineError):
                raise
            return self._ready()  # the driver's fault, which the first step that needs Vulkan will tell
        return worker

    def start_afresh(self) -> None:
        """Continue with a new worker, and allow the steps that have ended workers to be tried again."""
        self._discard()
        self._fatal.clear()
        self._beyond = None

    def stop(self) -> None:
        """Kill the worker at once, whatever it is doing."""
        self._discard()
        while self._ending:
            self._ending.pop().kill()

    def _discard(self) -> None:
        self._begun = None
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None if there is no worker."""
        return None if self._worker is None else self._worker.pid

    def leave(self) -> None:
        """Tell the worker to end, if there is one, without waiting for it."""
        if self._begun is not None:
            self._discard()  # nobody will ask for the results
        if self._worker is not None:
            self._worker.leave()
            self._ending.append(self._worker)
            self._worker = None

    def close(self) -> None:
        """Let the worker end, if there is one, and wait for that."""
        self.leave()
        while self._ending:
            self._ending.pop().finish()


def _done(job: Job) -> dict[str, Result | None]:
    """The cases that were done before `job`, whose results it does not have."""
    return dict.fromkeys(job.done) if isinstance(job, Judge) else {}


def _decoded(kind: TypeAdapter[T], value: Any) -> T:
    """Convert `value` from a message to a `kind`. Raises EngineError if it is not one."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineError(
            f"the worker wrote something other than a message: {where}: {first['msg']}"
        ) from None
