"""The results of a spec's samples, run on demand: here, or by another xdist worker that was first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import filelock

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case, Plan

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Settings:
    """What the command line says about running. `share`: a folder that all xdist workers see.

    `memory`: the bytes a worker may hold. `accumulated`: follow candidates' own runs as well. `watch` is
    told what is going on, again and again.
    """

    timeout: float
    threads: int
    memory: int | None = None
    accumulated: bool = False
    share: Path | None = None
    watch: Callable[[str], None] = lambda _: None


@dataclass
class SpecRun:
    """One spec's engine and the results of its samples.

    `selected` holds, by sample, the cases this session runs, in the order they were collected.
    """

    plan: Plan
    settings: Settings
    selected: Mapping[str, Sequence[Case]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.settings
        self.engine = Engine(settings.timeout, memory=settings.memory, folder=settings.share)
        self.engine.watch = self._watch
        self.phase = ""  # what native steps are being done for, where it is not to judge a sample
        self._samples: dict[str, _Sample] = {}
        self._running: _Sample | None = None
        self._once: dict[tuple[str, str], Any] = {}

    def result(self, sample: str, case: Case) -> Result:
        """The result of `case`; its sample is run up to here if nobody has."""
        return self._sample(sample).result(case.id)

    def results(self, sample: str) -> dict[str, Result]:
        """All results of a sample's selected cases, by case id."""
        found = self._sample(sample)
        found.finish()
        return found.known

    def _watch(self, step: str) -> None:
        kind, _, rest = step.partition(" ")
        number, _, what = rest.partition(" ")
        if kind == "layer":
            step = f"layer {int(number) + 1} of {len(self.plan.graph.layers)}, {what}"
        self.settings.watch(f"{self.phase}{step}")

    def environment(self) -> dict[str, Any]:
        """Versions and devices as far as any worker told."""
        devices = [{"driver": None, "api": None, **device} for device in self.engine.devices]
        return {**self.engine.environment, "devices": devices}

    def _sample(self, name: str) -> _Sample:
        if name not in self._samples:
            kind = _Sample if self.settings.share is None else _SharedSample
            self._samples[name] = kind(self, name)
        sample = self._samples[name]
        if self._running not in (None, sample):
            assert self._running is not None
            self._running.finish()  # one engine, one job at a time
        self._running = sample
        return sample

    def idle(self) -> None:
        """Finish what is running, so that the engine is free for another job."""
        if self._running is not None:
            self._running.finish()

    def once(self, kind: str, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, plain values, worked out once for this process and all xdist workers.

        Where it raises, it is not called again here, and the others get None.
        """
        key = (kind, name)
        if key not in self._once:
            self._once[key] = None
            self._once[key] = make() if self.settings.share is None else self._shared(key, make)
        return self._once[key]

    def _shared(self, key: tuple[str, str], make: Callable[[], Any]) -> Any:
        path = self.share_path(*key).with_suffix(".json")
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.exists():
                made = make()
                fresh = path.with_suffix(".new")
                fresh.write_text(json.dumps(made), "utf-8")
                fresh.replace(path)
            return json.loads(path.read_text("utf-8"))

    def share_path(self, *key: str) -> Path:
        assert self.settings.share is not None
        name = sha256("\0".join([str(self.plan.spec.path), *key]).encode()).hexdigest()[:24]
        return self.settings.share / name

    def close(self) -> None:
        self.engine.close()


class _Sample:
    """One sample's results, streamed from the engine as they are asked for."""

    def __init__(self, run: SpecRun, name: str) -> None:
        self._run = run
        self._name = name
        self._cases = run.selected.get(name, ())
        self._stream: Iterator[Result] | None = None
        self._ended = False
        self.known: dict[str, Result] = {}

    def result(self, case_id: str) -> Result:
        while case_id not in self.known:
            if self._ended:
                raise EngineError(f"the engine gave no result for {case_id}; please report it")
            self._take()
        return self.known[case_id]

    def finish(self) -> None:
        while not self._ended:
            self._take()

    def _take(self) -> None:
        """Learn one more result, or that there are no more."""
        if self._stream is None:
            self._stream = self._fresh()
        result = next(self._stream, None)
        if result is None:
            self._ended = True
        else:
            self.known[result.id] = result

    def _fresh(self) -> Iterator[Result]:
        """Run the cases without a result. A job that cannot run fails its first case, skips the rest."""
        run = self._run
        first = next(iter(run.selected), None) == self._name
        job = jobs.judge(run.plan, self._name, self._cases, run.settings.threads, first)
        job = replace(job, accumulated=run.settings.accumulated)
        waiting = [case.id for case in self._cases if case.id not in self.known]
        if not waiting:
            return
        try:
            for message in run.engine.run(replace(job, done=tuple(self.known))):
                waiting.remove(message.id)
                yield message
        except EngineError as error:
            yield Result(waiting[0], "failed", evidence={"error": self._placed(error)})
            for case_id in waiting[1:]:
                reason = f"not run: the sample could not be run; {waiting[0]} tells why"
                yield Result(case_id, "skipped", reason=reason)

    def _placed(self, error: EngineError) -> str:
        spec = self._run.plan.spec
        if not error.inputs:
            return f"{spec.at('inputs', self._name, of_key=True)}: {error}"
        return "\n".join(
            f"{spec.at_input(self._name, blob)}: {problem}" for blob, problem in error.inputs.items()
        )


class _SharedSample(_Sample):
    """The same among xdist workers: whoever takes the lock runs the sample, the others read along."""

    def __init__(self, run: SpecRun, name: str) -> None:
        super().__init__(run, name)
        path = run.share_path("sample", name)
        self._log = path.with_suffix(".jsonl")
        self._lock = filelock.FileLock(path.with_suffix(".lock"))
        self._offset = 0

    def _take(self) -> None:
        self._read()
        if self._ended:
            return
        try:
            with self._lock.acquire(timeout=0):
                self._read()
                if not self._ended:
                    self._lead()
        except filelock.Timeout:
            time.sleep(POLL_SECONDS)
        self._read()

    def _lead(self) -> None:
        """Run the sample to its end, whatever part of it is wanted here: others wait for the rest."""
        with self._log.open("ab") as log:
            if self._log.stat().st_size > self._offset:
                log.write(b"\n")  # a leader that was killed left half a line
            for result in self._fresh():
                log.write(json.dumps({"case": asdict(result)}).encode() + b"\n")
                log.flush()
            engine = self._run.engine
            told = {"environment": engine.environment, "devices": engine.devices, "end": True}
            log.write(json.dumps(told).encode() + b"\n")

    def _read(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._offset)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in filter(None, whole.split(b"\n")):
            self._learn(line)

    def _learn(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            return  # the half line a killed leader left; its case is run again
        if "case" in message:
            result = Result(**message["case"])
            self.known[result.id] = result
        if "end" in message:
            self._ended = True
            engine = self._run.engine
            engine.environment = engine.environment or message["environment"]
            engine.devices = engine.devices or message["devices"]


def threads(xdist_workers: int) -> int:
    """This process's share of the cores it may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return max(1, cores // max(1, xdist_workers))
