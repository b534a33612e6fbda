"""From the red cases of a model in int8 to the layers that must stay in floats, proven by a run."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ncnn_parity.compare.comparisons import Comparison, OtherFiles
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.counterparts import Counterparts
from pytest_ncnn_parity.network.splice import Weights, quantized_layer, spliced
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.fix import Effort, Fix, FixSettings
from pytest_ncnn_parity.repair.outputs import OutputErrors, output_errors
from pytest_ncnn_parity.repair.patch import Patch, stem_of_files
from pytest_ncnn_parity.repair.problem import Problem, find_problem
from pytest_ncnn_parity.repair.search import Spent
from pytest_ncnn_parity.repair.trials import SearchBudget

MOST_NAMED = 10  # layers whose costs are told
FOR_COSTS = 0.5  # of the budget, at most, to learn what each layer costs
REPEATS = 3  # runs of each sample that prove what was found

# by the number of a layer here, the name of the one in int8 that stands for it
Names = Mapping[int, str]


def find_floats(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The layers to leave in floats, worked out once. None: nothing is red that this could cure."""

    def work_out() -> Fix | None:
        with run.working_on("what int8 costs"):
            return _work_out(run, comparison, settings)

    return run.once("fix", comparison.name, Fix, work_out)


def _work_out(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    models = run.plan.other(comparison)
    assert models is not None
    problem = find_problem(run, comparison)
    if not problem.red:
        return None
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-") as folder:
        budget = SearchBudget(settings.runs, settings.seconds)
        trials = _Trials(run, comparison, models, problem, Path(folder), budget)
        fix = _Search(problem, trials).fix()
        return _written(fix, run, trials, settings) if settings.write and fix.verified else fix


def _written(fix: Fix, run: SpecRun, trials: _Trials, settings: FixSettings) -> Fix:
    """`fix` with the files that were verified in the folder of patches, or a note why they are not."""
    stem = stem_of_files(run.plan, fix.comparison, settings.folder, settings.root)
    files = [Path(f"{stem}{suffix}") for suffix in (".param", ".bin")]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        assert trials.last is not None
        for source, target in zip((trials.last.param, trials.last.bin), files, strict=True):
            shutil.copyfile(source, target)
    except OSError as error:
        return replace(fix, notes=(*fix.notes, f"the files could not be written: {error}"))
    return replace(fix, patch=replace(fix.patch, written=tuple(map(str, files))))


@dataclass
class _Trials:
    """Runs the model in int8 with layers put back in floats, each time from files of their own."""

    run: SpecRun
    comparison: Comparison
    models: Counterparts
    problem: Problem
    folder: Path
    budget: SearchBudget
    last: OtherFiles | None = None  # the files of the last run
    _known: dict[frozenset[int], OutputErrors] = field(default_factory=dict)
    _weights: list[Weights] = field(default_factory=list)

    @property
    def names(self) -> Names:
        """The layers that can be put back, in running order."""
        layers = {number: quantized_layer(at) for number, at in self.models.of.items()}
        return {number: layer.name for number, layer in layers.items() if layer is not None}

    @property
    def own(self) -> dict[int, float]:
        """By the number of a layer, the least signal to noise of itself in any sample, in dB."""
        own: dict[int, float] = {}
        for sample in self.run.plan.spec.inputs:
            results = self.run.results(sample)
            for case in self.run.plan.cases(self.comparison, sample):
                metrics = results[case.id].metrics if case.id in results else None
                if case.layer is not None and metrics is not None:
                    least = own.get(case.layer.number, math.inf)
                    own[case.layer.number] = min(least, metrics.sqnr_db)
        return own

    @property
    def cases(self) -> dict[str, list[Case]]:
        """By sample, the outputs that must be right."""
        outputs = {
            sample: [case for case in cases if case.output is not None]
            for sample, cases in self.problem.cases.items()
        }
        return {sample: cases for sample, cases in outputs.items() if cases}

    def errors(self, in_float: Collection[int], repeats: int = 1) -> OutputErrors:
        """The errors of the outputs. Raises Spent where no run is left."""
        chosen = frozenset(in_float)
        if chosen not in self._known or repeats > 1:
            self._known[chosen] = self._run(chosen, repeats)
        return self._known[chosen]

    def _run(self, in_float: Collection[int], repeats: int) -> OutputErrors:
        files = self._written(in_float)
        candidate = self.comparison.candidate
        assert candidate is not None
        own = replace(self.comparison, candidate=replace(candidate, model=files))
        judged = []
        for sample, cases in self.cases.items():
            for _ in range(repeats):
                self.budget.spend()
                moved = [replace(case, comparison=own) for case in cases]
                results = {one.id: one for one in self.run.judge(sample, moved, probe=False)}
                judged += [(case, results[case.id]) for case in moved if case.id in results]
        return output_errors(judged)

    def _written(self, in_float: Collection[int]) -> OtherFiles:
        if not self._weights:
            self._weights = self._read()
        floats, int8 = self._weights
        text, content = spliced(self.models, int8, floats, in_float)
        stem = self.folder / f"in-floats-{len(list(self.folder.iterdir()))}"
        files = OtherFiles(f"{stem}.param", f"{stem}.bin")
        Path(files.param).write_text(text, "utf-8")
        Path(files.bin).write_bytes(content)
        self.last = files
        return files

    def _read(self) -> list[Weights]:
        spec, other = self.run.plan.spec, self.comparison.other_files
        assert other is not None
        spans = self.run.weights(next(iter(self.cases)), self.comparison)
        paths = (spec.bin, spec.beside(other)[1])
        return [Weights(path.read_bytes(), own) for path, own in zip(paths, spans, strict=True)]


@dataclass
class _Search:
    """The layers that are red by themselves, and of the others those that cost the outputs most."""

    problem: Problem
    trials: _Trials
    _costs: dict[int, float] = field(default_factory=dict)  # by layer, the sqnr without its loss

    def fix(self) -> Fix:
        names = self.trials.names
        red = [fault.layer.number for fault in self.problem.faults if fault.layer.number in names]
        if not self.trials.cases:
            return self._none("not run: each output is known to fail, or wrong in the reference")
        try:
            if not _hold(self.trials.errors(names)):
                left = _in_words(self.trials.errors(names))
                return self._none(
                    f"with all {len(names)} layers in floats outputs are wrong too: {left}"
                )
            chosen, minimal = self._shrunk(red, self._grown(red))
            errors = self.trials.errors(chosen, REPEATS)
        except Spent:
            return self._none("the budget of the search was spent before the outputs were right")
        except (EngineError, OSError) as error:
            return self._none(f"the model with layers in floats could not be run: {error}")
        return self._described([names[n] for n in chosen], errors, minimal)

    def _grown(self, red: Sequence[int]) -> list[int]:
        """The `red` layers, and the costliest others, until the outputs are right."""
        chosen = list(red)
        by_cost = self._by_cost()
        for number in [*by_cost, *(n for n in self.trials.names if n not in by_cost)]:
            if _hold(self.trials.errors(chosen)):
                break
            if number not in chosen:
                chosen.append(number)
        return chosen

    def _by_cost(self) -> list[int]:
        """All layers, those first without whose loss the outputs are best."""
        budget = self.trials.budget
        most = budget.runs * FOR_COSTS, budget.seconds * FOR_COSTS
        for number in self.trials.names:
            if budget.used > most[0] or budget.took > most[1]:
                break
            self._costs[number] = _least(self.trials.errors([number]))
        return sorted(self._costs, key=lambda number: -self._costs[number])

    def _shrunk(self, red: Sequence[int], chosen: Sequence[int]) -> tuple[list[int], bool]:
        """`chosen` without those that are neither `red` nor needed; whether all were asked."""
        kept = list(chosen)
        try:
            for number in reversed([n for n in chosen if n not in red]):
                fewer = [n for n in kept if n != number]
                if _hold(self.trials.errors(fewer)):
                    kept = fewer
        except Spent:
            return sorted(kept), False
        return sorted(kept), True

    def _described(self, layers: Sequence[str], errors: OutputErrors, minimal: bool) -> Fix:
        holds = _hold(errors)
        samples = len(self.trials.cases)
        ran = f"the model with {len(layers)} of {len(self.trials.names)} layers in floats ran "
        ran += f"{samples} sample{'s' if samples > 1 else ''} {REPEATS} times: {_in_words(errors)}, "
        ran += f"before {_least(self.problem.outputs):.3g}"
        keys = [(f"{name}_param_0", name) for name in layers]
        return replace(
            self._none(ran),
            verified=holds,
            minimal=holds and minimal,
            outputs_after=errors,
            in_float=tuple(layers),
            patch=Patch(
                before=tuple(key for pair in keys for key in pair),
                after=tuple(f"#{key}" for pair in keys for key in pair),
            ),
        )

    def _none(self, how: str) -> Fix:
        budget = self.trials.budget
        return Fix(
            comparison=self.trials.comparison.name,
            masks={},
            verified=False,
            minimal=False,
            how=how,
            notes=tuple(self._about_costs()),
            effort=Effort(budget.used, budget.took, "the red layers"),
            outputs_before=self.problem.outputs,
        )

    def _about_costs(self) -> list[str]:
        """What the outputs gain where one layer alone is left in floats, the costliest first."""
        before = _least(self.problem.outputs)
        ranked, own = sorted(self._costs, key=lambda number: -self._costs[number]), self.trials.own
        lines = [
            f"{self.trials.names[number]} alone in floats: output sqnr {before:.3g} -> "
            f"{self._costs[number]:.3g} dB" + (f", its own {own[number]:.3g}" if number in own else "")
            for number in ranked[:MOST_NAMED]
        ]
        more = len(ranked) - MOST_NAMED
        return [*lines, f"and {more} more layers, which gain less"] if more > 0 else lines


def _hold(errors: OutputErrors) -> bool:
    return bool(errors) and not any(error.failed for error in errors.values())


def _least(errors: OutputErrors) -> float:
    """The least signal to noise of any output, in dB."""
    return min((error.sqnr_db for error in errors.values()), default=-math.inf)


def _in_words(errors: OutputErrors) -> str:
    return ", ".join(f"{output} sqnr {error.sqnr_db:.3g} dB" for output, error in errors.items())
