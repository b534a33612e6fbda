"""One case as plain values: what rides on pytest's reports, and what the JSON file holds of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare.comparisons import GOLDEN
from pytest_ncnn_parity.diagnose.causes import Diagnosis
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.network.param import MASK_ID, Layer
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.fix import Fix
from pytest_ncnn_parity.report.run_state import Course

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
    line: int,
) -> dict[str, Any]:
    """Everything a report wants of one case, JSON-able. `outcome` is the verdict's own.

    Names are exact; `message` is printable. `line` is the spec's, from 1.
    """
    metrics = result.metrics
    return {
        "spec": spec,
        "param": param,
        "line": line,
        "sample": sample,
        "comparison": case.comparison.name,
        "layer": None if case.layer is None else case.layer.name,
        "number": None if case.layer is None else case.layer.number,
        "output": case.output,
        "type": None if case.layer is None else case.layer.type,
        "outcome": result.outcome,
        "cause": None if diagnosis is None else diagnosis.cause,
        "message": printable(message, lines=True),
        "metrics": None if metrics is None else {name: metrics[name] for name in METRICS},
        "accumulated": None if result.accumulated is None else dict(result.accumulated),
        "accumulated_ended": result.evidence.get("accumulated_ended"),
        "tolerance": dict(vars(case.tolerance)),
        "golden": None if case.golden is None else str(case.golden),
        "execution": result.evidence.get("execution"),
        "device": result.evidence.get("device"),
        "dropped": list(result.evidence.get("dropped", ())),
    }


def lost(nodeid: str, message: str) -> dict[str, Any]:
    """A case of which only its node id is known, for the process that ran it died or raised."""
    spec, sample, comparison, name = (*nodeid.split("::", 3), "", "", "")[:4]
    output = name.removeprefix("output:") if name.startswith("output:") else None
    return {
        "spec": spec,
        "param": None,
        "line": None,
        "sample": sample,
        "comparison": comparison,
        "layer": name if output is None else None,
        "output": output,
        "type": None,
        "cause": None,
        "message": printable(message, lines=True),
        "metrics": None,
        "tolerance": None,
        "execution": None,
        "device": None,
        "dropped": [],
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
        "layers": [layer_record(layer, layer.number in selected) for layer in plan.masked.layers],
    }


def layer_record(layer: Layer, selected: bool) -> dict[str, Any]:
    """A layer of the network under test; `params` are those of its line but the mask."""
    return {
        "name": layer.name,
        "type": layer.type,
        "line": layer.line,
        "inputs": list(layer.inputs),
        "outputs": list(layer.outputs),
        "mask": layer.mask,
        "params": " ".join(f"{k}={v}" for k, v in layer.params.items() if k != MASK_ID),
        "selected": selected,
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
        ("ncnn_parity_" + key, printable(str(told[key])))
        for key in ("sample", "comparison", "type", "cause", "execution", "device")
        if told[key] is not None
    ]
    metrics = told["metrics"]
    if metrics is not None:
        measured = {key: metrics[key] for key in ("max_abs", "scaled", "reference_absmax")}
        measured["allowed_scaled"] = told["tolerance"]["scaled"]
        found += [(f"ncnn_parity_{key}", value) for key, value in measured.items()]
    return found


_NO_MODEL: Mapping[str, Any] = {
    "param": None,
    "bin": None,
    "setup": None,
    "spec_sha256": None,
    "param_sha256": None,
    "bin_sha256": None,
    "samples": [],
    "comparisons": [],
    "layers": [],
}


@dataclass
class Records:
    """What a session's reports brought together, in the order they came."""

    course: Course = field(default_factory=Course)
    errors: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    since: dict[str, Any] = field(default_factory=lambda: {"regressions": [], "baseline": None})
    _cases: dict[str, dict[str, Any]] = field(default_factory=dict)  # by node id
    _fixes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    _masks: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    _models: dict[str, dict[str, Any]] = field(default_factory=dict)
    _notes: dict[str, dict[str, None]] = field(default_factory=dict)  # by spec, in order

    def case(self, told: Mapping[str, Any]) -> bool:
        """Take one case's verdict; whether its spec is finished by it.

        Of two, as when every xdist worker runs all, the red one counts.
        """
        before = self._cases.get(told["nodeid"])
        if before is None or before["outcome"] != "failed":
            self._cases[told["nodeid"]] = dict(told)
        return self.course.judged(told["nodeid"])

    def beside(self, told: Mapping[str, Any]) -> None:
        """Take what rode on a case's report beside the case."""
        for fix in told.get("fixes", ()):
            self._fixes[fix["spec"], fix["comparison"]] = fix
        if "model" in told:
            self._models[told["model"]["spec"]] = told["model"]
        for note in told.get("notes", ()):
            self._notes.setdefault(note["spec"], {})[note["what"]] = None
        for notice in told.get("masks", ()):
            key = tuple(str(value) for value in notice.values())
            self._masks[key] = notice
        for key, value in told.get("environment", {}).items():
            if key == "devices":
                known = self.environment.setdefault(key, [])
                known += [device for device in value if device not in known]
            elif value:
                self.environment[key] = value

    def error(self, nodeid: str, message: str) -> None:
        """Take a spec that could not be collected."""
        self.errors.append({"spec": nodeid, "message": printable(message, lines=True)})

    def document(self) -> dict[str, Any]:
        """The JSON report, and what every other report is made of."""
        models: dict[str, dict[str, Any]] = {}
        for case in self._cases.values():
            spec = case["spec"]
            if spec not in models:
                known = self._models.get(spec, {"spec": spec, **_NO_MODEL})
                models[spec] = {**known, "cases": [], "fixes": [], "masks": [], "notes": []}
            models[spec]["cases"].append({k: v for k, v in case.items() if k not in ("spec", "param")})
        for model in models.values():
            _completed(model)
        for (spec, _), fix in self._fixes.items():
            if spec in models:
                models[spec]["fixes"].append({k: v for k, v in fix.items() if k != "spec"})
        for spec, notes in self._notes.items():
            if spec in models:
                models[spec]["notes"] += notes
        for notice in self._masks.values():
            if notice["spec"] in models:
                told = {k: v for k, v in notice.items() if k != "spec"}
                models[notice["spec"]]["masks"].append(told)
        return {
            "schema": 1,
            **self.course.told(),
            "errors": self.errors,
            "environment": {**UNTOLD, "devices": [], **self.environment},
            "models": list(models.values()),
            **self.since,
        }


def _completed(model: Mapping[str, Any]) -> None:
    """Give cases of which only the node id was known their layer's type, and what others have."""
    keys = dict.fromkeys(key for case in model["cases"] for key in case)
    for case in model["cases"]:
        if len(case) < len(keys):
            case.update({**keys, **case})
    lacking = [case for case in model["cases"] if case["type"] is None and case["layer"] is not None]
    types = {layer["name"]: layer["type"] for layer in model["layers"]} if lacking else {}
    for case in lacking:
        case["type"] = types.get(case["layer"])


def fix_record(spec: str, fix: Fix) -> dict[str, Any]:
    """A fix as the JSON file holds it."""
    told = json.loads(json.dumps(asdict(fix)))
    del told["patched"]  # a file's worth of text; the patch says the same
    return {"spec": spec, **told}


def compared(case: Mapping[str, Any]) -> bool:
    """Whether anything was compared: a known failure is a skip to pytest, and was."""
    return case["outcome"] != "skipped" or bool(case["known"])


def counted(cases: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many cases passed, failed, failed as is known, and were skipped."""
    counts = {"passed": 0, "failed": 0, "known": 0, "skipped": 0}
    for case in cases:
        counts["known" if case["known"] else case["outcome"]] += 1
    return counts
