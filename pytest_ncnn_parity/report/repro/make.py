"""Writes the files that reproduce a red layer, once for all samples of a spec."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.diagnose.cause_names import OF_THE_FILES
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan.as_own import as_own
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.report import network_records
from pytest_ncnn_parity.report.repro import cpp, script
from pytest_ncnn_parity.report.repro.script import FailedLayer
from pytest_ncnn_parity.spec import SUFFIX

NAME_KEPT = 60  # how many characters of a name a path keeps


class Repro(Frozen):
    """A folder with layer.param, layer.bin, inputs, repro.py and repro.cpp; or `why` there is none."""

    path: str | None
    sample: str
    why: str | None = None

    def __str__(self) -> str:
        if self.path is None:
            return f"none: {self.why}"
        return f"{self.path} (of sample {self.sample})"


def name(spec: str, case: Case) -> Path:
    """The folder of the case's files, below the user's folder."""
    return Path(_safe(spec.removesuffix(SUFFIX)), _safe(case.comparison.name), _safe(case.name))


def make(run: SpecRun, failed: FailedLayer, folder: Path) -> Repro:
    """The files of a failed case in `folder`, written for the first sample that asks for them."""

    def written() -> Repro:
        why = _not_alone(failed)
        if why:
            return Repro(None, failed.sample, why)
        if failed.case.comparison.other_files is not None:
            return _of_other_files(run, failed, folder)
        return _written(run, failed, folder)

    repro = run.once("repro", failed.case.id, Repro, written)
    return repro or Repro(None, failed.sample, "another process could not make it")


def _not_alone(failed: FailedLayer) -> str:
    """Why the layer alone cannot show its fault; empty if it may."""
    if failed.case.comparison.workers:
        names = " and ".join(failed.case.comparison.workers)
        return f"it ran on the worker {names}, which a script for this machine does not reach"
    death = failed.result.evidence.death
    if death is not None and death.in_loading:
        return "the network does not load, so no layer of it runs"
    if failed.case.comparison.other_files is not None and failed.cause in OF_THE_FILES:
        return "the files differ, which a layer of one of them does not show"
    if failed.layer.type == "Input":
        return "an Input layer runs nothing; its values are the sample's"
    if _lacks_headroom_alone(failed.result.evidence):
        return "its values fit fp16 and only the headroom is missing, which no run shows"
    if failed.result.evidence.misread is not None:
        return "the fault is between two layers, and one alone does not show it"
    return ""


def _of_other_files(run: SpecRun, failed: FailedLayer, folder: Path) -> Repro:
    """The files of the other model's counterpart of the failed layer, if that is wrong alone."""
    comparison = failed.case.comparison
    other = run.plan.other(comparison)
    assert other is not None
    last = other.of[failed.layer.number].last
    plan, own = as_own(run.plan, comparison)
    (case,) = (
        one for one in plan.cases(own) if one.layer is not None and one.layer.number == last.number
    )
    itself = SpecRun(plan, replace(run.settings, share=None, cache=None))
    try:
        result = itself.result_of_rerun(failed.sample, case)
        if result.outcome != "failed":
            return Repro(None, failed.sample, f"{last.name} of the other files is right by itself")
        return _written(itself, replace(failed, case=case, result=result), folder)
    except EngineError as error:
        return Repro(None, failed.sample, str(error))
    finally:
        itself.close()


def _lacks_headroom_alone(evidence: Evidence) -> bool:
    """Whether all that is wrong is that values come closer to 65504 than the spec allows."""
    inside = evidence.inside
    lost = (evidence.unrepresentable, evidence.constant, evidence.integers, evidence.underflow)
    shows = evidence.reference_nan or any(one is not None for one in lost)
    if not evidence.predicted or shows or (inside is not None and inside.overflows):
        return False
    return evidence.near is not None or inside is not None


def _written(run: SpecRun, failed: FailedLayer, folder: Path) -> Repro:
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        isolated = run.isolate(failed.sample, failed.case, fresh)
        if isolated.problem:
            return Repro(None, failed.sample, isolated.problem)
        environment = network_records.worker_environment(run.facts)
        text = script.text(run.plan, failed, environment, isolated)
        (fresh / "repro.py").write_text(text, "utf-8")
        if not isolated.custom:
            text = cpp.text(run.plan, failed, environment, isolated)
            (fresh / "repro.cpp").write_text(text, "utf-8", "surrogateescape")
        shutil.rmtree(folder, ignore_errors=True)  # the folder of an earlier run
        fresh.replace(folder)
    except EngineError as error:
        return Repro(None, failed.sample, str(error))
    except OSError as error:
        return Repro(None, failed.sample, f"{error.filename or folder}: {error.strerror}")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Repro(str(folder), failed.sample)


def _safe(text: str) -> str:
    """`text` as a file name: other characters are replaced, and a hash makes the name unique."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).lstrip(".")[:NAME_KEPT]
    if plain == text:
        return plain
    return f"{plain}-{sha256(text.encode()).hexdigest()[:8]}"
