"""A case as the JSON report holds it: plain values, which pytest's own report of the case carries."""

from __future__ import annotations

from typing_extensions import TypedDict

from pytest_ncnn_parity.base.errors import Place
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.base.strict_json import plain
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.engine.evidence import Inside
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.report.document import WorkerEnvironment
from pytest_ncnn_parity.report.document.case import (
    CaseRecord,
    InsideRecord,
    Measured,
    MetricsRecord,
    PlaceRecord,
)
from pytest_ncnn_parity.report.document.fix import FixRecord, MaskNotice
from pytest_ncnn_parity.report.document.model import NetworkRecord
from pytest_ncnn_parity.report.text.case_text import Message

PROPERTY_PREFIX = "ncnn_parity_"  # of the names of a case's properties in JUnit


class Carried(TypedDict, total=False):
    """What the report of one case carries to the process that writes the reports.

    All of it concerns the case's spec. What holds for the whole spec or run is carried by one case.
    """

    case: CaseRecord
    fixes: list[FixRecord]
    masks: list[MaskNotice]
    notes: list[str]
    network: NetworkRecord
    environment: WorkerEnvironment


def case_record(
    nodeid: str,
    sample: str,
    case: Case,
    result: Result,
    diagnosis: Diagnosis | None,
    message: Message,
    line: int,
    repro: str | None = None,
) -> CaseRecord:
    """Return the record of one case. Its outcome is that of the verdict, before pytest's marks apply.

    Names are exact, texts are printable. `line` is the line in the spec, counted from 1.
    """
    layer, evidence = case.layer, result.evidence
    return {
        "nodeid": nodeid,
        "line": line,
        "sample": sample,
        "comparison": case.comparison.name,
        "layer": None if layer is None else layer.name,
        "number": None if layer is None else layer.number,
        "output": case.output,
        "type": None if layer is None else layer.type,
        "outcome": result.outcome,
        "known": False,
        "cause": None if diagnosis is None else diagnosis.cause,
        "message": printable(message.text, lines=True),
        "headline": printable(message.headline),
        "details": [printable(text) for text in message.details],
        "evidence": [printable(text, lines=True) for text in message.evidence],
        "notes": [printable(text, lines=True) for text in message.notes],
        "fix": message.fix,
        "place": place_record(message.place),
        "metrics": None if result.metrics is None else _metrics(result.metrics),
        "accumulated": None if result.accumulated is None else _measured(result.accumulated),
        "accumulated_ended": evidence.accumulated_ended,
        "inside": None if evidence.inside is None else _inside(evidence.inside),
        "tolerance": {
            "atol": case.tolerance.atol,
            "rtol": case.tolerance.rtol,
            "scaled": case.tolerance.scaled,
            "cosine": case.tolerance.cosine,
            "sqnr_db": case.tolerance.sqnr_db,
            "headroom": case.tolerance.headroom,
        },
        "golden": None if case.golden is None else str(case.golden),
        "execution": evidence.execution,
        "device": evidence.device,
        "stand_in": evidence.stand_in,
        "own_inputs": evidence.own_inputs,
        "dropped": list(evidence.dropped),
        "repro": repro,
        "cached": result.cached,
    }


def _inside(inside: Inside) -> InsideRecord:
    return {
        "kernel": inside.kernel,
        "stored": inside.stored,
        "what_is_stored": inside.what_is_stored,
        "bound": inside.bound,
        "what_is_bound": inside.what_is_bound,
    }


def lost(nodeid: str, message: str) -> CaseRecord:
    """Return the record of a case of which only the node id is known: its process died or raised."""
    _, sample, comparison, name = (*nodeid.split("::", 3), "", "", "")[:4]
    output = name.removeprefix("output:") if name.startswith("output:") else None
    headline, *notes = printable(message, lines=True).split("\n")
    return {
        "nodeid": nodeid,
        "line": None,
        "sample": sample,
        "comparison": comparison,
        "layer": name if output is None else None,
        "number": None,
        "output": output,
        "type": None,
        "outcome": "failed",
        "known": False,
        "cause": None,
        "message": printable(message, lines=True),
        "headline": headline,
        "details": [],
        "evidence": [],
        "notes": notes,
        "fix": None,
        "place": None,
        "metrics": None,
        "accumulated": None,
        "accumulated_ended": None,
        "inside": None,
        "tolerance": None,
        "golden": None,
        "execution": None,
        "device": None,
        "stand_in": None,
        "own_inputs": False,
        "dropped": [],
        "repro": None,
        "cached": None,
    }


def place_record(place: Place | None) -> PlaceRecord | None:
    """Return a place in a spec as the report holds it, or None."""
    return None if place is None else {"line": place.line, "column": place.column}


def _measured(metrics: Metrics) -> Measured:
    return {
        "max_abs": plain(metrics.max_abs),
        "scaled": plain(metrics.scaled),
        "cosine": plain(metrics.cosine),
        "sqnr_db": plain(metrics.sqnr_db),
        "nan": metrics.nan,
        "inf": metrics.inf,
        "reference_absmax": metrics.reference_absmax,
        "candidate_absmax": metrics.candidate_absmax,
    }


def _metrics(metrics: Metrics) -> MetricsRecord:
    return {
        **_measured(metrics),
        "mismatched": metrics.mismatched,
        "total": metrics.total,
        "least_scaled": plain(metrics.least_scaled),
        "integers": metrics.integers,
        "used": plain(metrics.used),
        "allowed": plain(metrics.budget),
        "one_value": None if metrics.one_value is None else plain(metrics.one_value),
        "digest": metrics.digest,
        "other_numbers": metrics.other_numbers,
        "also_allowed": metrics.also_allowed,
        "input_steps": None if metrics.input_steps is None else plain(metrics.input_steps),
    }


def properties(case: CaseRecord) -> list[tuple[str, str | float]]:
    """Return the JUnit properties of a case, which are plain str and float."""
    texts = {
        "sample": case["sample"],
        "comparison": case["comparison"],
        "type": case["type"],
        "cause": case["cause"],
        "execution": case["execution"],
        "device": case["device"],
        "cached": case.get("cached"),
    }
    values: dict[str, str | float] = {
        key: printable(text) for key, text in texts.items() if text is not None
    }
    metrics, tolerance = case["metrics"], case["tolerance"]
    if metrics is not None and tolerance is not None:
        values |= {
            "max_abs": metrics["max_abs"],
            "scaled": metrics["scaled"],
            "reference_absmax": metrics["reference_absmax"],
            "allowed_scaled": tolerance["scaled"],
        }
    return [(f"{PROPERTY_PREFIX}{key}", value) for key, value in values.items()]
