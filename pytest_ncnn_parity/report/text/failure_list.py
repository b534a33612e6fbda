"""Shortens pytest's lists of failed and skipped cases, so that lines fit and nothing is repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.text import fix_text, spec_names
from pytest_ncnn_parity.report.text.line_width import cut_left, fitted

LEAST_REASON = 20  # columns for a reason without a cause
LEAST_NAME = 8  # columns for the name of a spec
LEAST_HEADLINE = 12  # columns for a headline after its cause; with fewer, it is left out
_WORD = len("FAILED ")
_DASH = len(" - ")


def heading(case: CaseRecord, width: int, levels: Sequence[spec_names.Names] = ()) -> str:
    """Return the heading of a failure, as spec:line and the case.

    A path that is too long for `width` columns is reduced to its end, after dots. `levels` are the names
    of the run's specs, among which that end is unambiguous.
    """
    spec, _, who = case["nodeid"].partition("::")
    line = "" if case.get("line") is None else f":{case['line']}"
    room = width - len(who) - len("_  _") - 1 - len(line)
    levels = levels or spec_names.levels([spec])
    least = len(levels[1 if len(levels) > 1 else 0][spec].removeprefix("./"))
    folders = spec.split("/")
    ends = [spec, *(f".../{'/'.join(folders[start:])}" for start in range(1, len(folders)))]
    whole = (end for end in ends if len(end.removeprefix(".../")) >= least)
    names = [*whole, *(names[spec] for names in levels[1:])]
    fitting = (name for name in names if len(name) <= room)
    return f"{next(fitting, spec_names.cut_to(levels[-1], room)[spec])}{line} {who}"


def again(case: CaseRecord, first: CaseRecord, fixes: Sequence[FixRecord]) -> list[str] | None:
    """Return lines that say how `case` differs from `first`, which failed earlier at the same place.

    That is the same layer or output. None if it has to be shown in full. `fixes` are those of the model.
    """
    headline = highlights.first_line(case["message"])
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
        lines = [fix_text.masks(own)] if case["output"] and own["lines"] else fix_text.lines(own)
        yield from (f"  {line}" for line in lines)
    yield from (f"  {line}" for line in case["notes"] if line not in first["notes"])


def _gist(fix: FixRecord) -> tuple[object, ...]:
    return fix["verified"], fix["lines"], fix["lines"] or fix["how"]


def in_brief(
    failed: Sequence[CaseRecord], width: int, specs: Iterable[str], prefix: int = 0
) -> dict[str, tuple[str, str]]:
    """Return, by node id, a shorter id and a reason for the lines 'FAILED id - reason'.

    The result is empty if all lines fit into `width` columns as they are. The ids of a spec are
    shortened alike, except for one that is too long by itself. `specs` are all specs of the run.
    `prefix` is the number of columns that pytest puts before an id.
    """
    room = width - _WORD - _DASH - prefix
    if all(len(case["nodeid"]) + len(highlights.first_line(case["message"])) <= room for case in failed):
        return {}
    left = {case["nodeid"]: room - len(f"::{_who(case)}") - _least(case) for case in failed}
    levels = spec_names.levels(specs)
    names = {spec: _name(spec, levels, failed, left) for spec in dict.fromkeys(map(_spec, failed))}
    brief = {}
    for case in failed:
        shown = cut_left(f"{names[_spec(case)]}::{_who(case)}", room - _least(case))
        reason = highlights.first_line(case["message"])
        if case["cause"] is not None:
            whole = f"{case['cause']}: {case['headline']}"
            fits = min(len(whole), len(case["cause"]) + LEAST_HEADLINE) <= room - len(shown)
            reason = whole if fits else case["cause"]
        elif case["headline"]:
            reason = case["headline"]  # without the place in the spec, because the id names the spec
        brief[case["nodeid"]] = (shown, reason)
    return brief


def _name(
    spec: str, levels: Sequence[spec_names.Names], failed: Sequence[CaseRecord], left: Mapping[str, int]
) -> str:
    """Return the spec's name in the ids of its failed cases; `left`: columns for it, by node id."""
    rooms = [left[case["nodeid"]] for case in failed if _spec(case) == spec]
    room = min([one for one in rooms if one >= LEAST_NAME] or rooms)
    names = [names[spec] for names in levels]
    fitting = (name for more in (LEAST_HEADLINE, 0) for name in names if len(name) + more <= room)
    return next(fitting, None) or spec_names.cut_to(levels[-1], room)[spec]


def _spec(case: CaseRecord) -> str:
    return case["nodeid"].partition("::")[0]


def _who(case: CaseRecord) -> str:
    return case["nodeid"].partition("::")[2]


def _least(case: CaseRecord) -> int:
    """Return the least number of columns that the reason needs: those of the cause."""
    return LEAST_REASON if case["cause"] is None else len(case["cause"])


def folded(skipped: Iterable[CaseRecord], width: int) -> dict[str, tuple[str, str]]:
    """Return, by node id, what replaces the place of a skip, and its reason fitted to `width` columns.

    Both are the same for all cases skipped for one reason, so that pytest folds them into one entry. The
    place becomes the names of the comparisons, or their number if the names are too long.
    """
    by_reason: dict[str, list[CaseRecord]] = {}
    for case in skipped:
        by_reason.setdefault(highlights.first_line(case["message"]), []).append(case)
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


def name(case: CaseRecord) -> tuple[str, highlights.Target]:
    """Return the spec and the layer or output: a failure of the same two is shown in full only once."""
    return _spec(case), highlights.target(case)
