"""Finds masks for another model that is red on a device, in that model's own .param, proven by a run.

The masks are written on the lines of that file. So the search compares the model with itself, as a spec
of its own would; the result is then run against the reference of the comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import Comparison, OtherFiles, Setup
from pytest_ncnn_parity.diagnose.cause_names import OF_THE_FILES
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.masks import strong_mask
from pytest_ncnn_parity.plan.as_own import as_own
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.find_fix import find_fix
from pytest_ncnn_parity.repair.find_floats import find_floats
from pytest_ncnn_parity.repair.fix import Fix, FixSettings
from pytest_ncnn_parity.repair.patch import make_patch, with_readers
from pytest_ncnn_parity.repair.problem import Problem, find_problem
from pytest_ncnn_parity.repair.verify import REPEATS, Verification, on_disk, verify_setup


def find_fix_of_other(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The fix for a comparison of another model. None: nothing there can be fixed."""
    candidate, other = comparison.candidate, run.plan.other(comparison)
    problem = find_problem(run, comparison)
    if not problem.red or candidate is None or other is None:
        return None
    causes = {fault.cause for fault in problem.faults}
    if other.in_int8 and (not candidate.on_vulkan or causes <= OF_THE_FILES):
        fix = find_floats(run, comparison, problem, settings)
        if fix is not None:
            return fix
    if not strong_mask(candidate) or (causes and causes <= OF_THE_FILES):
        return None
    return _masks(run, comparison, problem, settings)


def _masks(run: SpecRun, comparison: Comparison, problem: Problem, settings: FixSettings) -> Fix | None:
    """The masks for the other model's own .param."""
    plan, own = as_own(run.plan, comparison)
    # of its own: what other processes know of this spec is not of that model
    other = SpecRun(plan, replace(run.settings, share=None, cache=None))
    try:
        with other.working_on(f"the masks of {own.name}"):
            fix = find_fix(other, own, replace(settings, write=False))
    finally:
        other.close()
    if fix is None:
        return None
    proven = _of_these_files(run, comparison, problem, fix)
    wider = with_masks_on_readers(plan, fix, settings.root)
    if not proven.verified and wider is not fix:
        more = _of_these_files(run, comparison, problem, wider)
        proven = more if more.verified else proven
    return proven.written(run, settings)


def with_masks_on_readers(plan: Plan, fix: Fix, root: Path) -> Fix:
    """`fix` with the masks of layers that give int8 on those that read it as well."""
    graph = plan.masked
    masks = {one.number: fix.masks[one.name] for one in graph.layers if one.name in fix.masks}
    wider = with_readers(graph, masks)
    if wider == masks:
        return fix
    names = {one.name: wider[one.number] for one in graph.layers if one.number in wider}
    return replace(fix, masks=names, patch=make_patch(plan, wider, root))


def _of_these_files(run: SpecRun, comparison: Comparison, problem: Problem, fix: Fix) -> Fix:
    """`fix`, which makes the other model agree with itself, run against the comparison's reference.

    It may not do that in int8: what is rounded there is another integer where a value lies between two,
    so that the CPU may disagree with itself. Whether the masks are right shows beside the reference.
    """
    files = comparison.other_files
    assert files is not None
    notes = (*fix.notes, *_about_int8(problem))
    fix = replace(fix, param=files.param, outputs_before=problem.outputs, notes=notes)
    if not fix.masks:
        return fix
    proof = _Proof(run, comparison, problem, fix).of_repeats()
    ran = f"beside {run.plan.spec.model.param}"
    how = f"{ran}, it is wrong still: {proof.how}" if not proof.holds else f"{ran}: {proof.how}"
    how = f"{fix.how}; {how}" if fix.verified else how
    fix = replace(fix, verified=proof.holds, how=how, outputs_after=proof.outputs)
    # of what is not right beside the reference, nothing that was found without it holds
    return fix if proof.holds else replace(fix, minimal=False, alternatives=())


def _about_int8(problem: Problem) -> Iterator[str]:
    """What else is red, and how its fix is found."""
    lossy = [fault.layer.name for fault in problem.faults if fault.cause == "quantization"]
    if lossy:
        yield (
            f"no mask fixes what {listed(lossy)} {'lose' if len(lossy) > 1 else 'loses'} in int8: "
            "the layers to leave in floats are searched for once no layer is wrong on the device"
        )


class _Proof(Frozen):
    """Runs the patched files against the reference of `comparison`, as its candidate runs them."""

    run: SpecRun
    comparison: Comparison
    problem: Problem
    fix: Fix

    def of_repeats(self) -> Verification:
        """The worst of some runs. Where outputs are wrong on the CPU too, red layers are the proof."""
        candidate, files = self.comparison.candidate, self.comparison.other_files
        assert candidate is not None
        assert files is not None
        _, weights = self.run.plan.spec.beside(files)
        lost = self._wrong_on_the_cpu(replace(candidate, device="cpu", precision="fp32", options={}))
        with on_disk(self.fix.patch.patched, Path(files.param).name) as param:
            setup = replace(candidate, model=OtherFiles(str(param), str(weights)))
            for _ in range(REPEATS):
                proof = self._once(setup, lost)
                if not proof.holds:
                    break
        return proof

    def _once(self, setup: Setup, lost: Collection[str]) -> Verification:
        kept = {
            sample: [case for case in cases if case.output is not None and case.name not in lost]
            for sample, cases in self.problem.cases.items()
        }
        proof = Verification(True, "")
        if any(kept.values()):
            proof = verify_setup(self.run, self.comparison, setup, kept)
        if not lost or not proof.holds:
            return proof
        if died := self._not_run(setup, lost):
            return replace(proof, holds=False, how=f"{listed(died)} could not be run")
        wrong, right = self._layers(setup)
        if wrong or not right:
            how = f"wrong as well: {listed(wrong)}" if wrong else "no layer is left to be proven"
            return replace(proof, holds=False, how=how)
        told = [proof.how, f"right by itself: {listed(right)}"]
        told.append(f"wrong on the CPU as well: {listed(sorted(lost))}")
        return replace(proof, how="; ".join(filter(None, told)))

    def _layers(self, setup: Setup) -> tuple[list[str], list[str]]:
        """The names of those red layers that are wrong in `setup`, and of those that are right."""
        masked = {one.layer.number for one in self.problem.faults if one.cause not in OF_THE_FILES}
        own = replace(self.comparison, candidate=setup)
        wrong: dict[str, bool] = {}
        for sample, cases in self.problem.cases.items():
            red = [case for case in cases if case.layer is not None and case.layer.number in masked]
            for case, result in self._judged(sample, red, own):
                wrong[case.name] = wrong.get(case.name, False) or result.outcome == "failed"
        return [name for name, red in wrong.items() if red], [n for n, red in wrong.items() if not red]

    def _not_run(self, setup: Setup, lost: Collection[str]) -> list[str]:
        """Those of the outputs `lost` that `setup` does not give at all."""
        own = replace(self.comparison, candidate=setup)
        return [
            case.name
            for sample, cases in self.problem.cases.items()
            for case, result in self._judged(sample, [one for one in cases if one.name in lost], own)
            if result.evidence.death is not None
        ]

    def _wrong_on_the_cpu(self, setup: Setup) -> set[str]:
        """The outputs that are wrong in fp32 on the CPU, so that no mask makes them right."""
        own = replace(self.comparison, candidate=setup)
        return {
            case.name
            for sample, cases in self.problem.cases.items()
            for case, result in self._judged(sample, [one for one in cases if one.output], own)
            if result.outcome == "failed"
        }

    def _judged(
        self, sample: str, cases: Sequence[Case], own: Comparison
    ) -> Iterator[tuple[Case, Result]]:
        by_id = {case.id: case for case in cases}
        moved = [replace(case, comparison=own) for case in cases]
        for result in self.run.judge(sample, moved, probe=False) if moved else ():
            yield by_id[result.id], result
