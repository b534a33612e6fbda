"""What a run on GitHub Actions says beside its log: annotations on specs, and the step's summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from pathlib import Path

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report import counts, highlights
from pytest_ncnn_parity.report.document import CollectionError, Report
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.text import markdown

MOST_ANNOTATIONS = 10  # GitHub shows so many annotations of each kind per step
MOST_SUMMARY = 1 << 20  # bytes; GitHub drops a step's summary that is longer
_MESSAGE_SHOWN = 3000  # characters of a message

Environ = Mapping[str, str]


def annotated(document: Report, environ: Environ, root: Path, by_plugin: bool = False) -> Iterator[str]:
    """Lines for the log, where it is GitHub's. `root`: what the specs' paths are relative to.

    `by_plugin`: another plugin annotates each case that failed, and nothing else.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    if not document["complete"]:
        yield _line("error", str(document["stopped"]), title="ncnn parity: cut short")
    warnings = [*_doubts(document), *_uncompared(document)]
    for place, message in warnings[:MOST_ANNOTATIONS]:
        yield _line("warning", message, **{**place, "file": _file(place["file"], environ, root)})
    errors = [_error(error) for error in document["errors"]]
    if not by_plugin:
        errors += _red(document)
    most = MOST_ANNOTATIONS - (not document["complete"])
    shown = errors if len(errors) <= most else errors[: most - 1]
    for place, message in shown:
        yield _line("error", message, **{**place, "file": _file(place["file"], environ, root)})
    if len(errors) > len(shown):
        more = f"{len(errors) - len(shown)} more layers and outputs are red: see the log or the reports"
        yield _line("error", more, title="ncnn parity")


def _doubts(document: Report) -> Iterator[tuple[dict[str, str], str]]:
    """Where a model is red on random inputs alone: said before its errors, at the first such sample."""
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


def write_summary(document: Report, environ: Environ) -> str:
    """Append to the step's summary, where there is one; what went wrong, in words."""
    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return ""
    path = Path(name)
    try:
        before = path.stat().st_size if path.exists() else 0
        text = markdown.summary(document, MOST_SUMMARY - before - 1)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY={name}: cannot be written: {error}"
    return ""


def _red(document: Report) -> Iterator[tuple[dict[str, str], str]]:
    """One for each red layer, whatever it is red in, then the outputs; the models take turns."""
    turns: list[list[tuple[dict[str, str], str]]] = []
    for model in document["models"]:
        red: dict[str, CaseRecord] = {}
        for case in model["cases"]:
            if case["outcome"] == "failed":
                red.setdefault(highlights.name(case), case)
        layers_first = sorted(red.items(), key=lambda pair: pair[1]["output"] is not None)
        turns.append([_case(model["spec"], name, case) for name, case in layers_first])
    yield from filter(None, chain.from_iterable(zip_longest(*turns)))


def _case(spec: str, name: str, case: CaseRecord) -> tuple[dict[str, str], str]:
    title = f"{name}: {case['cause'] or 'failed'} ({case['comparison']})"
    return {"file": spec, "line": str(case["line"] or 1), "title": title}, case["message"]


def _error(error: CollectionError) -> tuple[dict[str, str], str]:
    place = error["place"]
    line = str(place["line"] if place else 1)
    return {"file": error["spec"], "line": line, "title": "spec not usable"}, error["message"]


def _file(spec: str, environ: Environ, root: Path) -> str:
    """The spec as GitHub knows it: from the top of the checkout."""
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
