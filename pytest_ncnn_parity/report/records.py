"""One case as plain values: what rides on pytest's reports, and what the JSON file holds of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.diagnose import Diagnosis
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.fixes import Fix
from pytest_ncnn_parity.param import MASK_ID
from pytest_ncnn_parity.plan import Case, Plan
from pytest_ncnn_parity.setups import GOLDEN

METRICS = (
    "max_abs scaled cosine sqnr_db nan inf mismatched total reference_absmax candidate_absmax "
    "least_scaled"
).split()

# what a worker tells of itself; null where none was started
UNTOLD = dict.fromkeys(("ncnn", "numpy", "python", "machine", "system"))


def record(
    spec: str,
    param: str,
    sample: str,
    case: Case,
    result: Result,
    diagnosis: Diagnosis | None,
    message: str,
) -> dict[str, Any]:
    """Everything a report wants of one case, JSON-able. `outcome` is the verdict's own."""
    metrics = result.metrics
    return {
        "spec": spec,
        "param": param,
        "sample": sample,
        "comparison": case.comparison.name,
        "layer": None if case.layer is None else case.layer.name,
        "number": None if case.layer is None else case.layer.number,
        "output": case.output,
        "type": None if case.layer is None else case.layer.type,
        "outcome": result.outcome,
        "cause": None if diagnosis is None else diagnosis.cause,
        "message": message,
        "metrics": None if metrics is None else {name: metrics[name] for name in METRICS},
        "accumulated": None if result.accumulated is None else dict(result.accumulated),
        "accumulated_ended": result.evidence.get("accumulated_ended"),
        "tolerance": dict(vars(case.tolerance)),
        "golden": None if case.golden is None else str(case.golden),
        "execution": result.evidence.get("execution"),
        "device": result.evidence.get("device"),
    }


def model_record(plan: Plan, spec: str, param: str) -> dict[str, Any]:
    """The files of a spec by their hashes, and the network under test: what baselines compare."""
    selected = {layer.number for layer in plan.layers}
    recorded = [GOLDEN] if any(sample.expect for sample in plan.spec.samples.values()) else []
    return {
        "spec": spec,
        "param": param,
        "bin": plan.spec.model.bin,
        "setup": plan.spec.setup,
        "spec_sha256": _sha256(plan.spec.path),
        "param_sha256": _sha256(plan.spec.param),
        "bin_sha256": _sha256(plan.spec.bin),
        "samples": list(plan.spec.inputs),
        "comparisons": [
            {
                "name": comparison.name,
                "reference": "recorded" if comparison.recorded else str(comparison.reference),
                "candidate": None if comparison.candidate is None else str(comparison.candidate),
                "half": comparison.half,
            }
            for comparison in [*plan.spec.comparisons, *recorded]
        ],
        "layers": [
            {
                "name": layer.name,
                "type": layer.type,
                "line": layer.line,
                "inputs": list(layer.inputs),
                "outputs": list(layer.outputs),
                "mask": layer.mask,
                "params": " ".join(f"{k}={v}" for k, v in layer.params.items() if k != MASK_ID),
                "selected": layer.number in selected,
            }
            for layer in plan.masked.layers
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        found = sha256()
        while block := file.read(1 << 20):
            found.update(block)
        return found.hexdigest()


def properties(told: Mapping[str, Any]) -> list[tuple[str, str | float]]:
    """The JUnit properties of a case: plain str and float."""
    found: list[tuple[str, str | float]] = [
        ("ncnn_parity_" + key, str(told[key]))
        for key in ("sample", "comparison", "cause", "execution", "device")
        if told[key] is not None
    ]
    metrics = told["metrics"] or {}
    found += [(f"ncnn_parity_{key}", metrics[key]) for key in ("max_abs", "scaled") if metrics]
    return found


@dataclass
class Records:
    """What a session's reports brought together, in the order they came."""

    cases: list[dict[str, Any]] = field(default_factory=list)
    fixes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    masks: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, dict[str, None]] = field(default_factory=dict)  # by spec, in order
    environment: dict[str, Any] = field(default_factory=dict)
    since: dict[str, Any] = field(default_factory=lambda: {"regressions": [], "baseline": None})

    def add(self, told: Mapping[str, Any]) -> None:
        """Take what rode on one report."""
        if "case" in told:
            self.cases.append(dict(told["case"]))
        for fix in told.get("fixes", ()):
            self.fixes[fix["spec"], fix["comparison"]] = fix
        if "model" in told:
            self.models[told["model"]["spec"]] = told["model"]
        for note in told.get("notes", ()):
            self.notes.setdefault(note["spec"], {})[note["what"]] = None
        for notice in told.get("masks", ()):
            key = tuple(str(value) for value in notice.values())
            self.masks[key] = notice
        for key, value in told.get("environment", {}).items():
            if value:
                self.environment[key] = value

    def document(self) -> dict[str, Any]:
        """The JSON report."""
        models: dict[str, dict[str, Any]] = {}
        for case in self.cases:
            model = models.setdefault(
                case["spec"],
                {**self.models[case["spec"]], "cases": [], "fixes": [], "masks": [], "notes": []},
            )
            model["cases"].append({k: v for k, v in case.items() if k not in ("spec", "param")})
        for (spec, _), fix in self.fixes.items():
            if spec in models:
                models[spec]["fixes"].append({k: v for k, v in fix.items() if k != "spec"})
        for spec, notes in self.notes.items():
            if spec in models:
                models[spec]["notes"] += notes
        for notice in self.masks.values():
            if notice["spec"] in models:
                told = {k: v for k, v in notice.items() if k != "spec"}
                models[notice["spec"]]["masks"].append(told)
        return {
            "schema": 1,
            "environment": {**UNTOLD, "devices": [], **self.environment},
            "models": list(models.values()),
            **self.since,
        }


def fix_record(spec: str, fix: Fix) -> dict[str, Any]:
    """A fix as the JSON file holds it."""
    told = json.loads(json.dumps(asdict(fix)))
    del told["patched"]  # a file's worth of text; the patch says the same
    return {"spec": spec, **told}


def counted(cases: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many cases passed, failed and were skipped."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in cases:
        counts[case["outcome"]] += 1
    return counts
