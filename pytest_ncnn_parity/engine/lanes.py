"""Two workers that judge one sample at the same time, each in comparisons of its own.

One judges what runs in 16 bits on Vulkan, the other the rest. Both step through the trajectory, for to
hand its values over would cost as much. Nothing of a verdict depends on what the other comparisons see,
except where a network cannot be loaded or a worker dies: that may be the doing of the worker beside it,
with which it shares a GPU, memory and the time limits. It is not believed, and judged again alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.protocol import CaseSpec, Judge, Result

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
    first = tuple(case for case in job.cases if case not in second)
    if not second or not any(_on_vulkan(job, case) for case in first):
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

    def run(self, job: Judge) -> Iterator[Result]:
        """The results of `job`, in two workers if it can be parted."""
        parts = None if self._alone else halves(job)
        done = list(job.done)
        if parts is not None:
            for result in self._together(*parts):
                done.append(result.id)
                yield result
            if not self._alone:
                return
            self._engine.start_afresh()
        yield from self._engine.run(replace(job, done=tuple(done)))

    def _together(self, first: Judge, second: Judge) -> Iterator[Result]:
        """The results of both, up to one that is not to be believed."""
        beside = self._beside = self._beside or self._another()
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

    def close(self) -> None:
        """End the second worker, and with it what it holds of a GPU and of memory."""
        if self._beside is not None:
            self._beside.stop()
            self._beside = None
