"""The cases of a report as columns, in compact form, from which the page's script builds its views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import TypedDict

from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord, ToleranceRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.html.safe import visible

METRICS = (
    "max_abs",
    "scaled",
    "cosine",
    "sqnr_db",
    "nan",
    "inf",
    "mismatched",
    "total",
    "reference_absmax",
    "candidate_absmax",
    "used",
)
TOLERANCE = ("atol", "rtol", "scaled", "cosine", "sqnr_db")
# significant digits; cosine matters near 1, the others near 65504
DIGITS = {"cosine": 7, "reference_absmax": 6, "candidate_absmax": 6}
# characters of messages that are kept whole; a page with thousands of red cases has more
FULL_TEXT = 60_000
HEADLINES = 90_000  # characters of headlines that are kept for the cases after those


class _Layer(TypedDict):
    name: str
    type: str
    inputs: list[str]
    outputs: list[str]


@dataclass
class _Strings:
    """A table that holds every text once; columns refer to texts by their place in it."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str | None) -> int:
        """The place of `text` in the table; -1 for no text."""
        return self.places.setdefault(visible(text), len(self.places)) if text else -1


def columns(document: Report) -> dict[str, Any]:
    """`strings`, and per model its layers and cases; texts are places in `strings`, or -1."""
    strings = _Strings()
    messages = _Messages(strings)
    models = [_model(model, strings, messages) for model in document["models"]]
    return {"models": models, "strings": list(strings.places)}


def _model(model: ModelRecord, strings: _Strings, messages: _Messages) -> dict[str, Any]:
    cases = model["cases"]
    layers: list[_Layer] = [*model["layers"], *_unknown(model)]
    order = {layer["name"]: i for i, layer in reversed(list(enumerate(layers)))}
    outputs = list(dict.fromkeys(case["output"] for case in cases if case["output"] is not None))
    tolerances: dict[tuple[Any, ...], int] = {}
    of_cases: dict[str, list[Any]] = {
        "layer": [_row(case, len(model["layers"]), order) for case in cases],
        "output": [-1 if case["output"] is None else outputs.index(case["output"]) for case in cases],
        "verdict": [strings.place(_verdict(case)) for case in cases],
        "message": [messages.lines(case) for case in cases],
        "tolerance": [
            tolerances.setdefault(_tolerance(case["tolerance"]), len(tolerances)) for case in cases
        ],
        "accumulated": [_accumulated(case) for case in cases],
        "sample": [strings.place(case["sample"]) for case in cases],
        "comparison": [strings.place(case["comparison"]) for case in cases],
        "cause": [strings.place(case["cause"]) for case in cases],
        "execution": [strings.place(case["execution"]) for case in cases],
        "node": [strings.place(case["nodeid"].rpartition("::")[0]) for case in cases],
        "item": [strings.place(case["nodeid"].rpartition("::")[2]) for case in cases],
    }
    for metric in METRICS:
        of_cases[metric] = [_metric(case, metric) for case in cases]
    return {
        "layers": {
            "name": [strings.place(layer["name"]) for layer in layers],
            "type": [strings.place(layer["type"]) for layer in layers],
            "inputs": [[strings.place(blob) for blob in layer["inputs"]] for layer in layers],
            "outputs": [[strings.place(blob) for blob in layer["outputs"]] for layer in layers],
        },
        "outputs": [strings.place(name) for name in outputs],
        "tolerances": [list(values) for values in tolerances],
        "cases": of_cases,
    }


def _row(case: CaseRecord, known: int, by_name: Mapping[str, int]) -> int:
    """The place of the case's layer among the rows of the page, `known` of which are the network's."""
    number = case.get("number")
    if number is not None and number < known:
        return number
    return by_name.get(case["layer"] or "", -1)


class _Messages:
    """Messages as the places of their lines, cut where the page would become too large."""

    def __init__(self, strings: _Strings) -> None:
        self._strings = strings
        self._weight = 0

    def lines(self, case: CaseRecord) -> list[int]:
        """The whole message, or its first line, or nothing: as much as there is room for."""
        lines = case["message"].split("\n")
        if self._weight > FULL_TEXT:
            lines = lines[:1] if self._weight < HEADLINES else []
        new = [line for line in lines if visible(line) not in self._strings.places]
        self._weight += sum(len(line.encode("ascii", "backslashreplace")) for line in new)
        return [self._strings.place(line) for line in lines if line]


def _verdict(case: CaseRecord) -> str:
    """passed, failed or skipped; `known` for a failure that the spec expects."""
    return "known" if case["known"] else case["outcome"]


def _metric(case: CaseRecord, name: str) -> Any:
    metrics = case["metrics"]
    return None if metrics is None else short(metrics.get(name), DIGITS.get(name, 4))


def _accumulated(case: CaseRecord) -> Any:
    accumulated = case["accumulated"]
    return None if accumulated is None else short(accumulated["scaled"])


def _tolerance(tolerance: ToleranceRecord | None) -> tuple[Any, ...]:
    values: Mapping[str, Any] = tolerance or {}
    return tuple(short(values.get(name)) for name in TOLERANCE)


def _unknown(model: ModelRecord) -> list[_Layer]:
    """Layers that cases name but the network does not: those of a case that was lost, or of all."""
    known = {layer["name"] for layer in model["layers"]}
    names = dict.fromkeys(case["layer"] for case in model["cases"] if case["layer"] is not None)
    return [
        {"name": name, "type": "", "inputs": [], "outputs": []} for name in names if name not in known
    ]


def short(value: Any, digits: int = 4) -> Any:
    """A number in as few characters as JSON takes; "inf", "-inf", "nan" and None stay."""
    if not isinstance(value, int | float):
        return value
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e6)
    return int(value) if whole else float(f"{value:.{digits}g}")
