"""What the page's template is given: a part of the document for each model."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.report.counts import Counts, commonest_reason, compared, counted, from_cache
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.highlights import name, worst
from pytest_ncnn_parity.report.html.fix_cards import FixCard, fix_cards
from pytest_ncnn_parity.report.html.red_cards import RedCards, red_cards


class ComparisonRow(Frozen):
    """One comparison of a model: how many cases ended how, and what to know of them."""

    name: str
    counts: Counts
    note: str


class ModelPart(Frozen):
    """One spec's part of the page; `number` is its place in the document.

    `cached`: how many of its verdicts a former run has kept, in words.
    """

    number: int
    record: ModelRecord
    counts: Counts
    cached: str
    comparisons: tuple[ComparisonRow, ...]
    red: RedCards
    fixes: tuple[FixCard, ...]

    @property
    def verdict(self) -> str:
        """failed, passed, or skipped where nothing was compared: a known failure was."""
        if self.counts["failed"]:
            return "failed"
        return "passed" if any(map(compared, self.record["cases"])) else "skipped"


def model_parts(document: Report) -> list[ModelPart]:
    """The parts of all models, the red ones first."""
    parts = [_part(number, model) for number, model in enumerate(document["models"])]
    return sorted(parts, key=lambda part: ("failed", "skipped", "passed").index(part.verdict))


def _part(number: int, model: ModelRecord) -> ModelPart:
    cases: dict[str, list[CaseRecord]] = {}
    for case in model["cases"]:
        cases.setdefault(case["comparison"], []).append(case)
    return ModelPart(
        number=number,
        record=model,
        counts=counted(model["cases"]),
        cached=from_cache(model["cases"]),
        comparisons=tuple(_row(comparison, some) for comparison, some in cases.items()),
        red=red_cards(model),
        fixes=tuple(fix_cards(model["fixes"])),
    )


def _row(comparison: str, cases: Sequence[CaseRecord]) -> ComparisonRow:
    counts = counted(cases)
    note = ""
    if counts["passed"]:
        note = _closest(cases)
    elif not any(map(compared, cases)):
        note = f"nothing was compared: {commonest_reason(cases)}"
    return ComparisonRow(comparison, counts, note)


def _closest(cases: Sequence[CaseRecord]) -> str:
    """The case that passed by the least."""
    for case in worst(cases):
        if case["metrics"] is not None:
            used = float(case["metrics"]["used"])
            return f"closest to its limit: {name(case)}, {used:.0%} of its tolerance"
    return ""
