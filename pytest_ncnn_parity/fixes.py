"""From the red cases of a comparison to masks that were run: proposes, tries, and says what held."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from pytest_ncnn_parity import repair
from pytest_ncnn_parity.diagnose import diagnose
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.param import Graph
from pytest_ncnn_parity.plan import Case
from pytest_ncnn_parity.repair import Fault, Range
from pytest_ncnn_parity.runs import SpecRun
from pytest_ncnn_parity.setups import BUILT_IN, Comparison


@dataclass(frozen=True)
class Fix:
    """Masks for one comparison, and whether a run of the patched network proved them.

    `lines` are the changed lines of the .param as they should be, `before` as they are; `how` says
    what was run, or why nothing could be; `patch` is for `git apply`; `written` are files made.
    """

    comparison: str
    masks: Mapping[str, int]
    verified: bool
    lines: tuple[str, ...]
    before: tuple[str, ...]
    why: str
    how: str
    patch: str
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixSettings:
    """Where patches are written, if at all, and what their paths are relative to."""

    write: bool
    folder: Path
    root: Path


def find(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The fix for `comparison`, worked out once for all xdist workers; None if masks cannot help."""
    if run.settings.share is None:
        return _work_out(run, comparison, settings)
    path = run.share_path("fix", comparison.name).with_suffix(".json")
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            fix = _work_out(run, comparison, settings)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(None if fix is None else asdict(fix)), "utf-8")
            fresh.replace(path)
        stored = json.loads(path.read_text("utf-8"))
    if stored is None:
        return None
    for key in ("lines", "before", "written"):
        stored[key] = tuple(stored[key])
    return Fix(**stored)


def _work_out(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    faults = _faults(run, comparison)
    if not any(fault.curable for fault in faults):
        return None
    graph = run.plan.masked
    ranges = _ranges(run)
    best: Fix | None = None
    for proposal in repair.proposals(graph, faults, ranges):
        patched = graph.with_masks(proposal.masks)
        how, verified = _try(run, comparison, patched)
        fix = _fix(run, comparison, proposal, how, verified, settings)
        if verified:
            return _written(fix, run, settings) if settings.write else fix
        best = best or fix
    return best


def _faults(run: SpecRun, comparison: Comparison) -> list[Fault]:
    """The red layers of `comparison` over all samples, whether their cases were selected or not."""
    every = [case for case in run.plan.cases(comparison) if case.layer is not None]
    faults: dict[int, Fault] = {}
    for sample in run.plan.spec.inputs:
        known: Mapping[str, Result] = run.results(sample) if sample in run.selected else {}
        missing = [case for case in every if case.id not in known]
        if missing:
            run.idle()
            job = run.plan.job(sample, missing, run.settings.threads, first=False)
            extra = {r.id: r for r in run.engine.run(job) if isinstance(r, Result)}
            known = {**known, **extra}
        for case in every:
            result = known[case.id]
            if result.outcome == "failed" and case.layer is not None:
                faults.setdefault(case.layer.number, fault(case, result))
    return [faults[number] for number in sorted(faults)]


def fault(case: Case, result: Result) -> Fault:
    assert case.layer is not None
    return Fault(
        case.layer,
        diagnose(case, result).cause,
        bool(result.evidence.get("without_arithmetic", {}).get("agrees")),
        result.evidence.get("underflow", {}).get("reader"),
    )


def _ranges(run: SpecRun) -> dict[str, Range]:
    """The range of every blob over all samples."""
    run.idle()
    found: dict[str, Range] = {}
    for sample in run.plan.spec.inputs:
        for message in run.engine.run(run.plan.survey(sample, run.settings.threads)):
            assert not isinstance(message, Result)
            for blob, (absmax, tiny) in message.items():
                so_far = found.get(blob, Range(0.0, 0))
                found[blob] = Range(max(so_far.absmax, float(absmax)), max(so_far.tiny, tiny))
    return found


def _try(run: SpecRun, comparison: Comparison, patched: Graph) -> tuple[str, bool]:
    """Write the patched .param, load it afresh, run every sample, compare the outputs."""
    trial = comparison if comparison.candidate is not None else BUILT_IN["shipped"][0]
    samples = list(run.plan.spec.inputs)
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-") as folder:
        path = Path(folder) / "patched.param"
        path.write_bytes(patched.text.encode("utf-8"))
        worst = 0.0
        for sample in samples:
            job = run.plan.trial(sample, trial, str(path), None, run.settings.threads)
            try:
                results = [r for r in run.engine.run(job) if isinstance(r, Result)]
            except EngineError as error:
                return f"the patched network could not be run: {error}", False
            for result in results:
                if result.outcome == "skipped":
                    return f"not run: {result.reason}", False
                if result.outcome == "failed":
                    seen = diagnose(_case(run, trial, result), result).what
                    return f"sample {sample}: {result.id.split('::')[1]} {seen}", False
                assert result.metrics is not None
                worst = max(worst, float(result.metrics["scaled"]))
    count = f"{len(samples)} sample{'s' if len(samples) > 1 else ''}"
    return f"the patched network ran {count} on {trial.candidate}: outputs within {worst:.3g}", True


def _case(run: SpecRun, comparison: Comparison, result: Result) -> Case:
    return next(case for case in run.plan.cases(comparison) if case.id == result.id)


def _fix(
    run: SpecRun,
    comparison: Comparison,
    proposal: repair.Proposal,
    how: str,
    verified: bool,
    settings: FixSettings,
) -> Fix:
    before = run.plan.graph
    after = before.with_masks(proposal.masks)
    changed = [layer for layer in before.layers if layer.name in proposal.masks]
    path = os.path.relpath(run.plan.spec.param, settings.root).replace(os.sep, "/")
    return Fix(
        comparison=comparison.name,
        masks=dict(proposal.masks),
        verified=verified,
        lines=tuple(after.line_of(layer) for layer in changed),
        before=tuple(before.line_of(layer) for layer in changed),
        why=proposal.why,
        how=how,
        patch=before.diff(after, path),
    )


def _written(fix: Fix, run: SpecRun, settings: FixSettings) -> Fix:
    """`fix` with its patched .param and its patch in files."""
    stem = f"{run.plan.spec.path.name.removesuffix('.parity.yaml')}.{fix.comparison}"
    settings.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for suffix, text in (
        (".param", run.plan.graph.with_masks(fix.masks).text),
        (".patch", fix.patch),
    ):
        path = settings.folder / (stem + suffix)
        path.write_bytes(text.encode("utf-8"))
        made.append(str(path))
    return replace(fix, written=tuple(made))
