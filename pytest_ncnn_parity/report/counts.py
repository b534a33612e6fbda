"""Whether anything was compared at all: a run in which nothing was is never green."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ncnn_parity.report.records import compared
from pytest_ncnn_parity.report.run_state import SUFFIX


def empty(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each spec in which nothing was compared, and why: its commonest reason."""
    for model in document["models"]:
        if not any(map(compared, model["cases"])):
            yield model["spec"], reason(model["cases"])


def reason(skipped: Sequence[Mapping[str, Any]]) -> str:
    """The commonest reason of skipped cases."""
    ((why, count),) = Counter(str(case["message"]) for case in skipped).most_common(1)
    return why if count == len(skipped) else f"{why} ({count} of {len(skipped)} cases)"


def nothing(document: Mapping[str, Any], typed: bool, places: Sequence[str]) -> str:
    """What to say of a run that compared nothing at all; empty where something was, or was not wanted.

    `typed`: the gate was asked for on this command line, and not by an ini that holds for every run.
    """
    if any(compared(case) for model in document["models"] for case in model["cases"]):
        return ""
    if document["errors"] or document["judged"] < document["selected"]:
        return ""  # what went wrong is told elsewhere, and has its own exit status
    if document["selected"]:
        return f"nothing was compared: every case was skipped, {document['selected']} of them"
    if typed:
        return (
            f"nothing was compared: no case was selected; looked for *{SUFFIX} in "
            f"{', '.join(places) or 'nothing'}"
        )
    return ""
