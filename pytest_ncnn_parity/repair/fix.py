"""From the red cases of a comparison to masks that were run: searches, proves, and says what held."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.base import write_files
from pytest_ncnn_parity.compare.comparisons import BUILT_IN, Comparison, Setup
from pytest_ncnn_parity.engine.results import SpecRun
from pytest_ncnn_parity.network.masks import strong_mask, weak_mask
from pytest_ncnn_parity.network.param import Graph
from pytest_ncnn_parity.repair import alternatives, problem, search_space, verify
from pytest_ncnn_parity.repair import search as repair
from pytest_ncnn_parity.repair.problem import Findings
from pytest_ncnn_parity.repair.search import Masks, Space
from pytest_ncnn_parity.repair.search_space import Survey
from pytest_ncnn_parity.repair.trials import Budget, Trials
from pytest_ncnn_parity.repair.verify import Proof


@dataclass(frozen=True)
class Fix:
    """Masks for one comparison, and whether a run of the patched network proved them.

    `masks` by layer name, each with what the layer had; empty where none help, and then `how` says
    so. `lines` are the changed lines of the .param as they should be, `before` as they are. `minimal`:
    no layer can be given up, nor an 18 become a 1. `how` says what was run, or why nothing could be;
    `errors` are the worst of an output, as shares of its largest, before and after (None: not run);
    `notes` what else is worth knowing. `runs` and `seconds` are what the search took, `start` what it
    shrunk. `cost` and `alternatives` are those of the rooms so named. `patch` is for `git apply`,
    `patched` the whole .param, the spec's masks in it too; `written` are files.
    """

    comparison: str
    masks: Mapping[str, int]
    verified: bool
    minimal: bool
    lines: Sequence[str]
    before: Sequence[str]
    how: str
    errors: Sequence[str | float | None]
    notes: Sequence[str]
    runs: int
    seconds: float
    start: str
    cost: Mapping[str, Any] | None
    alternatives: Sequence[Mapping[str, Any]]
    patch: str
    patched: str
    written: Sequence[str] = ()


@dataclass(frozen=True)
class FixSettings:
    """Where patches are written, if at all, what their paths are relative to; a search's budget."""

    write: bool
    folder: Path
    root: Path
    runs: int
    seconds: float


def find(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The fix for `comparison`, worked out once; None: it is no matter of masks."""

    def worked_out() -> dict[str, Any] | None:
        run.phase = "what went wrong: "
        fix = _work_out(run, comparison, settings)
        run.phase = ""
        return None if fix is None else asdict(fix)

    told = run.once("fix", comparison.name, worked_out)
    return None if told is None else Fix(**told)


def _work_out(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    candidate = comparison.candidate
    if not strong_mask(candidate):
        return None
    found = problem.findings(run, comparison)
    if not found.red:
        names = ", ".join(found.beyond)
        why = f"what is wrong with {names} is the reference's, or the files' own: see there"
        return _none(comparison, found, _Effort(0, 0.0, "nothing", True), why, ()) if names else None
    survey = problem.survey(run, comparison)
    notes = [f"no matter of masks, and left out: {', '.join(found.beyond)}"] if found.beyond else []
    notes += _in_fp32(run, comparison, found)
    space = search_space.space(run.plan.masked, found.faults, survey, candidate, found.budget)
    trials = Trials(run, found.cases, Budget(settings.runs, settings.seconds))
    result = repair.search(space, trials)
    effort = _Effort(trials.budget.used, trials.budget.took, result.start, result.complete)
    notes += _sensitive(run, found, survey, result.masks)
    if result.masks is None:
        why = f"with a mask on every layer it is red as well ({trials.last})"
        return _none(comparison, found, effort, why, notes)
    run.phase = "proof of the masks: "
    masks, held = _proven(run, comparison, found, result.masks, space)
    if not effort.complete:
        notes.append("the budget ended the search: not all of these masks may be needed")
    elif masks != result.masks:
        notes.append("a smaller set held layer by layer, but not in the reloaded network")
        effort = replace(effort, complete=False)
    fix = _fix(run, comparison, settings, found, masks, held, effort, notes)
    return _written(fix, run, settings) if settings.write and fix.verified else fix


@dataclass(frozen=True)
class _Effort:
    runs: int
    seconds: float
    start: str
    complete: bool


def _sensitive(run: SpecRun, found: Findings, survey: Survey, masks: Masks | None) -> list[str]:
    """Where no layer is wrong by itself: the one that rounding its inputs puts off most."""
    if found.faults or not survey.lost:
        return []
    number, share = max(survey.lost.items(), key=lambda pair: pair[1])
    if share <= found.budget / 2 or (masks is not None and not masks.keys() - {number}):
        return []
    layer = run.plan.masked.layers[number]
    return [
        f"no mask on {layer.name} ({layer.type}) alone mends it: rounding its inputs to 16 bits puts it "
        f"off by scaled {share:.3g} even in fp32; they must reach it unrounded"
    ]


def _in_fp32(run: SpecRun, comparison: Comparison, found: Findings) -> list[str]:
    """Whether the candidate is right in fp32: if not, precision is not what is wrong."""
    candidate = comparison.candidate
    if candidate is None or candidate.half is None:
        return []
    fp32 = Setup(candidate.device, "fp32", candidate.options)
    if fp32 == comparison.reference:
        return []
    held = alternatives.run_in(run, comparison, fp32, found.cases)
    if held.holds or not held.ran:
        return []
    return [
        f"in fp32 on {fp32.device} it is wrong as well ({held.how}): a kernel or the driver is at fault"
    ]


def _proven(
    run: SpecRun, comparison: Comparison, found: Findings, masks: Masks, space: Space
) -> tuple[Masks, Proof]:
    """`masks`, or if they do not hold on the reloaded network the next wider set that does.

    Those for a range are tried on Vulkan as ncnn ships it; what else is wrong there is not theirs to
    mend, so they are not widened.
    """
    if comparison.candidate is None:
        (shipped,) = BUILT_IN["shipped"]
        cases = {
            sample: [case for case in run.plan.cases(shipped) if not run.plan.known(sample, case)]
            for sample in run.plan.spec.inputs
        }
        return masks, verify.prove(run, shipped, _patched(run.plan.masked, masks), cases)
    first: Proof | None = None
    for wider in (masks, *(around for _, around in repair.grown(masks, space))):
        held = verify.prove(run, comparison, _patched(run.plan.masked, wider), found.cases)
        if held.holds:
            return wider, held
        first = first or held
        if not held.ran:
            break
    assert first is not None
    return masks, first


def _patched(graph: Graph, masks: Masks) -> Graph:
    return graph.remasked([layer.mask | masks.get(layer.number, 0) for layer in graph.layers])


def _none(
    comparison: Comparison, found: Findings, effort: _Effort, why: str, notes: Sequence[str]
) -> Fix:
    """No masks: with the reason, which is a result as well."""
    how = f"no mask can mend this: {why}"
    if not effort.complete:
        how = "the budget of the search was spent before any set of masks held"
    return Fix(
        comparison.name, {}, False, False, (), (), how, _errors(found.worst, None), tuple(notes),
        effort.runs, effort.seconds, effort.start, None, (), "", "",
    )  # fmt: skip


def _errors(*worst: float | None) -> list[str | float | None]:
    """For strict JSON: inf is a string there."""
    return [x if x is None or math.isfinite(x) else str(x) for x in worst]


def _fix(
    run: SpecRun,
    comparison: Comparison,
    settings: FixSettings,
    found: Findings,
    masks: Masks,
    held: Proof,
    effort: _Effort,
    notes: Sequence[str],
) -> Fix:
    masked, before = run.plan.masked, run.plan.graph
    whole = {number: masked.layers[number].mask | mask for number, mask in masks.items()}
    after = before.remasked([whole.get(layer.number, layer.mask) for layer in before.layers])
    changed = [layer for layer in before.layers if layer.number in whole]
    path = _in_repository(run.plan.spec.param, settings.root)
    cost, others = None, []
    if held.holds and comparison.candidate is not None:
        storage = any(mask & ~(weak_mask(comparison.candidate) or 0) for mask in masks.values())
        others = alternatives.found(run, comparison, storage, found.cases)
        cost, others = alternatives.measure(run, comparison, _patched(masked, masks), others)
        if cost is not None and comparison.candidate.on_vulkan and not cost.left:
            notes = [*notes, "nothing is left on the GPU: rather mend the model than mask it"]
    return Fix(
        comparison=comparison.name,
        masks={layer.name: whole[layer.number] for layer in changed},
        verified=held.holds,
        minimal=held.holds and effort.complete,
        lines=[after.line_of(layer) for layer in changed],
        before=[before.line_of(layer) for layer in changed],
        how=held.how,
        errors=_errors(found.worst, held.worst),
        notes=tuple(notes),
        runs=effort.runs,
        seconds=effort.seconds,
        start=effort.start,
        cost=None if cost is None else asdict(cost),
        alternatives=[asdict(other) for other in others],
        patch=before.diff(after, path),
        patched=_patched(masked, masks).text,
    )


def _in_repository(param: Path, root: Path) -> str:
    """The path that `git apply` knows the file by: from its repository's top, or from the rootdir."""
    top = next(
        (folder for folder in param.resolve().parents if (folder / ".git").exists()), root.resolve()
    )
    return os.path.relpath(param.resolve(), top).replace(os.sep, "/")


def _written(fix: Fix, run: SpecRun, settings: FixSettings) -> Fix:
    """`fix` with its patched .param and its patch in files, or a note why they could not be written.

    The .param has the spec's masks as well, for it was run with them.
    """
    spec = run.plan.spec.path
    inside = settings.root in spec.parents
    folder = settings.folder / (spec.parent.relative_to(settings.root) if inside else "")
    stem = f"{spec.name.removesuffix('.parity.yaml')}.{fix.comparison}"
    made = []
    try:
        for suffix, text in ((".param", fix.patched), (".patch", fix.patch)):
            path = folder / (stem + suffix)
            write_files.write(text, path)
            made.append(str(path))
    except OSError as error:
        return replace(fix, notes=[*fix.notes, f"the patch could not be written: {error}"])
    return replace(fix, written=made)
