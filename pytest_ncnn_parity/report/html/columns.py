"""Every case as columns: what the page's script makes the table and the charts of. Small, and once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ncnn_parity.report.html.safe import visible

METRICS = (
    "max_abs scaled cosine sqnr_db nan inf mismatched total reference_absmax candidate_absmax "
    "least_scaled"
).split()
TOLERANCE = "atol rtol scaled cosine sqnr_db".split()
DIGITS = {"cosine": 7, "reference_absmax": 6, "candidate_absmax": 6}  # near 1, and near 65504
VERDICTS = ("failed", "passed", "known", "skipped")
FULL_TEXT = 60_000  # characters of messages that are kept whole; thousands of red cases say more
HEADLINES = 90_000  # and beyond those, of first lines


@dataclass
class _Strings:
    """Every text once, told by its place."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str | None) -> int:
        """-1 for no text."""
        return self.places.setdefault(visible(text), len(self.places)) if text else -1


def columns(document: Mapping[str, Any]) -> dict[str, Any]:
    """`strings`, and per model its layers and cases; texts are places in `strings`, or -1."""
    strings = _Strings()
    shorten = _Messages(strings)
    models = [_model(model, strings, shorten) for model in document["models"]]
    return {"models": models, "strings": list(strings.places)}


def _model(model: Mapping[str, Any], strings: _Strings, messages: _Messages) -> dict[str, Any]:
    cases = model["cases"]
    layers = [*model["layers"], *_unknown(model)]
    order = {layer["name"]: i for i, layer in reversed(list(enumerate(layers)))}
    outputs = list(dict.fromkeys(case["output"] for case in cases if case["output"] is not None))
    tolerances: dict[tuple[Any, ...], int] = {}
    told: dict[str, list[Any]] = {
        "layer": [order.get(case["layer"], -1) for case in cases],
        "output": [-1 if case["output"] is None else outputs.index(case["output"]) for case in cases],
        "verdict": [strings.place(verdict(case)) for case in cases],
        "message": [messages.lines(case) for case in cases],
        "tolerance": [
            tolerances.setdefault(_tolerance(case["tolerance"]), len(tolerances)) for case in cases
        ],
        "accumulated": [_accumulated(case) for case in cases],
    }
    for name in ("sample", "comparison", "cause", "execution"):
        told[name] = [strings.place(case[name]) for case in cases]
    for name in METRICS:
        told[name] = [_metric(case["metrics"], name) for case in cases]
    return {
        "layers": {
            "name": [strings.place(layer["name"]) for layer in layers],
            "type": [strings.place(layer["type"]) for layer in layers],
            "inputs": [[strings.place(blob) for blob in layer["inputs"]] for layer in layers],
            "outputs": [[strings.place(blob) for blob in layer["outputs"]] for layer in layers],
        },
        "outputs": [strings.place(name) for name in outputs],
        "tolerances": [list(values) for values in tolerances],
        "cases": told,
    }


class _Messages:
    """Messages as places of their lines, within what a page may weigh."""

    def __init__(self, strings: _Strings) -> None:
        self._strings = strings
        self._weight = 0

    def lines(self, case: Mapping[str, Any]) -> list[int]:
        """The whole message, or its first line, or nothing: as much as there is room for."""
        lines = case["message"].split("\n")
        if self._weight > FULL_TEXT:
            lines = lines[:1] if self._weight < HEADLINES else []
        new = [line for line in lines if visible(line) not in self._strings.places]
        self._weight += sum(len(line.encode("ascii", "backslashreplace")) for line in new)
        return [self._strings.place(line) for line in lines if line]


def verdict(case: Mapping[str, Any]) -> str:
    """passed, failed or skipped; `known` for a failure that the spec expects."""
    known = case.get("known") and case["outcome"] == "skipped"
    return "known" if known else str(case["outcome"])


def _metric(metrics: Mapping[str, Any] | None, name: str) -> Any:
    return None if metrics is None else short(metrics.get(name), DIGITS.get(name, 4))


def _accumulated(case: Mapping[str, Any]) -> Any:
    found = case.get("accumulated")
    return None if found is None else short(found["scaled"])


def _tolerance(told: Mapping[str, Any] | None) -> tuple[Any, ...]:
    return tuple(None if told is None else short(told[name]) for name in TOLERANCE)


def _unknown(model: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def counted(verdicts: Iterable[str]) -> dict[str, int]:
    """How many of each, failed ones first."""
    counts = dict.fromkeys(VERDICTS, 0)
    for one in verdicts:
        counts[one] += 1
    return counts
