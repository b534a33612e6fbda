"""The last lines of a run: each red model with its layer, the cause and the fix, on one or two lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.input_doubt import BY_VALUES
from pytest_ncnn_parity.report.text import fix_text, spec_names
from pytest_ncnn_parity.report.text.line_width import cut

SECOND = "  "  # indentation of the second line
NAME_SHARE = 4  # of a line that is too long, the spec's name keeps at least 1/4


def lines(document: Report, width: int) -> Iterator[str]:
    """Yield one line for each red model, or two if the fix needs its own; none exceeds `width`."""
    levels = spec_names.levels(model["spec"] for model in document["models"])
    for model in document["models"]:
        if any(map(_failed, model["cases"])):
            yield from _of(model, levels, width)


def first_red(cases: Sequence[CaseRecord]) -> CaseRecord:
    """Return the red case to name where there is room for one: the first layer's, or an output's.

    A case that was not judged, because its worker failed or another plugin interrupted it, is the last
    choice, because it says nothing about the network.
    """

    def order(case: CaseRecord) -> tuple[bool, bool, int]:
        return not _is_judged(case), case["output"] is not None, case.get("number") or 0

    return min(filter(_failed, cases), key=order)


def _failed(case: CaseRecord) -> bool:
    return case["outcome"] == "failed"


def _is_judged(case: CaseRecord) -> bool:
    """Whether a red case says something about the network; a known failure that passes does not."""
    return case["cause"] not in ("worker", None)


def _of(model: ModelRecord, levels: Sequence[spec_names.Names], width: int) -> Iterator[str]:
    case = first_red(model["cases"])
    faults, remedies = list(_faults(model, case)), list(_remedies(model, case))
    spec = model["spec"]
    names = [level[spec] for level in levels]
    rest = "".join(f"; {remedy}" for remedy in remedies[:1])
    lines = (f"{name}: {fault}{rest}" for fault in faults[:2] for name in names)
    if (line := next((line for line in lines if len(line) <= width), None)) is not None:
        yield line
        return
    lines = (f"{name}: {fault}" for fault in faults for name in names)
    room = max(width - len(f": {faults[-1]}"), width // NAME_SHARE)
    cut_name = spec_names.cut_to(levels[-1], room)[spec]
    yield next((line for line in lines if len(line) <= width), cut(f"{cut_name}: {faults[-1]}", width))
    if remedies:
        lines = (f"{SECOND}{remedy}" for remedy in remedies)
        last = cut(f"{SECOND}{remedies[-1]}", width)
        yield next((line for line in lines if len(line) <= width), last)


def _faults(model: ModelRecord, case: CaseRecord) -> Iterator[str]:
    """Yield which layer is red and why, in fewer words each time."""
    if case["cause"] is None:
        yield case["headline"]
        return
    who, cause = highlights.name(case), case["cause"]
    if cause == "load":  # concerns the files, whichever layer's case reports it
        yield cause
        return
    red = (one for one in model["cases"] if _failed(one) and one["layer"] and _is_judged(one))
    number = len(set(map(highlights.target, red)))
    more = f" and {number - 1} more" if case["layer"] and number > 1 else ""
    doubtful = cause in BY_VALUES and model.get("input_doubt")
    doubt = " on random input" if doubtful else ""
    if case["layer"]:
        yield f"{who} ({case['type']}){more}: {cause}{doubt}"
    yield f"{who}{more}: {cause}{doubt}"
    if doubt:
        yield f"{who}{more}: {cause}"


def _remedies(model: ModelRecord, case: CaseRecord) -> Iterator[str]:
    """Yield the fix, in fewer words each time; without a fix, what is wrong."""
    fix = next((one for one in model["fixes"] if one["comparison"] == case.get("fix")), None)
    if fix is None:
        if case["cause"] is not None:
            yield case["headline"]
        return
    if text := fix_text.in_floats(fix):
        yield f"{'fix' if fix['verified'] else 'fix, NOT verified'}: {text}"
        return
    if not fix["masks"]:
        yield f"no fix: {fix['how']}"
        return
    word = "fix" if fix["verified"] else "fix, NOT verified"
    option = fix_text.simpler(fix)
    if option is not None:
        yield f"{word}: {option['name']}"
    yield from (f"{word}: {text}" for text in _masks(fix))


def _masks(fix: FixRecord) -> Iterator[str]:
    """Yield the masks with their layers, fewer each time, and where the others are to be found."""
    order = list(dict.fromkeys(fix["masks"].values()))
    pairs = sorted(fix["masks"].items(), key=lambda pair: order.index(pair[1]))
    where = "above" if len(pairs) <= fix_text.MAX_LINES else "with --ncnn-parity-fix=write"
    for count in range(min(len(pairs), fix_text.MAX_LINES), 0, -1):
        left = len(pairs) - count
        yield _by_mask(pairs[:count]) + (f" and {left} more, {where}" if left else "")
    if len(pairs) > 1:
        yield f"{_by_mask(pairs[:1])} and {len(pairs) - 1} more"


def _by_mask(pairs: Sequence[tuple[str, int]]) -> str:
    by_mask: dict[int, list[str]] = {}
    for name, mask in pairs:
        by_mask.setdefault(mask, []).append(name)
    return "; ".join(f"31={mask} on {', '.join(names)}" for mask, names in by_mask.items())
