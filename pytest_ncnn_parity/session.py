"""What the cases of a run share: their specs' runs, the settings, and what was already reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.settings import Settings, share_of_cores
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.options import Options
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.fix import FixSettings

SHARE_THERE = 0.75  # the share of another machine's memory that a worker there may use


class Session:
    """Holds one run per spec, created when its first case runs.

    `root`: the folder that specs may read from; None: anywhere. `all_may_run`: no option chooses among
    the cases.
    """

    def __init__(
        self,
        settings: Settings,
        fix: FixSettings | None,
        require_vulkan: bool,
        root: Path | None,
        repro: Path | None = None,
        require_workers: bool = False,
        all_may_run: bool = False,
    ) -> None:
        self.root = root
        self.settings = settings
        self.fix = fix
        self.require_vulkan = require_vulkan
        self.require_workers = require_workers
        self.repro = repro
        self._runs: dict[str, SpecRun] = {}  # by the plan's name
        # if another plugin limits the time of cases, a case runs only its own sample
        self.cases_have_limits = False
        self._plans: dict[str, Plan] = {}
        self._selected: dict[str, dict[str, list[Case]]] = {}
        self._ids: set[tuple[str, str, str]] = set()  # of plan, sample and case: pytest may repeat items
        self._looked_at: set[tuple[str, str]] = set()  # name of the plan, and sample
        # how many cases have no verdict yet, by the plan's name
        self._waiting: Counter[str] = Counter()
        self._reported: set[object] = set()
        self._telling: list[object] = []  # what the latest verdict has to report
        self._interrupted: set[tuple[str, str]] = set()  # name of the plan, and sample
        self._all_may_run = all_may_run
        # the plan's name, the sample, and what the run takes for selected
        self._foreseen: tuple[str, str, dict[str, list[Case]]] | None = None

    def select(self, plan: Plan, sample: str, case: Case) -> None:
        """Record a case that this session is going to run."""
        self._plans[plan.name] = plan
        key = (plan.name, sample, case.id)
        if key not in self._ids:
            self._ids.add(key)
            self._selected.setdefault(plan.name, {}).setdefault(sample, []).append(case)
        self._waiting[plan.name] += 1

    def foresee(self, plan: Plan, sample: str) -> None:
        """Begin to run the first `sample` that is collected, if all its cases may be selected.

        It runs while pytest collects the rest. That needs a worker that was started early.
        """
        if not self._all_may_run or not self.settings.early.waits:
            return
        self._all_may_run = False  # and no second one is foreseen
        cases = [case for one in plan.comparisons(sample) for case in plan.cases(one, sample)]
        # what the run takes for selected; it needs to know whether a sample follows
        selected: dict[str, list[Case]] = {sample: cases}
        *_, last = plan.spec.inputs
        selected.setdefault(last, [])
        run = SpecRun(plan, self.settings, selected, self._run_another, self._prepare_next)
        if run.begin(sample):
            self._foreseen = plan.name, sample, selected
            self._runs[plan.name] = run

    def all_are_selected(self) -> None:
        """End the run that was foreseen if other cases were selected of that sample, or none."""
        if self._foreseen is None:
            return
        name, sample, foreseen = self._foreseen
        selected = self._selected.get(name, {})
        if next(iter(selected), None) == sample and selected[sample] == foreseen[sample]:
            foreseen.clear()
            foreseen.update(selected)
            self._selected[name] = foreseen  # the run's own
        else:
            self._runs.pop(name).close()

    def run(self, plan: Plan) -> SpecRun:
        """Return the run of `plan`, created on first use; the other specs' workers are ended then."""
        if plan.name not in self._runs:
            for other in list(self._runs):
                self._leave(other)
            self._runs[plan.name] = self._fresh(plan)
        return self._runs[plan.name]

    def arrived(self, plan: Plan, sample: str, case: Case) -> Result | None:
        """Return the result of `case` if it can be had without running or waiting for anything."""
        run = self._runs.get(plan.name)
        return None if run is None else run.arrived(sample, case)

    def _fresh(self, plan: Plan) -> SpecRun:
        selected = self._selected.get(plan.name, {})
        return SpecRun(plan, self.settings, selected, self._run_another, self._prepare_next)

    def _prepare_next(self) -> None:
        """Start a worker if a spec follows, so that its first case finds one that is ready.

        There is none under xdist, where it is not known which process will run that spec, nor with a
        cache, which may hold all that is needed.
        """
        follows = any(self._waiting[name] > 0 and name not in self._runs for name in self._plans)
        if follows and self.settings.share is None and self.settings.cache is None:
            self.settings.early.start(self.settings.memory)

    def _run_another(self) -> bool:
        """Run a sample of any spec that no xdist worker has begun; return whether there was one.

        This is for a process that would otherwise only wait: this or another process will need the
        sample.
        """
        if self.cases_have_limits:
            return False
        for name, samples in self._selected.items():
            for sample in samples:
                if (name, sample) in self._looked_at:
                    continue
                # free or not: the process that needs it waits for it or runs it
                self._looked_at.add((name, sample))
                run = self._runs.get(name) or self._fresh(self._plans[name])
                try:
                    if run.run_if_free(sample):
                        return True
                finally:
                    if name not in self._runs:
                        run.close()
        return False

    def _leave(self, name: str) -> None:
        """End the worker of a spec, which holds networks and a GPU, and drop results nobody needs."""
        run = self._runs[name]
        run.finish()
        # under xdist, results can be read again from a file
        if self._waiting[name] <= 0 or self.settings.share is not None:
            del self._runs[name]

    def concluded(self, plan: Plan) -> None:
        """Record that a case of `plan` has its verdict; after the last one of all, workers may end."""
        self._waiting[plan.name] -= 1
        if all(cases <= 0 for cases in self._waiting.values()):
            for run in self._runs.values():
                run.leave()

    def interrupt(self, plan: Plan, sample: str) -> bool:
        """Record that a case of `sample` was interrupted; return whether it is the first one.

        It must be the first of all xdist workers' cases, because they wait for the same run.
        """
        first = not self.was_interrupted(plan, sample)
        self._interrupted.add((plan.name, sample))
        if first and self.settings.share is not None:
            name = sha256(f"interrupted\0{plan.name}\0{sample}".encode()).hexdigest()
            try:
                (self.settings.share / name).touch(exist_ok=False)
            except FileExistsError:
                return False
        return first

    def was_interrupted(self, plan: Plan, sample: str) -> bool:
        """Whether this process has already had a case of `sample` interrupted."""
        return (plan.name, sample) in self._interrupted

    def news(self, key: object) -> bool:
        """Whether `key` is asked about for the first time; each thing is reported only once."""
        known = key in self._reported
        if not known:
            self._reported.add(key)
            self._telling.append(key)
        return not known

    @contextmanager
    def telling(self) -> Iterator[None]:
        """A context for a verdict. If another plugin interrupts it, the next one has its news."""
        self._telling.clear()
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception):
                self._reported.difference_update(self._telling)
            raise

    def close(self) -> None:
        """End the workers of all specs."""
        for run in self._runs.values():
            run.close()


def session(
    options: Options,
    rootdir: Path,
    watch: Callable[[str], None],
    processes: int,
    share: Path | None,
    early: EarlyWorker | None = None,
    all_may_run: bool = False,
) -> Session:
    """Create the session that `options` ask for.

    `watch` is called with descriptions of the current work. `processes` share the machine's cores and,
    if there is more than one, the folder `share`. `early`: may hold a worker that is already started.
    `all_may_run`: no option chooses among the cases.
    """
    cores = share_of_cores(processes)
    judging = {**options.judging, "cores": str(cores)}
    settings = Settings(
        timeout=options.timeout,
        memory=options.memory,
        cores=cores,
        cache=None if options.cache is None else Cache(options.cache, judging),
        accumulated=options.accumulated,
        watch=watch,
        share=share,
        early=early or EarlyWorker(),
        workers={
            name: replace(
                worker,
                timeout=options.timeout,
                memory=SHARE_THERE if worker.remote else options.memory,
            )
            for name, worker in options.workers.items()
        },
    )
    fix = FixSettings(
        options.fix == "write",
        options.dir,
        rootdir,
        runs=options.fix_runs,
        seconds=options.fix_seconds,
    )
    return Session(
        settings,
        None if options.fix == "off" else fix,
        options.require_vulkan,
        None if options.allow_outside else rootdir,
        options.repro,
        options.require_workers,
        all_may_run,
    )
