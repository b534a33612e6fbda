"""Two workers that judge one sample at the same time, each of them different comparisons.

One worker judges what runs in 16 bits on Vulkan, the other one the rest; each gets half of the cores.
Both step through the trajectory, because handing its values over would cost as much. No verdict depends
on what the other comparisons see, except if a network cannot be loaded or a worker dies: the other
worker, which shares the GPU, the memory and the time limits, may have caused that. Such a result is not
trusted, and its case is judged again by one worker alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import CaseSpec, FindDevices, Judge, Result
from pytest_ncnn_parity.engine.reported import known_of, once_each, steps_told
from pytest_ncnn_parity.engine.room import Room

# bytes of values above which a second worker saves more time than its start takes. On a GPU steps are
# short, and two workers wait for one driver that starts, compiles and copies.
WORTH = {"cpu": 8 << 20, "gpu": 512 << 20}

# the kinds of death that the other worker cannot have caused
OWN_FAULTS = frozenset({"misread", "int8", "words", "misfit", "hint", "shape"})


def halves(job: Judge) -> tuple[Judge, Judge] | None:
    """Split `job` in two, the second with what runs in 16 bits on Vulkan; return None if it stays whole.

    A declared worker runs one network at a time, so a job that needs one is not split.
    """
    if any(net.worker for net in job.nets):
        return None

    def in_16_bits(case: CaseSpec) -> bool:
        return case.candidate is not None and case.half is not None and _on_vulkan(job, case)

    second = tuple(filter(in_16_bits, job.cases))
    first = tuple(case for case in job.cases if not in_16_bits(case))
    done = frozenset(job.done)
    for half in (first, second):
        if not any(_on_vulkan(job, case) and case.id not in done for case in half):
            return None
    return replace(job, cases=first), replace(job, cases=second)


def _on_vulkan(job: Judge, case: CaseSpec) -> bool:
    return case.candidate is not None and job.nets[case.candidate].setup.on_vulkan


class Lanes:
    """Judges with `engine` and, if it pays, with a second engine that `another` makes on demand.

    `cores`: what both share. `prepare_next` is called once the last job runs, if there is room for the
    next spec's worker.
    """

    def __init__(
        self,
        engine: Engine,
        another: Callable[[], Engine],
        cores: int,
        prepare_next: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._another = another
        self._cores = cores
        self._prepare_next = prepare_next
        self._beside: Engine | None = None
        self._alone = False  # no second worker from now on
        self._is_whole = False  # whether the running job was not split
        self._reads = engine  # whose results are yielded
        self._devices: dict[str, str] | None = None  # "cpu" or "gpu", by the device's index

    def run(self, job: Judge, room: Room) -> Iterator[Result]:
        """Yield the results of `job`, judged by two workers if it can be split and there is `room`.

        Raises EngineError.
        """
        results = self._judged(job, room)
        if job.last and room.for_two:
            for result in islice(results, 1):  # this spec's own workers have been started now
                self._prepare_next()
                yield result
        yield from results

    def holds_result(self) -> bool:
        """Return whether `run` yields a result without waiting for a worker."""
        return self._reads.holds_result()

    def holds_end(self) -> bool:
        """Return whether `run` yields what is left without waiting, of a job that was not split."""
        return self._is_whole and self._engine.holds_end()

    def begin(self, job: Judge, room: Room) -> bool:
        """Send `job` to the worker, which must be free, without waiting; the next `run` is of this job.

        Return False if it might be split; then it was not sent. Raises EngineError.
        """
        if self._parts(job, room) is not None:
            return False
        self._engine.begin(job)
        return True

    def _parts(self, job: Judge, room: Room) -> tuple[Judge, Judge] | None:
        """The halves of `job` if it can be split, and if that may pay."""
        return None if self._alone or room.values < min(WORTH.values()) else halves(job)

    def _judged(self, job: Judge, room: Room) -> Iterator[Result]:
        """Yield the results of `job`.

        If there is no room and the Vulkan device is the CPU itself, one worker judges both parts in
        turn, because it then holds less at a time than for the whole job: see `own_runs`.
        """
        self._is_whole = False
        parts = self._parts(job, room)
        if parts is not None and room.for_two and self._devices is None:
            self._engine.start()  # takes the worker that was started early
            self._starts_beside()  # while the first one wakes the driver; most machines will need both
        if parts is not None and room.values < self._least(job, room):
            parts = None
        if parts is not None and not room.for_two:
            first, second = parts
            yield from self._in_turn(replace(first, keeps_trajectory=room.for_trajectory), second)
            return
        known = []
        if parts is not None and self._starts_beside():
            share = max(1, min(job.threads, self._cores // 2))
            for result in self._together(*(replace(part, threads=share) for part in parts)):
                known.append(result)
                yield result
            if not self._alone:
                return
            self._engine.start_afresh()
        # the whole job from the start, so that one worker's results do not depend on what two have found
        self._is_whole = True
        yield from once_each(self._engine.run(job), known)

    def _in_turn(self, first: Judge, second: Judge) -> Iterator[Result]:
        """Yield the results of both parts, one part after the other."""
        results = []
        for result in self._engine.run(replace(first, last=False)):
            results.append(result)
            yield result
        yield from self._engine.run(
            replace(second, told=(*second.told, *steps_told(results, known_of(first.cases))))
        )

    def _together(self, first: Judge, second: Judge) -> Iterator[Result]:
        """Yield the results of both parts, up to the first result that cannot be trusted."""
        beside = self._beside
        assert beside is not None
        ended = False
        try:
            # the second part takes longer, and this worker has been started already
            self._engine.begin(second)
            beside.begin(first)
            for result in chain(self._read(beside, first), self._read(self._engine, second)):
                death = result.evidence.death
                if death is not None and death.kind not in OWN_FAULTS:
                    self._alone = True
                    return
                self._engine.facts.learn(beside.facts.versions, beside.facts.devices)
                yield result
            ended = True
        except EngineError:
            self._alone = True
        finally:
            self._reads = self._engine
            if not ended:
                self.close()
                self._engine.stop()

    def _read(self, engine: Engine, job: Judge) -> Iterator[Result]:
        self._reads = engine
        yield from engine.run(job)

    def _starts_beside(self) -> bool:
        """Start the second worker, unless there is one; return whether it has started."""
        if self._beside is None:
            self._beside = self._another()
            try:
                self._beside.start()
            except EngineError:
                self.close()
                self._alone = True
        return not self._alone

    def _least(self, job: Judge, room: Room) -> float:
        """The bytes of values from which splitting a job pays; infinite if it never does."""
        if self._devices is None:
            self._devices = self._engine.ask(FindDevices((), (), 0, {}, job.threads), dict[str, str])
        kinds = self._devices.values()
        if not room.for_two and "gpu" in kinds:
            return math.inf
        least = max((WORTH[kind] for kind in kinds), default=math.inf)
        if room.values < least:
            self.leave()
        return least

    def leave(self) -> None:
        """Tell the second worker to end, without waiting for it; it must not be running a job."""
        if self._beside is not None:
            self._beside.leave()

    def close(self) -> None:
        """End the second worker, which releases its share of the GPU and its memory."""
        if self._beside is not None:
            self._beside.stop()
            self._beside = None
