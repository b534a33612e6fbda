"""The summary at the end of a run: lines of text with their styles."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report import counts, highlights
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.document.regression import SinceBaseline
from pytest_ncnn_parity.report.text import baseline_text, fix_text
from pytest_ncnn_parity.report.text.line_width import fitted

Line = tuple[str, str]  # the text, and its style: a name in pytest's markup, or empty

SHOWN = {0: 3, 1: 10}  # red layers shown of a comparison, by verbosity; from 2 on, all


def summary(
    document: Report,
    verbosity: int,
    width: int = 80,
    errors_above: bool = True,
    root: Path = Path(),
) -> Iterator[Line]:
    """Yield what ran where, how it ended, and which masks fix it; `verbosity` sets how much of it.

    `errors_above`: the errors of specs that were not collected are printed further up. `root`: the
    folder to which the paths in `document` are relative.
    """
    if not document["models"] and not document["errors"] and document["complete"]:
        return
    whole = verbosity >= 0
    lines = _whole(document, verbosity, errors_above, root) if whole else _brief(document, errors_above)
    for text, style in lines:
        for line in fitted(printable(text), width):
            yield line, style


def since_baseline(document: SinceBaseline, verbosity: int, width: int = 80) -> Iterator[Line]:
    """Yield the lines about what has become worse since the baseline."""
    for text in baseline_text.lines(document, verbosity):
        for line in fitted(printable(text), width, pasted=False):
            yield line, ""


def _brief(document: Report, errors_above: bool) -> Iterator[Line]:
    yield _in_one_line(document)
    if not errors_above:
        yield from _not_collected(document, errors_above)


def _in_one_line(document: Report) -> Line:
    cases = [case for model in document["models"] for case in model["cases"]]
    alike = (fixes for model in document["models"] for fixes in fix_text.alike(model["fixes"]))
    fixes = sum(same[0]["verified"] for same in alike)
    parts = [f"ncnn parity: {counts.in_words(cases)}"]
    if fixes:
        parts.append(f"{fixes} verified fix{'es' if fixes != 1 else ''}")
    parts += [f"NOTHING COMPARED in {spec}" for spec, _ in counts.uncompared(document)]
    if counts.cut_short(document):
        parts.append(f"CUT SHORT: {_stopped(document)}")
    return "; ".join(parts), _style(cases)


def _stopped(document: Report) -> str:
    """Return why pytest stopped, without a full stop, because more follows."""
    return highlights.first_line(document["stopped"]).removesuffix(".")


def _not_collected(document: Report, errors_above: bool) -> Iterator[Line]:
    for error in document["errors"]:
        where = ": its errors are listed above" if errors_above else ""
        yield f"NOT COLLECTED: {error['spec']}{where}", "red"
        if not errors_above:
            yield from ((f"  {line}", "red") for line in error["message"].splitlines())


def _whole(document: Report, verbosity: int, errors_above: bool, root: Path) -> Iterator[Line]:
    yield from _environment(document)
    if counts.cut_short(document):
        yield f"CUT SHORT: {_stopped(document)}; {counts.reached(document)}", "red"
        if document["not_reached"]:
            yield f"not reached: {', '.join(document['not_reached'])}", "red"
    yield from _not_collected(document, errors_above)
    for spec, why in counts.uncompared(document):
        yield f"NOTHING COMPARED in {spec}: {highlights.first_line(why)}", "yellow"
    idle = [] if verbosity > 0 else list(counts.idle(document))
    for reason, comparisons, number in idle:
        yield (
            f"not run here: {', '.join(comparisons)} ({number} cases): {highlights.first_line(reason)}",
            "yellow",
        )
    reported = {name for _, comparisons, _ in idle for name in comparisons}
    for model in document["models"]:
        yield "", ""
        yield from _model(model, verbosity, reported, root)


def _environment(document: Report) -> Iterator[Line]:
    environment, devices = document["environment"], highlights.devices(document)
    if environment["ncnn"] is None:
        return
    here, *workers = highlights.where(document)
    yield here, ""
    yield from ((f"  {worker}", "") for worker in workers)
    for device in devices:
        facts = {
            "driver": device.get("driver"),
            "Vulkan": device.get("api"),
            "fp16-p/s/u/a": device["fp16"],
        }
        known = [f"{name} {value}" for name, value in facts.items() if value]
        yield f"  on {device['name']}: {', '.join(known)}", ""


def _model(model: ModelRecord, verbosity: int, idle: Collection[str], root: Path) -> Iterator[Line]:
    """Yield the lines about a model, except for `idle`: comparisons reported as not run anywhere."""
    cases = model["cases"]
    yield f"{model['spec']}: {counts.in_words(cases)}", _style(cases)
    cached = counts.from_cache(cases)
    if cached:
        yield f"  {cached}", ""
    yield from ((f"  {line}", "yellow") for line in model.get("input_doubt", ()))
    headroom = highlights.headroom(cases)
    if headroom:
        yield f"  fp16 headroom: {headroom}", ""
    for name in dict.fromkeys(case["comparison"] for case in cases):
        own = [case for case in cases if case["comparison"] == name]
        if name not in idle:
            yield from _comparison(name, own, verbosity)
    for device, dropped in dict.fromkeys((c["device"], tuple(c["dropped"])) for c in cases):
        if dropped:
            yield f"  {device} dropped {', '.join(dropped)}: it ran without", "yellow"
    yield from ((f"  note: {note}", "yellow") for note in model["notes"])
    for notice in model["masks"]:
        mask = f"31={notice['mask']} on {notice['layer']}"
        yield f"  {notice['kind']} mask: {mask}: {notice['what']}", "yellow"
    for fixes in fix_text.alike(model["fixes"], apart=verbosity > 0):
        yield from _fix(fixes, root / model["spec"], verbosity)


def _comparison(name: str, cases: Sequence[CaseRecord], verbosity: int) -> Iterator[Line]:
    yield f"  {name}: {counts.in_words(cases)}", _style(cases)
    red: dict[tuple[highlights.Target, str], list[CaseRecord]] = {}
    for case in cases:
        if case["outcome"] == "failed":
            red.setdefault(highlights.fault(case), []).append(case)
    shown = SHOWN.get(verbosity, len(red))
    for same in list(red.values())[:shown]:
        yield from _red(same)
    if len(red) > shown:
        yield f"    ... and {len(red) - shown} more (-v shows more, -vv all)", "red"
    worst = highlights.worst(cases)
    if worst and (verbosity > 0 or not red):
        for case in worst[: SHOWN.get(verbosity, len(worst)) if verbosity > 0 else 1]:
            yield f"    worst passing: {highlights.name(case)}, {highlights.share(case)}", ""
    skipped = [case for case in cases if case["outcome"] == "skipped" and not case["known"]]
    if skipped and (verbosity > 0 or len(skipped) == len(cases)):
        yield f"    skipped: {highlights.first_line(counts.commonest_reason(skipped))}", ""


def _red(same: Sequence[CaseRecord]) -> Iterator[Line]:
    """Yield the lines about one red layer or output, given its cases with the same fault."""
    more = "" if len(same) == 1 else f", in {len(same)} samples"
    yield f"    {highlights.first_line(same[0]['message'])}{more}", "red"
    if share := highlights.share(same[0]):
        yield f"      {share}", ""


def _fix(fixes: Sequence[FixRecord], spec: Path, verbosity: int) -> Iterator[Line]:
    """Yield the lines about a fix that is the same for one or more comparisons."""
    fix = fixes[0]
    first, *rest = fix_text.lines(fix, brief=verbosity < 1)
    comparisons = ", ".join(one["comparison"] for one in fixes)
    yield f"  {first} for {comparisons}", "green" if fix["verified"] else "yellow"
    yield from ((f"  {line}", "") for line in rest)
    # the patch is named once for all of them
    patches = [fix_text.path_from_here(one) for one in fix["written"] if one.endswith(".patch")]
    yield from ((f"      git apply {shlex.quote(path)}", "bold") for path in patches)
    if fix["verified"] and not fix["written"] and not fix.get("unwritten"):
        what = "the fixed files" if fix_text.in_floats(fix) else "a patch for git apply"
        yield f"    or write {what}:", ""
        path = shlex.quote(fix_text.path_from_here(str(spec)))
        yield f"      pytest --ncnn-parity --ncnn-parity-fix=write {path}", "bold"


def _style(cases: Sequence[CaseRecord]) -> str:
    if any(case["outcome"] == "failed" for case in cases):
        return "red"
    return "green" if any(map(counts.compared, cases)) else "yellow"
