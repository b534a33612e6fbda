"""One line for each red model: its layer, why, and the fix. They end a run: none scrolls away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.text import fix_text
from pytest_ncnn_parity.report.text.line_width import cut, cut_left
from pytest_ncnn_parity.spec import SUFFIX


def lines(document: Report, width: int) -> Iterator[str]:
    """The lines, none longer than `width`; what does not fit is left out by and by, the cause last."""
    red = [model for model in document["models"] if any(map(_failed, model["cases"]))]
    for model in red:
        others = [other["spec"] for other in red if other is not model]
        candidates = list(_candidates(model, list(spec_names(model["spec"], others))))
        fitting = (name + rest for name, rest in candidates if len(name + rest) <= width)
        name, rest = candidates[-1]
        yield next(fitting, cut(cut_left(name, width - len(rest)) + rest, width))


def first_red(cases: Sequence[CaseRecord]) -> CaseRecord:
    """The red case to be named where there is room for one: the first layer, or an output."""
    red = filter(_failed, cases)
    return min(red, key=lambda case: (case["output"] is not None, case.get("number") or 0))


def _failed(case: CaseRecord) -> bool:
    return case["outcome"] == "failed"


def spec_names(spec: str, others: Iterable[str]) -> Iterator[str]:
    """The spec's path, and what is shorter and means no other."""
    yield spec
    file = PurePosixPath(spec).name
    if file not in (PurePosixPath(other).name for other in others):
        yield file
        yield file.removesuffix(SUFFIX)


def _candidates(model: ModelRecord, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A name of the spec and what follows it, each time less."""
    case = first_red(model["cases"])
    fix = next((one for one in model["fixes"] if one["comparison"] == case.get("fix")), None)
    if case["cause"] is None:
        yield from ((name, f": {case['message'].partition(chr(10))[0]}") for name in names)
        return
    who, cause = highlights.name(case), case["cause"]
    number = len({highlights.name(one) for one in model["cases"] if _failed(one) and one["layer"]})
    more = f" and {number - 1} more" if case["layer"] and number > 1 else ""
    remedies = [f"; {text}" for text in _remedies(fix)] if fix else [f": {case.get('headline', '')}"]
    typed = f"{who} ({case['type']})" if case["layer"] else who
    doubts = [" on random input", ""] if model.get("input_doubt") else [""]
    for seen in (f"{cause}{doubt}" for doubt in doubts):
        for remedy in remedies:
            yield from ((name, f": {typed}{more}: {seen}{remedy}") for name in names)
            yield names[-1], f": {who}{more}: {seen}{remedy}"


def _remedies(fix: FixRecord) -> Iterator[str]:
    """The fix in words, each time in fewer."""
    if not fix["masks"]:
        yield f"no fix: {fix['how']}"
        return
    word = "fix" if fix["verified"] else "fix, NOT verified"
    option = fix_text.simpler(fix)
    if option is not None:
        yield f"{word}: {option['name']}"
    by_mask: dict[int, list[str]] = {}
    for name, mask in fix["masks"].items():
        by_mask.setdefault(mask, []).append(name)
    for named in (", ".join, _first_of, _number):
        yield f"{word}: " + "; ".join(f"31={mask} on {named(some)}" for mask, some in by_mask.items())


def _first_of(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _number(names: Sequence[str]) -> str:
    return f"{len(names)} layer{'s' if len(names) != 1 else ''}"
