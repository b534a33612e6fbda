"""The output of a run on GitHub Actions besides its log: annotations of specs, the step's summary."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from pathlib import Path

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report import counts, highlights
from pytest_ncnn_parity.report.document import CollectionError, Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.text import markdown

MOST_ANNOTATIONS = 10  # GitHub shows at most this many of each kind per step
MOST_SUMMARY = 1 << 20  # bytes; GitHub drops the summary of a step if it is longer
_MESSAGE_SHOWN = 3000  # the most characters of a message that are shown

Environ = Mapping[str, str]


def annotated(document: Report, environ: Environ, root: Path, by_plugin: bool = False) -> Iterator[str]:
    """Yield the workflow commands that annotate specs; none outside GitHub Actions.

    `root` is the folder to which the specs' paths are relative. `by_plugin`: another plugin annotates
    the failed cases, but nothing else, so these are left out.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    if counts.cut_short(document):
        yield _line("error", str(document["stopped"]), title="ncnn parity: cut short")
    warnings = [*_doubts(document), *_uncompared(document)]
    for place, message in warnings[:MOST_ANNOTATIONS]:
        yield _line("warning", message, **{**place, "file": _file(place["file"], environ, root)})
    errors = [_error(error) for error in document["errors"]]
    if not by_plugin:
        errors += _red(document)
    most = MOST_ANNOTATIONS - counts.cut_short(document)
    shown = errors if len(errors) <= most else errors[: most - 1]
    for place, message in shown:
        yield _line("error", message, **{**place, "file": _file(place["file"], environ, root)})
    if len(errors) > len(shown):
        more = f"{len(errors) - len(shown)} more errors: see the log or the reports"
        yield _line("error", more, title="ncnn parity")


def _doubts(document: Report) -> Iterator[tuple[dict[str, str], str]]:
    """Yield a warning for each model whose input may be at fault, at the first failed case's line."""
    for model in document["models"]:
        doubt = model.get("input_doubt", [])
        if doubt:
            lines = (case.get("line") for case in model["cases"] if case["outcome"] == "failed")
            line = next(filter(None, lines), 1)
            place = {"file": model["spec"], "line": str(line), "title": "the input may be at fault"}
            yield place, "\n".join(doubt)


def _uncompared(document: Report) -> Iterator[tuple[dict[str, str], str]]:
    for spec, why in counts.uncompared(document):
        yield {"file": spec, "line": "1", "title": "nothing was compared"}, why


def write_summary(document: Report, environ: Environ, root: Path) -> str:
    """Append the Markdown summary to that of the step, if there is one.

    `root` is the folder to which the specs' paths are relative. Returns what went wrong, or an empty
    string.
    """
    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return ""
    path = Path(name)
    try:
        before = path.stat().st_size if path.exists() else 0
        folder = _file("", environ, root)
        text = markdown.summary(document, MOST_SUMMARY - before - 1, "" if folder == "." else folder)
        with os.fdopen(_opened(path), "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY={name}: cannot be written: {error}"
    return ""


def _opened(path: Path) -> int:
    """Open a file to append to. A pipe that nobody reads is an error, instead of being waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if not hasattr(os, "O_NONBLOCK"):  # Windows, where no pipe has the path of a file
        return os.open(path, flags)
    file = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(file, True)
    return file


def _red(document: Report) -> Iterator[tuple[dict[str, str], str]]:
    """Yield one annotation for each red layer, then for each red output; the models take turns.

    What concerns a sample and not the layer, such as an input that cannot be read, has its own.
    """
    turns: list[list[tuple[dict[str, str], str]]] = []
    for model in document["models"]:
        red: dict[tuple[highlights.Target, str], CaseRecord] = {}
        for case in model["cases"]:
            if case["outcome"] == "failed":
                target, fault = highlights.fault(case)
                red.setdefault((target, fault if case["cause"] is None else ""), case)
        layers_first = sorted(red.values(), key=lambda case: case["output"] is not None)
        turns.append([_case(model["spec"], case) for case in layers_first])
    yield from filter(None, chain.from_iterable(zip_longest(*turns)))


def _case(spec: str, case: CaseRecord) -> tuple[dict[str, str], str]:
    title = f"{highlights.name(case)}: {case['cause'] or 'failed'} ({case['comparison']})"
    place = case.get("place")
    line = place["line"] if place else case["line"] or 1
    return {"file": spec, "line": str(line), "title": title}, case["message"]


def _error(error: CollectionError) -> tuple[dict[str, str], str]:
    place = error["place"]
    line = str(place["line"] if place else 1)
    return {"file": error["spec"], "line": line, "title": "spec not usable"}, error["message"]


def _file(spec: str, environ: Environ, root: Path) -> str:
    """Return a path below `root` as GitHub knows it: relative to the top of the checkout."""
    path = (root / spec).resolve()
    workspace = Path(environ.get("GITHUB_WORKSPACE") or root).resolve()
    return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else str(path)


def _line(kind: str, message: str, **properties: str) -> str:
    named = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {named}::{_data(printable(message[:_MESSAGE_SHOWN], lines=True))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(printable(value)).replace(":", "%3A").replace(",", "%2C")
