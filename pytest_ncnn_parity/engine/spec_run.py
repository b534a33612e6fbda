"""Everything that can be asked of a spec's networks: judge, try, verify, profile, time, isolate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pytest_ncnn_parity.compare.comparisons import Comparison, Setup
from pytest_ncnn_parity.engine import jobs, trust
from pytest_ncnn_parity.engine.answers import Answers
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.facts import Facts
from pytest_ncnn_parity.engine.kept import KeptResults
from pytest_ncnn_parity.engine.lanes import Lanes
from pytest_ncnn_parity.engine.protocol import Isolated, Job, Judge, Result, SampleProfile, Timing
from pytest_ncnn_parity.engine.purpose import Purpose
from pytest_ncnn_parity.engine.selected_cases import SelectedCases
from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.spawn import FILL, OTHER_FILL
from pytest_ncnn_parity.plan.cases import Case, Plan

T = TypeVar("T")


@dataclass
class SpecRun:
    """The engine of one spec, and the results of its samples.

    `selected` holds, by sample, the cases that this session runs, in the order of collection.
    `meanwhile` runs something else while another xdist worker computes what is needed here, or returns
    False. `prepare_next` is called while the last sample runs, if there is room for another worker.
    Every question may raise EngineError: a worker cannot be started or spoken to.
    """

    plan: Plan
    settings: Settings
    selected: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    meanwhile: Callable[[], bool] = lambda: False
    prepare_next: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        settings = self.settings
        self._purpose = Purpose(settings.watch, len(self.plan.graph.layers))
        self._engine = self._another(FILL)
        self._lanes = Lanes(
            self._engine, partial(self._another, FILL), settings.cores, self.prepare_next
        )
        self._kept = KeptResults(settings.cache, self.plan, self._engine)
        self._answers = Answers(self.plan.name, settings.share, self.meanwhile)
        self._cases = SelectedCases(
            self.plan,
            settings,
            self.selected,
            self._engine,
            self._lanes,
            self._kept,
            self._answers,
            self.meanwhile,
        )

    def _another(self, fill: int) -> Engine:
        settings = self.settings
        engine = Engine(
            settings.timeout,
            memory=settings.memory,
            folder=settings.share,
            fill=fill,
            workers=settings.workers,
            early=settings.early,
        )
        engine.watch = self._purpose.watch
        return engine

    # -- the selected cases ----------------------------------------------------------------------

    def has_selected_all(self, sample: str) -> bool:
        """Whether this session runs every case of `sample` in the spec's comparisons."""
        selected = {case.id for case in self.selected.get(sample, ())}
        comparisons = self.plan.spec.comparisons
        return selected >= {case.id for one in comparisons for case in self.plan.cases(one, sample)}

    def result_of_rerun(self, sample: str, case: Case) -> Result:
        """Run `case` once more by itself and return its result; layers that were red still count."""
        red = self._cases.red_layers(sample, case)
        ids = tuple(one.id for one in red)
        job = jobs.judge(self.plan, sample, [*red, case], self.settings.threads)
        (result,) = self._judged(replace(job, done=ids, red=ids))
        return self._weighed(sample, case, result)

    def result(self, sample: str, case: Case) -> Result:
        """Return the result of `case`; the sample is run up to it if that has not been done yet."""
        return self._weighed(sample, case, self._cases.result(sample, case.id))

    def arrived(self, sample: str, case: Case) -> Result | None:
        """Return the result of `case` if it can be had now: no worker is waited for, nothing is run."""
        result = self._cases.arrived(sample, case.id)
        return None if result is None or trust.depends_on_reference(result) else result

    def results(self, sample: str) -> dict[str, Result]:
        """Return the results of all selected cases of `sample`, by case id."""
        cases = {case.id: case for case in self.selected.get(sample, ())}
        return {
            case_id: self._weighed(sample, cases[case_id], result)
            for case_id, result in self._cases.results(sample).items()
        }

    def begin(self, sample: str) -> bool:
        """Send the job of `sample` before its results are asked for; return whether it was sent."""
        return self._cases.begin(sample)

    def run_if_free(self, sample: str) -> bool:
        """Run `sample` to its end unless another xdist worker does or did; return whether it ran."""
        return self._cases.run_if_free(sample)

    # -- questions -------------------------------------------------------------------------------

    def judge(self, sample: str, cases: Sequence[Case], probe: bool = True) -> list[Result]:
        """Judge any cases of the plan and return their results. `probe`: find out why a case fails."""
        threads = self.settings.threads
        results = self._judged(jobs.judge(self.plan, sample, cases, threads, probe=probe))
        by_id = {case.id: case for case in cases}
        return [self._weighed(sample, by_id[result.id], result) for result in results]

    def trial(self, sample: str, cases: Sequence[Case], masks: Sequence[int] | None) -> list[Result]:
        """Judge `cases` up to the first failure under `masks`, by layer number, without a reload.

        If `masks` is None, judge all of them under their files' masks.
        """
        return self._judged(jobs.trial(self.plan, sample, cases, masks, self.settings.threads))

    def verify(self, sample: str, cases: Sequence[Case], param: Path, repeats: int) -> list[Result]:
        """Judge `cases`, outputs, on the .param file `param`, loaded afresh and run `repeats` times."""
        threads = self.settings.threads
        return self._judged(jobs.verify(self.plan, sample, cases, str(param), repeats, threads))

    def profile(self, sample: str, comparison: Comparison, sensitivity: bool) -> SampleProfile:
        """Measure the trajectory and find where the candidate of `comparison` runs its layers."""
        job = jobs.profile(self.plan, sample, comparison, self.settings.threads, sensitivity)
        return self._ask(job, SampleProfile)

    def time(
        self, sample: str, setups: Sequence[tuple[Setup, int]], params: Sequence[Path]
    ) -> list[Timing]:
        """Time networks, each a setup and a model: 0 is the plan's own, n has the n-th of `params`."""
        job = jobs.time(self.plan, sample, setups, [str(p) for p in params], self.settings.threads)
        return self._ask(job, list[Timing])

    def weights(self, sample: str, comparison: Comparison) -> list[list[tuple[int, int]]]:
        """The byte range that each layer reads, in the plan's model and in the candidate's model."""
        job = jobs.weights(self.plan, sample, comparison, self.settings.threads)
        return self._ask(job, list[list[tuple[int, int]]])

    def isolate(self, sample: str, case: Case, folder: Path) -> Isolated:
        """Have a worker write the layer of `case` and its inputs to `folder`."""
        job = jobs.isolate(self.plan, sample, case, str(folder), self.settings.threads)
        return self._ask(job, Isolated)

    def _judged(self, job: Judge) -> list[Result]:
        self._free_workers()
        return list(self._engine.run(job))

    def _ask(self, job: Job, answer: type[T]) -> T:
        self._free_workers()
        return self._engine.ask(job, answer)

    def _free_workers(self) -> None:
        """Finish the sample that is running, and let the worker beside the first one end."""
        self._cases.finish()
        self._lanes.close()

    # -- whether the reference can be trusted ----------------------------------------------------

    def _weighed(self, sample: str, case: Case, result: Result) -> Result:
        """Return `result`, failed with that evidence if its reference cannot be trusted.

        Whether kernels read fresh memory is found out once per network, on the first sample in which
        something is red or excused as rounding: it takes a second worker and two runs of the network in
        fp32 on the CPU. What else is wrong with a kernel depends on the values, so each sample in which
        something is red has a run of its own.
        """
        if not trust.depends_on_reference(result):
            return result
        first = self.once("trust", "", trust.Doubts, partial(self._doubts_of_network, sample))
        doubts = [] if first is None else first.layers
        if first is not None and first.sample != sample and result.outcome == "failed":
            own = self.once("trust", sample, list[trust.Doubt], partial(self._doubts, sample))
            doubts = [*(doubt for doubt in doubts if not doubt.fault), *(own or ())]
        return trust.weighed(case, result, self.plan.fed(sample), doubts)

    def _doubts_of_network(self, sample: str) -> trust.Doubts | None:
        found = self._kept.doubtful(sample, partial(self._in_two_workers, sample))
        return None if found is None else trust.Doubts(sample, found)

    def _in_two_workers(self, sample: str) -> list[trust.Doubt] | None:
        other = self._another(OTHER_FILL)
        try:
            return self._doubts(sample, other)
        finally:
            other.close()

    def _doubts(self, sample: str, other: Engine | None = None) -> list[trust.Doubt] | None:
        """Return the doubts of one worker, or of it and one of `other`: at once if there is room."""
        job = jobs.fingerprint(self.plan, sample, self.settings.threads)
        try:
            with self.working_on("trust in the reference"):
                if other is not None and self._cases.room(job).for_two:
                    self._free_workers()
                    other.begin(job)
                here = self._ask(job, trust.Fingerprint)
                there = here if other is None else other.ask(job, trust.Fingerprint)
        except EngineError:  # the case that needed the run reports what prevented it
            return None
        return trust.doubtful_layers(self.plan.graph, here, there)

    # -- beside the results ----------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        """What the workers of this spec reported about themselves."""
        return self._engine.facts

    def working_on(self, purpose: str) -> AbstractContextManager[None]:
        """While this context lasts, progress says that steps are run for `purpose`."""
        return self._purpose.of(purpose)

    def once_kept(self, kind: str, answer: type[T], work_out: Callable[[], T | None]) -> T | None:
        """Like `once`; if the whole spec is selected and its results are kept, so is the answer."""
        whole = all(map(self.has_selected_all, self.plan.spec.inputs))
        kept = partial(self._kept.answer, kind, answer, work_out)
        return self.once(kind, "", answer, kept if whole else work_out)

    def once(self, kind: str, name: str, answer: type[T], work_out: Callable[[], T | None]) -> T | None:
        """Return the value of `work_out`, of type `answer`, computed once: see `Answers.once`."""
        return self._answers.once(kind, name, answer, work_out)

    def finish(self) -> None:
        """Finish the sample that is running, then close."""
        self._cases.finish()
        self.close()

    def leave(self) -> None:
        """Tell the workers of this spec to end, because nothing will be asked of it any more."""
        self._lanes.leave()
        self._engine.leave()

    def close(self) -> None:
        """End the workers of this spec."""
        self._lanes.close()
        self._engine.close()
