"""Collects what the reports of the cases carry into the document that all reports are made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report import input_doubt, other_numbers, uninformative, unused_steps
from pytest_ncnn_parity.report.case_records import Carried
from pytest_ncnn_parity.report.document import (
    SCHEMA,
    CollectionError,
    DeviceRecord,
    Environment,
    OptionValue,
    Report,
    WorkerEnvironment,
)
from pytest_ncnn_parity.report.document.case import CaseRecord, PlaceRecord
from pytest_ncnn_parity.report.document.fix import FixRecord, MaskNotice
from pytest_ncnn_parity.report.document.model import ModelRecord, NetworkRecord
from pytest_ncnn_parity.report.document.regression import SinceBaseline
from pytest_ncnn_parity.report.run_state import RunState


def environment(
    versions: Mapping[str, str],
    options: Mapping[str, OptionValue],
    host: str | None = None,
    commit: str | None = None,
) -> Environment:
    """Return what is known before a worker reports: `versions` of plugin and pytest, and options."""
    return {
        "ncnn": None,
        "numpy": None,
        "python": None,
        "machine": None,
        "system": None,
        "devices": [],
        "plugin": versions["plugin"],
        "pytest": versions["pytest"],
        "host": host,
        "commit": commit,
        "options": dict(options),
    }


def no_baseline() -> SinceBaseline:
    """Return the record for a run that was not compared with a baseline."""
    return {"regressions": [], "baseline": None}


@dataclass
class _OfSpec:
    """What was reported about one spec, without duplicates, in the order of arrival."""

    network: NetworkRecord | None = None
    cases: dict[str, CaseRecord] = field(default_factory=dict)  # by node id
    fixes: dict[str, FixRecord] = field(default_factory=dict)  # by comparison
    masks: list[MaskNotice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """The report of the run so far. `since`: what has become worse since a baseline."""

    environment: Environment
    state: RunState = field(default_factory=RunState)
    errors: list[CollectionError] = field(default_factory=list)
    since: SinceBaseline = field(default_factory=no_baseline)
    _specs: dict[str, _OfSpec] = field(default_factory=dict)

    def take(self, carried: Carried) -> bool:
        """Take one case's verdict and what came with it; return whether that finishes its spec.

        Of two verdicts, as when every xdist worker runs all cases, the red one counts.
        """
        case = carried["case"]
        nodeid = case["nodeid"]
        spec = self.learn(nodeid, carried)
        before = spec.cases.get(nodeid)
        if before is None or before["outcome"] != "failed":
            spec.cases[nodeid] = case
        return self.state.judged(nodeid)

    def learn(self, nodeid: str, carried: Carried) -> _OfSpec:
        """Take what came with a case besides its verdict, and return the record of its spec."""
        spec = self._specs.setdefault(nodeid.partition("::")[0], _OfSpec())
        spec.network = carried.get("network", spec.network)
        spec.fixes |= {fix["comparison"]: fix for fix in carried.get("fixes", ())}
        spec.masks += [notice for notice in carried.get("masks", ()) if notice not in spec.masks]
        spec.notes += [note for note in carried.get("notes", ()) if note not in spec.notes]
        if "environment" in carried:
            self._learn_environment(carried["environment"])
        return spec

    def _learn_environment(self, worker: WorkerEnvironment) -> None:
        known = self.environment
        known["ncnn"] = worker["ncnn"] or known["ncnn"]
        known["numpy"] = worker["numpy"] or known["numpy"]
        known["python"] = worker["python"] or known["python"]
        known["machine"] = worker["machine"] or known["machine"]
        known["system"] = worker["system"] or known["system"]
        known["workers"] = {**known.get("workers", {}), **worker.get("workers", {})}
        known["devices"] = _merged(known["devices"], worker["devices"])

    def error(self, spec: str, message: str, place: PlaceRecord | None) -> None:
        """Note that a spec could not be collected; `place` is where in it the first error is."""
        text = printable(message, lines=True)
        self.errors.append({"spec": spec, "message": text, "place": place})

    def document(self) -> Report:
        """Return the JSON report, from which every other report is made."""
        return {
            "schema": SCHEMA,
            **self.state.record(),
            "errors": self.errors,
            "environment": self.environment,
            "models": [_model(name, spec) for name, spec in self._specs.items() if spec.cases],
            **self.since,
        }


def _merged(known: Sequence[DeviceRecord], more: Sequence[DeviceRecord]) -> list[DeviceRecord]:
    """Return each device once, with its driver as soon as that is known."""
    devices: dict[tuple[str, str, str], DeviceRecord] = {}
    for one in (*known, *more):
        key = one["index"], one["name"], one["fp16"]
        if key not in devices or one.get("driver") is not None:
            devices[key] = one
    return list(devices.values())


def _model(name: str, spec: _OfSpec) -> ModelRecord:
    network = spec.network or _unknown(name)
    return {
        **network,
        "input_doubt": input_doubt.lines(network, spec.cases.values()),
        "cases": _with_types(spec.cases.values(), network),
        "fixes": list(spec.fixes.values()),
        "masks": spec.masks,
        "notes": [
            *spec.notes,
            *uninformative.notes(spec.cases.values()),
            *other_numbers.notes(spec.cases.values()),
            *unused_steps.notes(spec.cases.values()),
        ],
    }


def _unknown(spec: str) -> NetworkRecord:
    """Return the record of an unknown network: each process that ran one of its cases died."""
    return {
        "spec": spec,
        "param": None,
        "bin": None,
        "setup": None,
        "spec_sha256": None,
        "param_sha256": None,
        "bin_sha256": None,
        "samples": [],
        "comparisons": [],
        "noise": {},
        "smooth": [],
        "layers": [],
    }


def _with_types(cases: Collection[CaseRecord], network: NetworkRecord) -> list[CaseRecord]:
    """Return the cases; those of which only the node id was known get their layer's type."""
    untyped = any(case["type"] is None and case["layer"] is not None for case in cases)
    types = {layer["name"]: layer["type"] for layer in network["layers"]} if untyped else {}
    return [
        {**case, "type": types[case["layer"]]}
        if case["type"] is None and case["layer"] in types
        else case
        for case in cases
    ]
