"""Red and skipped cases as pytest lists them after a run: fitted, folded, and shown in full once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.text import fix_text
from pytest_ncnn_parity.report.text.line_width import cut_left, fitted
from pytest_ncnn_parity.report.text.red_models import spec_names

LEAST_REASON = 20  # columns
_WORD = len("FAILED ")
_DASH = len(" - ")


def heading(case: CaseRecord, width: int) -> str:
    """The spec as file:line, and the case. Of a path that is too long the end stands, after dots."""
    spec, _, who = case["nodeid"].partition("::")
    line = case.get("line")
    place = spec if line is None else f"{spec}:{line}"
    room = width - len(who) - len("_  _") - 1
    folders = place.split("/")
    ends = [place, *(f".../{'/'.join(folders[start:])}" for start in range(1, len(folders)))]
    fitting = (end for end in ends if len(end) <= room)
    return f"{next(fitting, cut_left(place, room))} {who}"


def again(case: CaseRecord, first: CaseRecord, fixes: Sequence[FixRecord]) -> list[str] | None:
    """What differs from `first`, an earlier failure of the same layer or output. None: show it in full.

    `fixes` are the model's.
    """
    headline = case["message"].partition("\n")[0]
    as_above = "as " + first["nodeid"].partition("::")[2] + " above"
    if case["message"] == first["message"]:
        return [headline, f"  {as_above}"]
    if case["cause"] is None or first["cause"] is None:
        return None
    differing = list(_differing(case, first, {fix["comparison"]: fix for fix in fixes}))
    return [headline, f"  {as_above}{', but for:' if differing else ''}", *differing]


def _differing(case: CaseRecord, first: CaseRecord, fixes: Mapping[str, FixRecord]) -> Iterator[str]:
    yield from (f"  {line}" for line in case["details"] if line not in first["details"])
    yield from (f"  evidence: {line}" for line in case["evidence"] if line not in first["evidence"])
    own, other = (fixes.get(one["fix"] or "") for one in (case, first))
    if own is not None and (other is None or _gist(own) != _gist(other)):
        lines = [fix_text.masks(own)] if case["output"] and own["masks"] else fix_text.lines(own)
        yield from (f"  {line}" for line in lines)
    yield from (f"  {line}" for line in case["notes"] if line not in first["notes"])


def _gist(fix: FixRecord) -> tuple[object, ...]:
    return fix["verified"], fix["lines"], fix["lines"] or fix["how"]


def in_brief(
    case: CaseRecord, width: int, others: Iterable[str] = (), prefix: int = 0
) -> tuple[str, str] | None:
    """A shorter id and the reason for the line 'FAILED id - reason', where the id leaves it no room.

    `others` are the other specs of the run; pytest puts `prefix` more columns before the id.
    """
    nodeid = case["nodeid"]
    room = width - _WORD - _DASH - prefix
    if len(nodeid) + LEAST_REASON <= room:
        return None
    path, _, who = nodeid.partition("::")
    reason = case["message"].partition("\n")[0]
    if case["cause"] is not None:
        reason = f"{case['cause']}: {case['headline']}"
    shorter = [f"{name}::{who}" for name in spec_names(path, others)]
    least = max(LEAST_REASON, len(f"{case['cause'] or ''}..."))
    fitting = (one for one in shorter if len(one) + least <= room)
    return next(fitting, cut_left(shorter[-1], room - least)), reason


def folded(skipped: Iterable[CaseRecord], width: int) -> dict[str, tuple[str, str]]:
    """By node id: what stands for the place of a skip, and its reason; the same for all of a reason.

    The place is where in the run it was: the comparisons, or how many there are.
    """
    by_reason: dict[str, list[CaseRecord]] = {}
    for case in skipped:
        by_reason.setdefault(case["message"].partition("\n")[0], []).append(case)
    entries: dict[str, tuple[str, str]] = {}
    for reason, cases in by_reason.items():
        names = list(dict.fromkeys(case["comparison"] for case in cases))
        place = ", ".join(names)
        if len(place) > width // 2:
            place = f"{len(names)} comparisons"
        before = f"SKIPPED [{len(cases)}] {place}: "
        text = "\n".join(fitted(before + reason, width))[len(before) :]
        entries |= {case["nodeid"]: (place, text) for case in cases}
    return entries


def name(case: CaseRecord) -> tuple[str, str]:
    """The spec and the layer or output, whose failure is shown in full once."""
    return case["nodeid"].partition("::")[0], highlights.name(case)
