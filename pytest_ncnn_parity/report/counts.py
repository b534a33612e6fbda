"""Counts cases by outcome, and says whether anything was compared: a run without any is not green."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from typing_extensions import TypedDict

from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.spec import SUFFIX


class Counts(TypedDict):
    """The number of cases by outcome; `known` counts those that failed as the spec expects."""

    passed: int
    failed: int
    known: int
    skipped: int


def counted(cases: Iterable[CaseRecord]) -> Counts:
    """Return how many cases passed, failed, are known failures, and were skipped."""
    counts: Counts = {"passed": 0, "failed": 0, "known": 0, "skipped": 0}
    for case in cases:
        if case["known"]:
            counts["known"] += 1
        else:
            counts[case["outcome"]] += 1
    return counts


def in_words(cases: Iterable[CaseRecord]) -> str:
    """Return how many cases ended how, as in "1 failed, 2 passed"."""
    number = counted(cases)
    known = "known failure" if number["known"] == 1 else "known failures"
    parts = {
        "failed": number["failed"],
        "passed": number["passed"],
        known: number["known"],
        "skipped": number["skipped"],
    }
    return ", ".join(f"{n} {what}" for what, n in parts.items() if n) or "no case judged"


def compared(case: CaseRecord) -> bool:
    """Return whether the case was compared, as a known failure was, though pytest calls it skipped."""
    return case["outcome"] != "skipped" or case["known"]


def from_cache(cases: Sequence[CaseRecord]) -> str:
    """Return how many verdicts come from an earlier run, and when the oldest was made, or ""."""
    judged = sorted(when for case in cases if (when := case.get("cached")) is not None)
    if not judged:
        return ""
    number = "all verdicts" if len(judged) == len(cases) else f"{len(judged)} of {len(cases)} verdicts"
    oldest = judged[0].replace("T", " ").replace("+00:00", " UTC")
    return f"{number} from the cache, the oldest of {oldest}; these cases were not run again"


def uncompared(document: Report) -> Iterator[tuple[str, str]]:
    """Yield each spec in which nothing was compared, and the most common reason."""
    for model in document["models"]:
        if not any(map(compared, model["cases"])):
            yield model["spec"], commonest_reason(model["cases"])


def commonest_reason(skipped: Sequence[CaseRecord]) -> str:
    """Return the most common reason of skipped cases."""
    ((reason, count),) = Counter(case["message"] for case in skipped).most_common(1)
    return reason if count == len(skipped) else f"{reason} ({count} of {len(skipped)} cases)"


def idle(document: Report) -> Iterator[tuple[str, list[str], int]]:
    """Yield reasons why comparisons ran in no model, with the comparisons and their number of cases.

    These are comparisons whose cases were all skipped for the same reason: the machine lacks something.
    """
    by_name: dict[str, list[CaseRecord]] = {}
    for model in document["models"]:
        for case in model["cases"]:
            by_name.setdefault(case["comparison"], []).append(case)
    by_reason: dict[str, list[str]] = {}
    for name, cases in by_name.items():
        reasons = {case["message"] for case in cases}
        if len(reasons) == 1 and not any(map(compared, cases)):
            by_reason.setdefault(reasons.pop(), []).append(name)
    for reason, names in by_reason.items():
        yield reason, names, sum(len(by_name[name]) for name in names)


def cut_short(document: Report) -> bool:
    """Return whether the run was cut short, and not only by errors in specs, which are reported."""
    return not document["complete"] and bool(document["selected"] or not document["errors"])


def reached(document: Report) -> str:
    """Return how far a run came that was cut short."""
    if not document["selected"]:
        return "no case was selected"
    return f"{document['judged']} of {document['selected']} selected cases have a verdict"


def nothing_compared(document: Report, wanted: bool, places: Sequence[str]) -> str:
    """Return the message for a run that compared nothing; empty if it did, or it is not `wanted`.

    `places`: the paths in which specs were looked for.
    """
    if any(compared(case) for model in document["models"] for case in model["cases"]):
        return ""
    if document["errors"] or document["stopped"] or document["judged"] < document["selected"]:
        return ""  # the reason is reported elsewhere, and has its own exit status
    if document["selected"]:
        why = commonest_reason([case for model in document["models"] for case in model["cases"]])
        return f"nothing was compared: every case was skipped ({document['selected']}): {why}"
    if wanted:
        return (
            f"nothing was compared: no case was selected; looked for *{SUFFIX} in "
            f"{', '.join(places) or 'nothing'}"
        )
    return ""
