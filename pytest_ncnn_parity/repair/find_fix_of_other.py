"""Finds masks for another model that is red on a device, in that model's own .param, proven by a run.

The masks are written on the lines of that file. So the search compares the model with itself, as a spec
of its own would; the result is then run against the reference of the comparison.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from pytest_ncnn_parity.compare.comparisons import Comparison, OtherFiles
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.masks import strong_mask
from pytest_ncnn_parity.plan.as_own import as_own
from pytest_ncnn_parity.repair.find_fix import find_fix
from pytest_ncnn_parity.repair.fix import Fix, FixSettings
from pytest_ncnn_parity.repair.problem import Problem, find_problem
from pytest_ncnn_parity.repair.verify import REPEATS, Verification, verify_setup

OF_THE_FILES = "model"  # the cause of what is wrong in fp32 on the CPU as well


def find_fix_of_other(run: SpecRun, comparison: Comparison, settings: FixSettings) -> Fix | None:
    """The fix for a comparison of another model; None if masks cannot fix what is red."""
    if not strong_mask(comparison.candidate):
        return None
    problem = find_problem(run, comparison)
    causes = {fault.cause for fault in problem.faults}
    if not problem.red or causes == {OF_THE_FILES}:
        return None
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
    return _of_these_files(run, comparison, problem, fix).written(plan, settings)


def _of_these_files(run: SpecRun, comparison: Comparison, problem: Problem, fix: Fix) -> Fix:
    """`fix`, with which the other model agrees with itself, run against the comparison's reference."""
    files = comparison.other_files
    assert files is not None
    fix = replace(fix, param=files.param, outputs_before=problem.outputs)
    if not fix.verified:
        return fix
    proof = _verify(run, comparison, problem, fix)
    ran = f"{fix.how}; beside the outputs of {run.plan.spec.model.param}"
    how = f"{ran} it is wrong still: {proof.how}" if not proof.holds else f"{ran}: {proof.how}"
    minimal = fix.minimal and proof.holds
    return replace(fix, verified=proof.holds, minimal=minimal, how=how, outputs_after=proof.outputs)


def _verify(run: SpecRun, comparison: Comparison, problem: Problem, fix: Fix) -> Verification:
    """The worst of several runs of the patched files, against the comparison's reference."""
    candidate, files = comparison.candidate, comparison.other_files
    assert candidate is not None
    assert files is not None
    _, weights = run.plan.spec.beside(files)
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-") as folder:
        param = Path(folder) / Path(files.param).name
        param.write_text(fix.patch.patched, "utf-8")
        setup = replace(candidate, model=OtherFiles(str(param), str(weights)))
        for _ in range(REPEATS):
            proof = verify_setup(run, comparison, setup, problem.cases)
            if not proof.holds:
                break
    return proof
