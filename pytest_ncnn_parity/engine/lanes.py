"""Two workers that judge one sample at the same time, each in comparisons of its own.

One judges what runs in 16 bits on Vulkan, the other the rest. Both step through the trajectory, for to
hand its values over would cost as much. Nothing of a verdict depends on what the other comparisons see,
except where a network cannot be loaded or a worker dies: that may be the doing of the worker beside it,
with which it shares a GPU, memory and the time limits. It is not believed, and judged again alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import CaseSpec, FindDevices, Judge, Result
from pytest_ncnn_parity.engine.room import Room

# bytes of values from which on a second worker gains more time than it takes to start. On a GPU steps
# take little, and two workers wait for one driver that starts, compiles and copies.
WORTH = {"cpu": 8 << 20, "gpu": 512 << 20}

# the kinds of death that no other worker can cause
OWN_FAULTS = frozenset({"misread", "int8", "misfit", "hint", "shape", "raised"})


def halves(job: Judge) -> tuple[Judge, Judge] | None:
    """`job` in two, the second with what runs in 16 bits on Vulkan; None: it is not to be parted.

    Declared workers run one network at a time, so what they run is not parted.
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
    """Judges with `engine`, and with another one beside it, which `another` makes when it is wanted."""

    def __init__(self, engine: Engine, another: Callable[[], Engine]) -> None:
        self._engine = engine
        self._another = another
        self._beside: Engine | None = None
        self._alone = False  # from now on
        self._devices: dict[str, str] | None = None  # by index, cpu or gpu

    def run(self, job: Judge, room: Room) -> Iterator[Result]:
        """The results of `job`, in two workers if it can be parted and there is `room`.

        On a device that is the CPU one worker judges both parts in turn where there is none, for it
        holds less of one than of both: see `own_runs`.
        """
        parts = None if self._alone or room.values < min(WORTH.values()) else halves(job)
        if parts is not None and room.for_two and not self._starts_beside():
            parts = None
        if parts is not None and room.values < self._least(job, room):
            self.close()
            parts = None
        if parts is not None and not room.for_two:
            yield from self._in_turn(job, *parts)
            return
        known = set()
        if parts is not None:
            for result in self._together(*parts):
                known.add(result.id)
                yield result
            if not self._alone:
                return
            self._engine.start_afresh()
        # all of it, as if nothing had been: what one worker finds does not depend on what two have found
        yield from (result for result in self._engine.run(job) if result.id not in known)

    def _in_turn(self, job: Judge, first: Judge, second: Judge) -> Iterator[Result]:
        """The results of both parts of `job`, one after the other.

        A network that cannot be loaded is the failure of one case of all: then the rest is not parted.
        """
        done = list(job.done)
        loaded = True
        for result in self._engine.run(first):
            death = result.evidence.death
            loaded = loaded and (death is None or death.step is None or death.step.runs)
            done.append(result.id)
            yield result
        yield from self._engine.run(second if loaded else replace(job, done=tuple(done)))

    def _together(self, first: Judge, second: Judge) -> Iterator[Result]:
        """The results of both, up to one that is not to be believed."""
        beside = self._beside
        assert beside is not None
        ended = False
        try:
            self._engine.begin(first)
            beside.begin(second)
            for result in chain(self._engine.run(first), beside.run(second)):
                death = result.evidence.death
                if death is not None and death.kind not in OWN_FAULTS:
                    self._alone = True
                    return
                self._engine.learn(beside.environment, beside.devices)
                yield result
            ended = True
        except EngineError:
            self._alone = True
        finally:
            if not ended:
                self.close()

    def _starts_beside(self) -> bool:
        """Start the second worker, to be awake once the devices are known; False: none can be."""
        if self._beside is None:
            self._beside = self._another()
            try:
                self._beside.start()
            except EngineError:
                self.close()
                self._alone = True
        return not self._alone

    def _least(self, job: Judge, room: Room) -> float:
        """From how many bytes of values on it pays to part a job; without a device it never does."""
        if self._devices is None:
            self._devices = self._engine.ask(FindDevices((), (), 0, {}, job.threads), dict[str, str])
        kinds = self._devices.values()
        if not room.for_two and "gpu" in kinds:
            return math.inf
        return max((WORTH[kind] for kind in kinds), default=math.inf)

    def close(self) -> None:
        """End the second worker, and with it what it holds of a GPU and of memory."""
        if self._beside is not None:
            self._beside.stop()
            self._beside = None
