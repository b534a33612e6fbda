"""Finds the layers of a red int8 model that must stay in floats, proven by a run."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.compare.tolerance import QUANTIZED
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.repair.fix import Effort, Fix, FixSettings
from pytest_ncnn_parity.repair.float_trials import FloatTrials, hold
from pytest_ncnn_parity.repair.outputs import OutputErrors
from pytest_ncnn_parity.repair.patch import Patch, stem_of_files
from pytest_ncnn_parity.repair.problem import Problem
from pytest_ncnn_parity.repair.search import Spent
from pytest_ncnn_parity.repair.search_floats import FloatsSearch
from pytest_ncnn_parity.repair.trials import SearchBudget
from pytest_ncnn_parity.repair.verify import REPEATS

MOST_NAMED = 10  # how many layers are reported with their cost
MARGIN_DB = 0.5  # below what a layer has, for what may be allowed


def find_floats(
    run: SpecRun, comparison: Comparison, problem: Problem, settings: FixSettings
) -> Fix | None:
    """The layers to leave in floats; None if what is red on a device needs none on the CPU."""
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-", ignore_cleanup_errors=True) as folder:
        budget = SearchBudget(settings.runs, settings.seconds)
        trials = FloatTrials(run, comparison, problem, Path(folder), budget)
        fix = _Finding(problem, trials).fix()
        if fix is None or not (settings.write and fix.verified):
            return fix
        return _written(fix, run, trials, settings)


def _written(fix: Fix, run: SpecRun, trials: FloatTrials, settings: FixSettings) -> Fix:
    """`fix` with the verified files written to the folder of patches, or a note on why they are not."""
    stem = stem_of_files(run.plan, fix.comparison, settings.folder, settings.root)
    files = [Path(f"{stem}{suffix}") for suffix in (".param", ".bin")]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        assert trials.files is not None
        for source, target in zip(trials.files, files, strict=True):
            shutil.copyfile(source, target)
    except OSError as error:
        why = f"the files could not be written: {error}"
        return replace(fix, notes=(*fix.notes, why), unwritten=why)
    return replace(fix, patch=replace(fix.patch, written=tuple(map(str, files))))


NOTHING_LEFT = (
    "outputs are right with all {} layers in floats, and not with fewer, which leaves nothing in int8. "
    "Was the table made from inputs like those of this spec? Another mean, norm or order of the colours "
    "puts every scale off: make it again"
)


@dataclass
class _Finding:
    """A search, its result, and how the result is reported."""

    problem: Problem
    trials: FloatTrials
    _alone: dict[int, float] = field(default_factory=dict)  # by layer, the sqnr with it in floats

    def fix(self) -> Fix | None:
        names = self.trials.names
        faults = {fault.layer.number for fault in self.problem.faults} | self.trials.broken
        red = [number for number in names if number in faults]
        if not self.trials.cases:
            return self._report("not run: every output is a known failure, or wrong in the reference")
        search = FloatsSearch(list(names), red, self.trials, self.trials.budget.runs)
        try:
            search.run()
            if search.chosen == []:
                why = "no layer in floats can fix this: what is red is none that can be put back"
                return None if self.trials.on_vulkan else self._report(why, search)
            with suppress(Spent):
                self._leave_alone(search)
            if search.chosen is None:
                return self._report(self._why_none(search), search)
            chosen, errors = self._proven(search, search.chosen)
        except (EngineError, OSError) as error:
            return self._report(f"the model with layers in floats could not be run: {error}")
        if 1 < len(chosen) == len(names):
            return self._report(NOTHING_LEFT.format(len(names)))
        return self._described(search, chosen, errors)

    def _proven(self, search: FloatsSearch, chosen: list[int]) -> tuple[list[int], OutputErrors]:
        """`chosen` and the errors of the outputs with these layers in floats, or of more of them.

        A device rounds otherwise than the CPU, so that what was enough there may not be.
        """
        first = chosen, self.trials.proven(chosen, REPEATS)
        if not self.trials.on_vulkan or hold(first[1]):
            return first
        counts = [count for count, held in sorted(search.tried.items()) if held]
        for more in (*map(search.prefix, counts), sorted(self.trials.names)):
            if len(more) > len(chosen):
                errors = self.trials.proven(more, REPEATS)
                if hold(errors):
                    return more, errors
        return first

    def _leave_alone(self, search: FloatsSearch) -> None:
        """Measure what the outputs gain with one of the costliest layers in floats."""
        for layer in self._costliest(search):
            self._alone[layer] = self.trials.sqnr_db([layer])

    def _costliest(self, search: FloatsSearch) -> list[int]:
        single = [group.layers[0] for group in search.ranked if len(group.layers) == 1]
        return single[:MOST_NAMED]

    def _why_none(self, search: FloatsSearch) -> str:
        names = self.trials.names
        if search.ended:
            left = _in_words(self.trials.seen(names))
            return f"with all {len(names)} layers in floats outputs are wrong too: {left}"
        budget = self.trials.budget
        spent = f"{budget.used} runs in {budget.took:.0f} s did not find layers to leave in floats"
        tried = [count for count, errors in self._tried(search).items() if errors]
        if not tried:
            return spent
        best = max(tried, key=lambda count: _least(self._tried(search)[count]))
        layers = search.prefix(best)
        named = listed([names[layer] for layer in layers])
        left = _in_words(self._tried(search)[best])
        return f"{spent}; best so far, with {named} in floats: {left}" if layers else spent

    def _tried(self, search: FloatsSearch) -> Mapping[int, OutputErrors]:
        """The errors of the outputs, by how many of the costliest layers are in floats."""
        return {count: self.trials.seen(search.prefix(count)) for count in sorted(search.tried)}

    def _described(self, search: FloatsSearch, chosen: list[int], errors: OutputErrors) -> Fix:
        layers = [self.trials.names[n] for n in chosen]
        holds = hold(errors)
        samples = len(self.trials.cases)
        ran = f"the model with {len(layers)} of {len(self.trials.names)} layers in floats ran "
        ran += f"{samples} sample{'s' if samples > 1 else ''} {REPEATS} times: {_in_words(errors)}, "
        ran += f"before {_least(self.problem.outputs):.3g}" if self.problem.outputs else "none before"
        names = [self.trials.names[n] for n in chosen if self.trials.in_table(n)]
        keys = [(f"{name}_param_0", name) for name in names]
        return replace(
            self._report(ran, search),
            verified=holds,
            minimal=holds and search.minimal and chosen == search.chosen,
            outputs_after=errors,
            in_float=tuple(layers),
            patch=Patch(
                before=tuple(key for pair in keys for key in pair),
                after=tuple(f"#{key}" for pair in keys for key in pair),
            ),
        )

    def _report(self, how: str, search: FloatsSearch | None = None) -> Fix:
        budget = self.trials.budget
        return Fix(
            comparison=self.trials.comparison.name,
            masks={},
            verified=False,
            minimal=False,
            how=how,
            notes=() if search is None else tuple(self._notes(search)),
            effort=Effort(budget.used, budget.took, "the red layers"),
            outputs_before=self.problem.outputs,
        )

    def _notes(self, search: FloatsSearch) -> Iterator[str]:
        yield from self._about_files(search)
        yield from self._about_tolerance(search)
        yield from self._about_fewer(search)
        yield from self._about_costs(search)

    def _about_files(self, search: FloatsSearch) -> Iterator[str]:
        """What no table leaves in floats."""
        trials = self.trials
        others = [trials.names[n] for n in search.chosen or () if not trials.in_table(n)]
        if others:
            yield (
                f"ncnn2int8 leaves no single layer such as {others[0]} in floats, whatever its table "
                "has: take the files that --ncnn-parity-fix=write writes"
            )

    def _about_tolerance(self, search: FloatsSearch) -> Iterator[str]:
        """If the outputs are right all the same, how to allow what the red layers lose."""
        judged = self.problem.outputs
        if not search.red or not judged or any(error.failed for error in judged.values()):
            return
        clipped = self.trials.clipped
        red = {one.layer.number: one.layer.name for one in self.problem.faults}
        red = {number: name for number, name in red.items() if number in clipped}
        own = {layer: self.trials.own.get(layer, -math.inf) for layer in red}
        layer, least = min(own.items(), key=lambda pair: pair[1], default=(0, math.inf))
        if MARGIN_DB < least < (QUANTIZED.sqnr_db or 0.0):
            yield (
                "no output is wrong with these layers in int8: a threshold that clips rare values may "
                "do so on purpose. To allow what a layer loses, write it into the spec, as in "
                f"tolerance: {{layers: {{{red[layer]}: {{sqnr_db: {math.floor(least - MARGIN_DB)}}}}}}}"
            )

    def _about_fewer(self, search: FloatsSearch) -> Iterator[str]:
        """The errors of the outputs with fewer layers in floats than are needed."""
        wrong = [
            f"{count}: {_least(errors):.3g} dB"
            for count, errors in self._tried(search).items()
            if (count or search.red) and errors and not search.tried[count]
        ]
        if wrong:
            layers = (
                "the red layers and the n costliest others" if search.red else "the n costliest layers"
            )
            yield f"fewer are not enough: output sqnr with {layers} in floats, by n: {', '.join(wrong)}"

    def _about_costs(self, search: FloatsSearch) -> Iterator[str]:
        """What each layer alone costs the outputs, the costliest first."""
        before, own = self.trials.before, self.trials.own
        alone = {group.layers[0]: group.sqnr_db for group in search.ranked if len(group.layers) == 1}
        for layer in self._costliest(search):
            gain = f"{before:.3g} -> {self._alone[layer]:.3g} dB" if layer in self._alone else "not run"
            yield (
                f"{self.trials.names[layer]} alone in floats: output sqnr {gain}; "
                f"alone in int8: {alone[layer]:.3g}"
                + (f"; its own: {own[layer]:.3g}" if layer in own else "")
            )
        more = len(self.trials.names) - len(self._costliest(search))
        if self._costliest(search) and more > 0:
            yield f"and {more} more layers, which cost less"


def _least(errors: OutputErrors) -> float:
    """The smallest signal to noise of any output, in dB."""
    return min(error.sqnr_db for error in errors.values())


def _in_words(errors: OutputErrors) -> str:
    return ", ".join(f"{output} sqnr {error.sqnr_db:.3g} dB" for output, error in errors.items())
