"""The results as Markdown of a limited size, for a step summary or a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report import counts, highlights
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.text import fix_text

_SPECIAL = re.compile(r"[!-/:-@\[-`{-~]")
_RED_SHOWN = 20  # red cases shown of one model; the JSON report has all of them


def text(value: str) -> str:
    """Return `value` as plain text on one line, with Markdown's and HTML's characters as entities."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", printable(value)).strip()


def block(value: str, language: str) -> str:
    """Return `value` as a code block whose fence nothing in `value` can close."""
    ticks = max((len(run) for run in re.findall("`+", value)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}{language}\n{printable(value, lines=True).rstrip()}\n{fence}\n"


def summary(document: Report, most: int, folder: str = "") -> str:
    """Return what ran, what is red and why, and the fixes, in at most `most` bytes of UTF-8.

    `folder`: that to which the specs' paths are relative, if it has to be named.
    """
    left_out = "\n*More did not fit here; the JSON report has all.*\n"
    fitting: list[str] = []
    room = most - len(left_out) - 1
    if room < 0:
        return ""
    for part in _parts(document, folder):
        size = len(part.encode("utf-8", "backslashreplace")) + 1
        if size > room:
            return "\n".join([*fitting, left_out])
        fitting.append(part)
        room -= size
    return "\n".join(fitting)


def _parts(document: Report, folder: str) -> Iterator[str]:
    cases = [case for model in document["models"] for case in model["cases"]]
    where = f" in {text(folder)}" if folder else ""
    yield f"## ncnn parity{where}: {text(counts.in_words(cases))}\n"
    if counts.cut_short(document):
        why = text(highlights.first_line(document["stopped"]))
        yield f"**Cut short**: {why}; {counts.reached(document)}\n"
    for error in document["errors"]:
        yield f"**Not collected**: {text(error['spec'])}\n\n{block(error['message'], 'text')}"
    for spec, why in counts.uncompared(document):
        yield f"**Nothing compared** in {text(spec)}: {text(highlights.first_line(why))}\n"
    here, *workers = highlights.where(document)
    devices = [f"{one['name']} (fp16 {one['fp16']})" for one in highlights.devices(document)]
    yield text(", ".join([here, *devices, *workers])) + "\n"
    if cases:
        yield _table(document["models"])
    for model in document["models"]:
        yield from _model(model)


def _table(models: Sequence[ModelRecord]) -> str:
    rows = ["| model | comparison | failed | known | passed | skipped | nearest to its tolerance |"]
    rows.append("|---|---|--:|--:|--:|--:|---|")
    for model in models:
        for name in dict.fromkeys(case["comparison"] for case in model["cases"]):
            cases = [case for case in model["cases"] if case["comparison"] == name]
            number = counts.counted(cases)
            worst = highlights.worst(cases)
            near = f"{highlights.name(worst[0])}: {highlights.share(worst[0])}" if worst else ""
            cells = [text(model["spec"]), text(name)]
            cells += map(str, (number["failed"], number["known"], number["passed"], number["skipped"]))
            rows.append(f"| {' | '.join([*cells, text(near)])} |")
    return "\n".join(rows) + "\n"


def _model(model: ModelRecord) -> Iterator[str]:
    cached = counts.from_cache(model["cases"])
    if cached:
        yield f"{text(model['spec'])}: {text(cached)}\n"
    red = [case for case in model["cases"] if case["outcome"] == "failed"]
    if red:
        yield f"### Red in {text(model['spec'])}\n"
    if doubt := model.get("input_doubt", []):
        yield f"**{text(doubt[0])}**\n\n{block(chr(10).join(doubt[1:]), 'yaml')}\n"
    for case in red[:_RED_SHOWN]:
        who = f"{case['sample']}, {case['comparison']}"
        yield f"- {text(highlights.first_line(case['message']))} ({text(who)})"
    if len(red) > _RED_SHOWN:
        yield f"- and {len(red) - _RED_SHOWN} more"
    yield from (f"- {text(note)}" for note in model["notes"])
    for fixes in fix_text.alike(model["fixes"]):
        fix = fixes[0]
        comparisons = ", ".join(one["comparison"] for one in fixes)
        title = f"Fix for {comparisons} ({fix_text.mark(fix)})" if fix["lines"] else "No fix"
        yield f"\n#### {text(title)}\n"
        if (option := fix_text.simpler(fix)) is not None:
            yield f"**{text(fix_text.right(option))}**; or, by {len(fix['lines'])} masks:\n"
        if floats := fix_text.in_floats(fix):
            yield f"**{text(floats)}**\n"
        yield f"{text(fix['how'])}\n"
        yield from (f"- {text(note)}" for note in fix["notes"])
        if fix["patch"]:
            yield "\n" + block(fix["patch"], "diff")
