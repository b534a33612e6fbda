"""Loads patched networks afresh and runs them as users do: are their outputs right?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import Comparison, Setup
from pytest_ncnn_parity.diagnose.wording import symptom
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.outputs import OutputErrors, output_errors, worst
from pytest_ncnn_parity.repair.patch import patched, with_readers
from pytest_ncnn_parity.repair.search import Masks, Space, grown
from pytest_ncnn_parity.repair.trials import SearchBudget

REPEATS = 3  # runs of each sample that verify a fix, because a race may not show in every run

MOST_TRIED = 6  # masks more than a search found, of which each is left out once

CasesBySample = Mapping[str, Sequence[Case]]


class Verification(Frozen):
    """Whether the outputs of a whole network are right.

    `how` says in one line what was run, and with what result. `ran`: it could be run. `outputs`: the
    errors of those that were compared before one failed. `left_out`: samples that do not fit the
    network, with masks or without.
    """

    holds: bool
    how: str
    ran: bool = True
    outputs: OutputErrors = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass
class Loads:
    """The oracle of a search where a device dies while it loads the network.

    Masks hold if the network with these masks is loaded and its outputs are right. `last` says why the
    last masks that did not hold failed.
    """

    run: SpecRun
    comparison: Comparison
    cases: CasesBySample
    budget: SearchBudget
    last: str = ""

    def holds(self, masks: Masks) -> bool:
        self.budget.spend()
        with self.run.working_on(f"masks, run {self.budget.used} of at most {self.budget.runs}"):
            verification = _verify(self.run, self.comparison, masks, self.cases)
        if not verification.holds:
            self.last = verification.how
        return verification.holds


@contextmanager
def on_disk(text: str, name: str = "patched.param") -> Iterator[Path]:
    """The path of a .param file that holds `text` for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / name
        path.write_bytes(text.encode("utf-8"))
        yield path


def verify_masks(
    run: SpecRun, comparison: Comparison, cases: CasesBySample, masks: Masks, space: Space
) -> tuple[Masks, Verification]:
    """`masks` and their verification; if they do not hold, those of the next wider set that does.

    fp16-range has no candidate to run, so its masks are verified on Vulkan as ncnn ships it. Whatever
    else is wrong there is not for these masks to fix, so they are widened by one layer around.
    """
    runs_as = comparison.verified_as
    predicted = runs_as != comparison
    if predicted:
        cases = _expected_right(run.plan, runs_as)
    first: Verification | None = None
    readers = with_readers(run.plan.masked, masks)
    wider = [] if readers == masks else [readers]
    around = [some for _, some in grown(masks, space)]
    if predicted:
        around = (around or [dict.fromkeys(space.layers, space.strong)])[:1]
    for candidate in (masks, *wider, *around):
        verification = _verify(run, runs_as, candidate, cases)
        if verification.holds and candidate in around:
            return _with_few_more(run, runs_as, masks, candidate, verification, cases)
        if verification.holds or not verification.ran:
            return candidate, verification
        first = first or verification
    assert first is not None
    return masks, first


def _with_few_more(
    run: SpecRun,
    comparison: Comparison,
    masks: Masks,
    wider: Masks,
    verification: Verification,
    cases: CasesBySample,
) -> tuple[Masks, Verification]:
    """What `masks`, which do not hold, need of `wider` ones, which do; all of them if they are many."""
    more = sorted(wider.keys() - masks.keys(), reverse=True)
    for number in more if len(more) <= MOST_TRIED else ():
        fewer = {one: mask for one, mask in wider.items() if one != number}
        if (again := _verify(run, comparison, fewer, cases)).holds:
            wider, verification = fewer, again
    return wider, verification


def verify_setup(
    run: SpecRun, comparison: Comparison, setup: Setup, cases: CasesBySample
) -> Verification:
    """The verification of the unchanged network with `setup` in place of the comparison's candidate."""
    own = replace(comparison, candidate=setup)
    by_sample = {
        sample: [replace(case, comparison=own) for case in outputs]
        for sample, outputs in _outputs(cases).items()
    }
    return _outputs_right(by_sample, lambda sample, outputs: run.judge(sample, outputs, probe=False))


def _verify(run: SpecRun, comparison: Comparison, masks: Masks, cases: CasesBySample) -> Verification:
    """Write the patched .param, load it, run every sample several times, and compare the outputs."""
    by_sample = _outputs(cases)
    with on_disk(patched(run.plan.masked, masks).text) as path:
        if not by_sample:
            return _only_runs(run, comparison, path)
        verification = _outputs_right(
            by_sample, lambda sample, outputs: run.verify(sample, outputs, path, REPEATS)
        )
    if not verification.holds:
        return verification
    count = len(by_sample) - len(verification.left_out)
    samples = f"{count} sample{'s' if count > 1 else ''}"
    ran = f"the patched network ran {samples} {REPEATS} times on {comparison.candidate}"
    return replace(verification, how=f"{ran}: {verification.how}")


def _only_runs(run: SpecRun, comparison: Comparison, path: Path) -> Verification:
    """Whether the patched network at `path` runs at all, where no output can be compared."""
    for sample in run.plan.spec.inputs:
        outputs = _outputs({sample: run.plan.cases(comparison, sample)}).get(sample, ())
        try:
            results = run.verify(sample, outputs, path, 1)
        except EngineError as error:
            return Verification(False, f"the network could not be run: {error}")
        died = next((one for one in results if one.evidence.death and not _does_not_fit(one)), None)
        if died is not None:
            return Verification(False, f"sample {sample}: {died.id.split('::')[1]} {symptom(died)}")
    why = (
        "not compared: every output is a known failure, or one that no mask can fix; the patched "
        "network runs"
    )
    return Verification(False, why, ran=False)


def _expected_right(plan: Plan, comparison: Comparison) -> CasesBySample:
    """By sample, the cases of `comparison` that are not known failures."""
    return {
        sample: [case for case in plan.cases(comparison, sample) if not plan.known(sample, case)]
        for sample in plan.spec.inputs
    }


def _outputs(cases: CasesBySample) -> dict[str, list[Case]]:
    """By sample, the outputs among `cases`; samples without one are left out."""
    outputs = {name: [case for case in some if case.output is not None] for name, some in cases.items()}
    return {name: some for name, some in outputs.items() if some}


def _outputs_right(
    by_sample: CasesBySample, judge: Callable[[str, Sequence[Case]], Sequence[Result]]
) -> Verification:
    """Whether `judge` finds all outputs right; those that run exactly as the reference does are.

    A sample without any output, because its inputs do not fit the network, proves nothing.
    """
    right: list[tuple[Case, Result]] = []
    left_out = []
    for sample, outputs in by_sample.items():
        cases = {case.id: case for case in outputs}
        try:
            results = judge(sample, outputs)
        except EngineError as error:
            how = f"the network could not be run: {error}"
            return Verification(False, how, outputs=output_errors(right))
        fitting = [result for result in results if not _does_not_fit(result)]
        if not fitting:
            left_out.append(sample)
        for result in fitting:
            if result.outcome == "skipped" and not result.evidence.alike:
                return Verification(False, f"not run: {result.reason}", ran=False)
            if result.outcome == "failed":
                how = f"sample {sample}: {result.id.split('::')[1]} {symptom(result)}"
                return Verification(False, how, outputs=output_errors(right))
            right.append((cases[result.id], result))
    if not right:
        return Verification(False, "not run: no sample fits the network", ran=False)
    errors = output_errors(right)
    how = f"outputs within {worst(errors) or 0.0:.3g}"
    if left_out:
        how += f"; left out, for it does not fit the network: {listed(left_out)}"
    return Verification(True, how, outputs=errors, left_out=tuple(left_out))


def _does_not_fit(result: Result) -> bool:
    return result.evidence.death is not None and result.evidence.death.of_shapes
