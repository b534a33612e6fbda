"""The trajectory in the trials of a search, which is the same in each of them.

The first trial steps through it. The next ones know what that found out about each value, which is all
that is asked of most of them: a trial judges few layers. Elements are fetched where something reads
them. Those that an earlier trial read as well are kept, as far as there is room. For others, the trial
steps through the trajectory once more, up to the layer that makes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Underflow
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.values.blob import Blob, Deferred, Made
from pytest_ncnn_parity.worker.values.stats import Stats
from pytest_ncnn_parity.worker.values.stepping import Chain


class KnownUnderflows(NamedTuple):
    """What has been found out about values of a trajectory that become 0 in fp16; it grows.

    `effects`: those that break a layer, by its number, its tolerance and the inputs that were in fp16;
    None: there is none. `zeros`: by value, how many of its elements are 0 by what its layer computes.
    `left_by_rounding`: by sum, whether its tiny elements are what rounding leaves of its terms.
    """

    effects: dict[tuple[int, Tolerance, frozenset[str]], Underflow | None]
    zeros: dict[str, int]
    left_by_rounding: dict[str, bool]


class Facts(NamedTuple):
    """What is known of a value without its elements."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    batch: bool
    stats: Stats
    digest: bytes

    @staticmethod
    def of(value: Blob) -> Facts:
        return Facts(value.shape, value.dtype, value.batch, value.measured(), value.digest)


class Recalled(Deferred):
    """A value of which the facts are known, and whose elements are fetched when they are first read."""

    def __init__(self, facts: Facts, fetch: Callable[[], Blob]) -> None:
        super().__init__(facts.shape, facts.dtype, facts.batch, fetch)
        self._stats = facts.stats
        self._digest = facts.digest


class Keep(Protocol):
    def __call__(self, key: Callable[[], Hashable], make: Callable[[], Made], *, seconds: float) -> Made:
        """Return what `make` returns, or what it returned before; making it again takes `seconds`."""
        ...


class Trace:
    """What the trials of a search have found out about one trajectory; `keep` keeps its values.

    `facts` holds, by layer number, those of its outputs, `deaths` how it ended if it cannot be run.
    `seconds` is how long it takes from the start of the trajectory to the end of the layer.
    """

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.facts: dict[int, dict[str, Facts]] = {}
        self.deaths: dict[int, tuple[Step, Death]] = {}
        self.seconds: dict[int, float] = {}
        self.underflows = KnownUnderflows({}, {}, {})


class RecalledTrajectory:
    """The trajectory as one trial steps through it.

    `begin` returns a chain that has not taken a step, and whose values tell how they were made: see
    `Blob.derived`.
    """

    def __init__(self, trace: Trace, begin: Callable[[], Chain]) -> None:
        self._trace = trace
        self._begin = begin
        self._restart()

    def _restart(self) -> None:
        self._chain = self._begin()
        self._steps: Iterator[tuple[Layer, Made]] = self._chain.steps()
        self._passed = -1  # the number of the last layer that the chain has run
        self._seconds = 0.0

    def outputs(self, layer: Layer) -> Made:
        """Return the outputs of `layer`. Raises StepFailed."""
        trace = self._trace
        if layer.number in trace.deaths:
            raise StepFailed(*trace.deaths[layer.number])
        if layer.number not in trace.facts:
            self._reach(layer)
            lost = next((blob for blob in layer.outputs if blob in self._chain.lost), None)
            if lost is not None:
                failed = self._chain.lost[lost]
                if failed.death.kind != "memory":  # of which there may be more in a later trial
                    trace.deaths[layer.number] = failed.step, failed.death
                raise failed.with_traceback(None)
            trace.facts[layer.number] = {b: Facts.of(self._chain.blobs[b]) for b in layer.outputs}
            trace.seconds[layer.number] = self._seconds
        facts = trace.facts[layer.number]
        return {blob: Recalled(of, partial(self._kept, layer, blob)) for blob, of in facts.items()}

    def _kept(self, layer: Layer, blob: str) -> Blob:
        """Return the value of `blob`, an output of `layer`, from those that are kept if it is there.

        Raises StepFailed.
        """
        trace = self._trace
        return trace.keep(
            lambda: (trace, blob),
            lambda: {blob: self._computed(layer, blob)},
            seconds=trace.seconds[layer.number],
        )[blob]

    def _computed(self, layer: Layer, blob: str) -> Blob:
        if layer.number <= self._passed and blob not in self._chain.blobs:
            self._restart()  # nobody knew that it would be read again after its last reader
        self._reach(layer)
        if blob in self._chain.lost:  # this time; an earlier trial was able to run it
            raise self._chain.lost[blob].with_traceback(None)
        return self._chain.blobs[blob]

    def _reach(self, layer: Layer) -> None:
        """Have the chain run all layers up to `layer`, unless it has."""
        while self._passed < layer.number:
            before = time.perf_counter()
            at, _ = next(self._steps)
            self._passed = at.number
            self._seconds += time.perf_counter() - before
