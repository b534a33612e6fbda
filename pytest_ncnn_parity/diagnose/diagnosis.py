"""What a rule receives, a failed case with its evidence, and what it returns, an explanation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.engine.evidence import Evidence, TrialName
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death
from pytest_ncnn_parity.network.masks import unsafe_on_vulkan
from pytest_ncnn_parity.plan.cases import Case

# rounding never gives an error of half the largest value: an accumulator has overflowed or saturated
COLLAPSED = 0.5


class Diagnosis(Frozen):
    """`cause` is one of the documented names; `what` states it in one line; `evidence` supports it."""

    cause: CauseName
    what: str
    evidence: tuple[str, ...] = ()


class Explanation(Frozen):
    """What a rule says if it applies: one line, and the evidence for it."""

    what: str
    evidence: tuple[str, ...] = ()


class Failure(Frozen):
    """A failed case and what was measured of it.

    For an output, of the layers on the way to it: `unjudged`, which have no result in this run, and
    `unsafe`, which are right but have an unsafe mask, in words.
    """

    case: Case
    result: Result
    unjudged: str = ""
    unsafe: tuple[str, ...] = ()

    @property
    def evidence(self) -> Evidence:
        return self.result.evidence

    @property
    def death(self) -> Death | None:
        return self.result.evidence.death

    @property
    def metrics(self) -> Metrics:
        """The metrics of a case that was compared."""
        assert self.result.metrics is not None
        return self.result.metrics

    @property
    def collapsed(self) -> bool:
        """Whether the error is larger than rounding can explain."""
        metrics = self.metrics
        return bool(metrics.nan + metrics.inf) or metrics.scaled >= COLLAPSED

    @property
    def where(self) -> str:
        """The setup that failed, in words."""
        return str(self.case.comparison.candidate or "fp16")

    @property
    def compared_with(self) -> tuple[str, ...]:
        """A line about the layer of another model that was compared, if one was."""
        candidate, counterpart = self.case.comparison.candidate, self.evidence.counterpart
        if counterpart is None or candidate is None or candidate.model is None:
            return ()
        return (f"compared with {counterpart}, of {candidate.model.param}",)

    @property
    def nan_or_seen(self) -> str:
        """The nan that the reference itself has, or else the symptom, in words."""
        nan = self.evidence.reference_nan
        return f"the reference itself has {nan} nan" if nan else self.seen

    @cached_property
    def seen(self) -> str:
        """The symptom, in words."""
        if self.result.metrics is not None:
            return wording.seen(self.result.metrics, self.where)
        if self.evidence.recorded_shape is not None:
            held = f"{self.case.golden} holds {self.evidence.recorded_shape}"
            return f"{held}, the network gives {self.evidence.shape}"
        assert self.death is not None
        return f"{self.death.detail} on {self.side(self.death)}"

    def side(self, death: Death) -> str:
        """The setup in which a step gave no result, and which side of the comparison it is."""
        label = "" if death.step is None else death.step.label
        reference = str(self.case.comparison.reference)
        if not label or death.step is None or death.step.of_files or label == self.where:
            return self.where
        if label == reference:
            return f"{label}, the reference"
        return f"{label}, whose values feed every layer" if label == str(CPU_FP32) else label

    @property
    def unsafe_mask(self) -> str | None:
        """What the layer's mask does, if it takes 16-bit storage from a layer that stays on Vulkan."""
        half, mask = self.case.comparison.half, self.evidence.mask
        on_vulkan = str(self.evidence.execution).startswith("vulkan")
        if not on_vulkan or half is None or not unsafe_on_vulkan(mask, half):
            return None
        return f"31={mask} takes {half} storage from a layer that stays on Vulkan"


Rule = Callable[[Failure], Explanation | None]


def with_trials(failure: Failure, what: str, *lines: str) -> Explanation:
    """`what`, supported by `lines` and by all trials."""
    return Explanation(what, (*lines, *wording.trials(failure.evidence)))


def when_right(trial: TrialName, what: str) -> Rule:
    """A rule that applies if the trial of this name was right; `what` says what that shows."""
    return lambda failure: (
        with_trials(failure, f"{failure.seen}; {what}") if failure.evidence.right(trial) else None
    )


def when_wrong(trial: TrialName, what: str) -> Rule:
    """A rule that applies if the trial of this name was wrong; `what` says what that shows."""
    return lambda failure: (
        with_trials(failure, f"{failure.seen}; {what}") if failure.evidence.wrong(trial) else None
    )
