"""Finds the fix for the red cases of a comparison: searches for masks, verifies them and times them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import CPU_FP32, Comparison
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.masks import strong_mask
from pytest_ncnn_parity.repair import search_space
from pytest_ncnn_parity.repair.alternatives import Alternative, measure_cost, try_alternatives
from pytest_ncnn_parity.repair.cost import Cost
from pytest_ncnn_parity.repair.fix import NO_EFFORT, Effort, Fix, FixSettings
from pytest_ncnn_parity.repair.outputs import changes, helps, still_wrong
from pytest_ncnn_parity.repair.patch import make_patch, patched
from pytest_ncnn_parity.repair.problem import Problem, Profile, find_anew, find_problem, measure_profile
from pytest_ncnn_parity.repair.search import Masks, Space, search
from pytest_ncnn_parity.repair.trials import SearchBudget, Trials
from pytest_ncnn_parity.repair.verify import Loads, Verification, verify_masks, verify_setup

# The share of its tolerance that an output may use where masks mend nothing but rounding. What sets that
# were shrunk up to the tolerance left on other samples of the same kind was up to three times as much.
ROOM = 0.25


def find_fix(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The fix for `comparison`; None if nothing in it can be fixed by masks."""
    if not strong_mask(comparison.candidate):
        return None
    problem = find_problem(run, comparison)
    if problem.reference_is_wrong:  # no correct candidate would agree with a wrong reference
        comparison = replace(comparison, reference=CPU_FP32)
        problem = find_anew(run, comparison)
    if problem.red:
        return _Repair(run, comparison, settings, problem).fix()
    reasons = []
    if problem.beyond:
        names = listed(problem.beyond)
        code = "" if run.plan.spec.setup is None else ", or in the code of 'setup:'"
        reasons.append(
            f"no mask can fix this: the fault of {names} lies in the reference or in the files{code}"
        )
    if problem.unjudged:
        reasons.append(f"{listed(problem.unjudged)} could not be run to the end")
    if not reasons:
        return None
    one = len(problem.beyond) + len(problem.unjudged) == 1
    see = "see its own message" if one else "see their own messages"
    return _no_masks(comparison, problem, f"{'; '.join(reasons)}: {see}")


def _no_masks(
    comparison: Comparison,
    problem: Problem,
    how: str,
    effort: Effort = NO_EFFORT,
    notes: Sequence[str] = (),
) -> Fix:
    """A fix without masks: that none were found is a result as well, with its reason."""
    return Fix(
        comparison=comparison.name,
        masks={},
        verified=False,
        minimal=False,
        how=how,
        notes=tuple(notes),
        effort=effort,
        outputs_before=problem.outputs,
    )


class _Joined(Frozen):
    """Masks of two comparisons, their verification, and what there is to say of them."""

    masks: Masks
    verification: Verification
    minimal: bool
    note: str


class _Repair(Frozen):
    """The repair of one comparison in which something is red."""

    run: SpecRun
    comparison: Comparison
    settings: FixSettings
    problem: Problem

    def fix(self) -> Fix:
        run, comparison, problem = self.run, self.comparison, self.problem
        network = run.plan.masked
        profile = Profile({})  # of a network that cannot be loaded, nothing is measured
        if not problem.unloaded:
            # where a layer is wrong by itself, nobody asks which would be by the rounding of its inputs
            profile = measure_profile(run, comparison, with_sensitivity=not problem.faults)
        notes = [*self._about_what_is_left_out(), *self._about_fp32()]
        space = search_space.space(
            network,
            problem.faults,
            profile,
            comparison.candidate,
            problem.output_tolerance,
            problem.unloaded,
        )
        budget = SearchBudget(self.settings.runs, self.settings.seconds)
        most = inf if problem.faults else ROOM
        trials: Trials | Loads = Trials(run, problem.cases, budget, problem.outputs, most)
        if problem.unloaded:
            trials = Loads(run, comparison, problem.cases, budget)
            if trials.holds({}):
                how = "the network was loaded, and was right, when it was tried again"
                return _no_masks(comparison, problem, how, notes=notes)
        result = search(space, trials)
        if result.masks is None and isinstance(trials, Trials) and trials.lacked_room:
            trials.most = inf
            result = search(space, trials)
        effort = Effort(trials.budget.used, trials.budget.took, result.start)
        notes += self._about_sensitivity(profile, result.masks)
        if result.masks is None:
            how = f"no mask can fix this: it fails with a mask on every layer too ({trials.last})"
            if not result.complete:
                how = "the search reached its limit before a set of masks was right"
            return _no_masks(comparison, problem, how, effort, notes)
        with run.working_on("proof of the masks"):
            masks, verification = verify_masks(run, comparison, problem.cases, result.masks, space)
        if verification.holds and not helps(problem.outputs, verification.outputs):
            errors = changes(problem.outputs, verification.outputs)
            failed = any(error.failed for error in problem.outputs.values())
            if failed or all(fault.cause == "precision" for fault in problem.faults):
                how = self._without_effect(masks, errors)
                return _no_masks(comparison, problem, how, effort, notes)
            notes.append(f"what is red is right with this fix; the outputs were so without: {errors}")
        minimal = verification.holds and result.complete and masks == result.masks
        joined = None if verification.holds else self._joined(masks, space)
        if joined is not None:
            masks, verification, minimal = joined.masks, joined.verification, joined.minimal
            notes.append(joined.note)
        elif not result.complete:
            notes.append("the search reached its limit: not all of these masks may be needed")
        elif masks != result.masks:
            notes.append("a smaller set was right layer by layer, but not in the reloaded network")
        fix = self._described(masks, verification, minimal, effort, notes)
        return fix.written(run, self.settings)

    def _joined(self, masks: Masks, space: Space) -> _Joined | None:
        """`masks` of a comparison without a candidate, with those that the device needs; None if wrong.

        More may be red on the device than is predicted: what rounding does, or sums whose order is
        unknown.
        """
        fix = self._fix_on_device()
        if fix is None or not fix.verified:
            return None
        layers = self.run.plan.masked.layers
        theirs = {one.number: fix.masks[one.name] for one in layers if one.name in fix.masks}
        both = {one: masks.get(one, 0) | theirs.get(one, 0) for one in sorted({*masks, *theirs})}
        with self.run.working_on("proof of the masks"):
            _, verification = verify_masks(self.run, self.comparison, self.problem.cases, both, space)
        if not verification.holds:
            return None
        note = (
            f"what {self.comparison.name} alone asks for is not enough on the device: the masks that "
            f"{fix.comparison} needs are among these"
        )
        return _Joined(both, verification, fix.minimal and both == theirs, note)

    def _fix_on_device(self) -> Fix | None:
        """The fix of a selected comparison that runs what this one only predicts."""
        run, candidate = self.run, self.comparison.verified_as.candidate
        if self.comparison.candidate is not None:
            return None
        selected = {case.comparison for cases in run.selected.values() for case in cases}
        for other in run.plan.spec.comparisons:
            if other in selected and other.candidate == candidate and other.masks_can_fix:
                return run.once("fix", other.name, Fix, partial(find_fix, run, other, self.settings))
        return None

    def _without_effect(self, masks: Masks, errors: str) -> str:
        layers = self.run.plan.masked.layers
        names = [f"{layers[number].name} 31={mask}" for number, mask in masks.items()]
        if len(names) > 3:
            names[2:] = [f"{len(names) - 2} more masks"]
        return (
            f"with {', '.join(names)} the red layers are right, but no output is better for it: {errors}"
        )

    def _described(
        self,
        masks: Masks,
        verification: Verification,
        minimal: bool,
        effort: Effort,
        notes: Sequence[str],
    ) -> Fix:
        """The masks that were found, with what they change and what they cost."""
        plan = self.run.plan
        cost, alternatives = self._priced(masks) if verification.holds else (None, [])
        if cost is not None and self._on_vulkan and not cost.left:
            notes = [
                *notes,
                "no layer is left on the GPU: it is better to fix the model than to mask it",
            ]
        notes = [*notes, *still_wrong(self.problem.outputs, verification.outputs)]
        if (before := self.problem.outputs) and all(error.silent for error in before.values()):
            notes.append(
                "no output shows whether it is better with this fix: each is smaller than the error "
                "allowed, before and after; feed an input for which it is not"
            )
        network = patched(plan.masked, masks)
        return Fix(
            comparison=self.comparison.name,
            masks={layer.name: layer.mask for layer in network.layers if layer.number in masks},
            verified=verification.holds,
            minimal=minimal,
            how=verification.how,
            notes=tuple(notes),
            effort=effort,
            outputs_before=self.problem.outputs,
            outputs_after=verification.outputs,
            patch=make_patch(plan, masks, self.settings.root),
            cost=cost,
            alternatives=tuple(alternatives),
        )

    def _priced(self, masks: Masks) -> tuple[Cost | None, list[Alternative]]:
        """The cost of the masks, and the alternatives to them; none if the candidate cannot be run."""
        run, comparison = self.run, self.comparison
        if comparison.candidate is None:
            return None, []
        alternatives = try_alternatives(run, comparison, masks, self.problem.cases)
        network = patched(run.plan.masked, masks)
        return measure_cost(run, comparison, network, alternatives, self.problem.cases)

    @property
    def _on_vulkan(self) -> bool:
        return self.comparison.candidate is not None and self.comparison.candidate.on_vulkan

    # -- what else is worth knowing --------------------------------------------------------------

    def _about_what_is_left_out(self) -> Iterator[str]:
        if self.problem.beyond:
            yield f"left out, because no mask can fix it: {listed(self.problem.beyond)}"
        if self.problem.unjudged:
            yield f"left out, because not run to the end: {listed(self.problem.unjudged)}"

    def _about_fp32(self) -> Iterator[str]:
        """A note if the candidate is wrong in fp32 too, because then its precision is not at fault."""
        candidate = self.comparison.candidate
        if candidate is None or candidate.half is None:
            return
        fp32 = replace(candidate, precision="fp32")
        if fp32 == self.comparison.reference:
            return
        verification = verify_setup(self.run, self.comparison, fp32, self.problem.cases)
        if verification.ran and not verification.holds:
            yield (
                f"in fp32 on {fp32.device} it is wrong as well ({verification.how}): "
                "a kernel or the driver is at fault"
            )

    def _about_sensitivity(self, profile: Profile, masks: Masks | None) -> Iterator[str]:
        """If no layer is wrong by itself, a note on the one most sensitive to rounding of inputs."""
        if self.problem.faults or not profile.sensitivity:
            return
        number, share = max(profile.sensitivity.items(), key=lambda pair: pair[1])
        alone = masks is not None and masks.keys() <= {number}
        if share <= self.problem.output_tolerance / 2 or alone:
            return
        layer = self.run.plan.masked.layers[number]
        lost = "gives it another shape, or inf or nan,"
        does = lost if share == inf else f"puts it off by scaled {share:.3g}"
        yield (
            f"no mask on {layer.name} ({layer.type}) alone fixes it: rounding its inputs to 16 bits "
            f"{does} even in fp32; they must reach it unrounded"
        )
