"""Asks the engine whether a comparison is right with given masks, within the budget of the search."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.diagnose.wording import symptom
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.outputs import OutputErrors, not_mended
from pytest_ncnn_parity.repair.search import Masks, Spent


@dataclass
class SearchBudget:
    """How much a search may take: `runs` of a network on one sample, and seconds."""

    runs: int
    seconds: float
    used: int = 0
    start: float = field(default_factory=time.monotonic)

    @property
    def took(self) -> float:
        return time.monotonic() - self.start

    def spend(self) -> None:
        """Use up one run. Raises Spent if none is left."""
        if self.used >= self.runs or self.took > self.seconds:
            raise Spent
        self.used += 1


@dataclass
class Trials:
    """The oracle of a search: masks hold if all of `cases`, by sample, agree.

    An output whose error is only forgiven must be better than it was `before`. `last` says why the last
    masks that did not hold failed. `most`: the share of its tolerance that an output may use;
    `lacked_room`: masks were right but for that.
    """

    run: SpecRun
    cases: Mapping[str, Sequence[Case]]
    budget: SearchBudget
    before: OutputErrors = field(default_factory=dict)
    most: float = math.inf
    lacked_room: bool = False
    last: str = ""

    def __post_init__(self) -> None:
        self._samples = [sample for sample, cases in self.cases.items() if cases]

    def holds(self, masks: Masks) -> bool:
        """Whether the network is right with `masks` added to the masks of its layers."""
        layers = self.run.plan.masked.layers
        return self.right_under([layer.mask | masks.get(layer.number, 0) for layer in layers])

    def right_under(self, masks: Sequence[int]) -> bool:
        """Whether the network is right with `masks` as the masks of all its layers, by number."""
        for sample in self._samples:
            self.budget.spend()
            purpose = f"masks, run {self.budget.used} of at most {self.budget.runs}"
            with self.run.working_on(purpose):
                failure = self._failure(sample, masks)
            if failure:
                self.last = f"sample {sample}: {failure}"
                self._samples.remove(sample)  # the sample most likely to fail is tried first
                self._samples.insert(0, sample)
                return False
        return True

    def _failure(self, sample: str, masks: Sequence[int]) -> str:
        try:
            results = self.run.trial(sample, self.cases[sample], masks)
        except EngineError as error:
            return str(error)
        failed = [result for result in results if result.outcome == "failed"]
        if failed:
            return f"{failed[0].id.split('::')[1]} {symptom(failed[0])}"
        cases = {case.id: case for case in self.cases[sample]}
        for output, still in not_mended(self.before, ((cases[one.id], one) for one in results)):
            return f"output:{output} is as wrong as before, scaled {still.scaled:.3g}"
        lacking = (r for r in results if r.evidence.no_worker or r.evidence.no_vulkan)
        if problem := next((f"{r.id.split('::')[1]} cannot be run: {r.reason}" for r in lacking), ""):
            return problem
        compared = (one.metrics for one in results if cases[one.id].output is not None)
        used = max((_used(metrics) for metrics in compared if metrics is not None), default=0.0)
        if used <= self.most:
            return ""
        self.lacked_room = True
        return f"an output uses {used:.2g} of its tolerance"


def _used(metrics: Metrics) -> float:
    """The share of its tolerance that an output uses: all of it where what is beyond is forgiven."""
    return max(1.0, metrics.used) if metrics.mismatched else metrics.used
