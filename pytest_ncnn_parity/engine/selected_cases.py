"""The results of the cases that a session has selected from a spec, one sample after the other."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.answers import Answers
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.kept import KeptResults
from pytest_ncnn_parity.engine.lanes import Lanes
from pytest_ncnn_parity.engine.protocol import Job, Judge, Result
from pytest_ncnn_parity.engine.reported import not_run, steps_told
from pytest_ncnn_parity.engine.results import SampleResults, SharedSampleResults
from pytest_ncnn_parity.engine.room import Room, room
from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.trust import depends_on_reference
from pytest_ncnn_parity.plan.cases import Case, Plan


class SelectedCases:
    """Has the selected cases of a spec judged, a sample at a time, and keeps their results.

    `selected` holds them by sample, in the order of collection. `engine` is the one that `lanes` begins
    with. `meanwhile`: see `Turn`. Every question may raise EngineError.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        selected: Mapping[str, Sequence[Case]],
        engine: Engine,
        lanes: Lanes,
        kept: KeptResults,
        answers: Answers,
        meanwhile: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._selected = selected
        self._engine = engine
        self._lanes = lanes
        self._kept = kept
        self._answers = answers
        self._meanwhile = meanwhile
        self._samples: dict[str, SampleResults] = {}
        self._running: SampleResults | None = None
        self._told: dict[Step, None] = {}  # the native steps whose failure a result of any sample tells
        # the next sample, if its job was sent before somebody asked for a result
        self._ahead: tuple[str, Judge, Room] | None = None

    def result(self, sample: str, case_id: str) -> Result:
        """Return the result of a case; its sample is run up to it if that has not been done yet."""
        return self._sample(sample).result(case_id)

    def results(self, sample: str) -> Mapping[str, Result]:
        """Return the results of all selected cases of `sample`, by case id."""
        results = self._sample(sample)
        results.finish()
        return results.known

    def arrived(self, sample: str, case_id: str) -> Result | None:
        """Return the result of a case if it can be had now: no worker is waited for."""
        results = self._samples.get(sample)
        if results is None:
            return None
        if results is self._running:
            results.take_arrived(case_id, self._holds_result)
            if self._ahead is None and self._lanes.holds_end():
                results.finish()
                self._send_next(sample, results)
        return results.known.get(case_id)

    def red_layers(self, sample: str, beside: Case) -> list[Case]:
        """Return the layers known to be red in the comparison of `beside`, except for that case."""
        known = self._so_far(sample)
        return [
            case
            for case in self._selected.get(sample, ())
            if case.layer is not None
            and case.comparison == beside.comparison
            and case.id != beside.id
            and case.id in known
            and known[case.id].outcome == "failed"
        ]

    def run_if_free(self, sample: str) -> bool:
        """Run `sample` to its end unless another xdist worker does or did; return whether it ran."""
        return self._results_of(sample).run_if_free()

    def finish(self, but: str = "") -> None:
        """Finish what the engine is running, so that it is free for other jobs or the sample `but`."""
        if self._running is not None:
            self._running.finish()
        if self._ahead is not None and self._ahead[0] != but:
            self._running = self._results_of(self._ahead[0])
            self._running.finish()

    def _so_far(self, sample: str) -> Mapping[str, Result]:
        """Return the results of `sample` that have arrived, by case id; nothing is run for them."""
        return self._samples[sample].known if sample in self._samples else {}

    def _holds_result(self) -> bool:
        return self._kept.holds_result or self._lanes.holds_result()

    def _sample(self, name: str) -> SampleResults:
        sample = self._results_of(name)
        if self._running is not sample:
            self.finish(but=name)  # the only engine does one job at a time
        self._running = sample
        return sample

    def _results_of(self, name: str) -> SampleResults:
        if name not in self._samples:
            cases = self._selected.get(name, ())
            ids = [case.id for case in cases]
            # cases that are expected to fail tell of no other
            known = frozenset(case.id for case in cases if self._plan.known(name, case))

            def run(waiting: Sequence[str]) -> Iterator[Result]:
                return self._kept.run(name, cases, waiting, partial(self._run, name, known))

            def learn(result: Result) -> None:
                self._told.update(dict.fromkeys(steps_told([result], known)))

            if self._settings.share is None:
                self._samples[name] = SampleResults(ids, run, learn)
            else:
                path = self._answers.path("sample", name)
                self._samples[name] = SharedSampleResults(
                    ids, run, path, self._engine, self._meanwhile, learn
                )
        return self._samples[name]

    def _run(self, sample: str, known: Container[str], waiting: Sequence[str]) -> Iterator[Result]:
        """Run the cases with these ids. A job that cannot run fails the first and skips the others.

        The first that is not `known`, if there is one, tells why a sample cannot be run.
        """
        left = dict.fromkeys(sorted(waiting, key=known.__contains__))
        ahead, self._ahead = self._ahead, None
        job, space = self._job(sample, left) if ahead is None else ahead[1:]
        try:
            for result in self._lanes.run(job, space):
                del left[result.id]
                yield result
        except EngineError as error:
            placed = self._plan.spec.placed(sample, str(error), error.inputs)
            yield from not_run(list(left), placed)

    def _job(self, sample: str, left: Mapping[str, None]) -> tuple[Judge, Room]:
        """The job that judges the cases of `sample` whose ids are `left`, and what there is room for."""
        cases = self._selected.get(sample, ())
        *_, last = self._selected
        job = jobs.judge(self._plan, sample, cases, self._settings.threads)
        space = self.room(job)
        whole = replace(
            job,
            threads=min(job.threads, space.threads or job.threads),
            accumulated=self._settings.accumulated,
            done=tuple(case.id for case in cases if case.id not in left),
            red=tuple(one for one, found in self._so_far(sample).items() if found.outcome == "failed"),
            told=tuple(self._told),
            last=sample == last,
        )
        return whole, space

    def room(self, job: Job) -> Room:
        """What there is room for while `job` runs; for one core, one worker."""
        if self._settings.cores < 2:
            return Room(0, for_two=False)
        plan = self._plan
        return room(plan.graph, plan.spec.bin, job.inputs, self._settings.memory)

    def _send_next(self, sample: str, results: SampleResults) -> None:
        """Send the job of the sample after `sample`, so that its worker does not wait for the reports.

        Nothing is sent after a failure, because questions about it come before the next sample, nor
        where that sample's results may be in a cache or another xdist worker may run it.
        """
        settings, names = self._settings, list(self._selected)
        following = next(iter(names[names.index(sample) + 1 :]), None)
        elsewhere = settings.cache is not None or settings.share is not None
        if following is None or following in self._samples or elsewhere:
            return
        if any(one.outcome == "failed" or depends_on_reference(one) for one in results.known.values()):
            return
        self.begin(following)

    def begin(self, sample: str) -> bool:
        """Send the job of `sample` to a free worker before its results are asked for.

        Return whether it was sent: not if two workers might share it, or if none can be started.
        """
        left = dict.fromkeys(case.id for case in self._selected[sample])
        job, space = self._job(sample, left)
        # if no worker takes it, the sample's first case will say so
        with suppress(EngineError):
            if self._lanes.begin(job, space):
                self._ahead = sample, job, space
        return self._ahead is not None
