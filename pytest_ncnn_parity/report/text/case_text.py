"""The text of one failed case. Its first line makes sense alone, as summaries show only that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pytest_ncnn_parity.base.errors import Place
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.diagnose.wording import whole
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.text import fix_text
from pytest_ncnn_parity.spec.spec import Where


class Message(Frozen):
    """The message about a case: the whole in `text`, and its parts as reports store them in fields.

    `headline` is the first line without the case's name and the cause. `details` are the lines about
    what was compared, `evidence` those that show the cause, and `notes` all others except the fix.
    `fix` is the name of the comparison that the fix is for, and `place` the place in the spec if that
    is at fault.
    """

    text: str
    headline: str
    details: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fix: str | None = None
    place: Place | None = None

    def ending(self, line: str) -> Message:
        """Return this message with `line` added to its text and its notes."""
        return replace(self, text=f"{self.text}\n  {line}", notes=(*self.notes, line))


def plain(text: str) -> Message:
    """Return a message without parts, as for the reason of a skip; `text` may be empty."""
    headline, *notes = text.split("\n")
    return Message(text, headline, notes=tuple(notes))


def of_sample(text: str, spec: str) -> Message:
    """Return the message about a whole sample, whose lines begin with their place in the file `spec`."""
    first, *notes = text.split("\n")
    return Message(text, re.sub(rf"^{re.escape(spec)}:\d+:\d+: ", "", first), notes=tuple(notes))


def of_spec(where: Where, what: str) -> Message:
    """Return the message that `what` is wrong with something that the spec names at `where`."""
    return Message(f"{where}: {what}", what, place=where.place)


def of_files(diagnosis: Diagnosis, where: Where) -> Message:
    """Return why a network does not load, which concerns all cases and is reported by one of them."""
    text = "\n".join([f"{where}: {diagnosis.what}", *diagnosis.evidence])
    return Message(text, diagnosis.what, evidence=tuple(diagnosis.evidence), place=where.place)


def failure(
    case: Case,
    result: Result,
    diagnosis: Diagnosis,
    fix: FixRecord | None,
    brief: bool = False,
    doubt: str = "",
) -> Message:
    """Return the message that says why a case failed.

    `brief`: show only the masks of the fix, because a red layer's message has the rest. `doubt`: the
    remark that the input may be at fault, or an empty string.
    """
    details = (*filter(None, [doubt]), *_details(case, result))
    lines = [*details, *(f"evidence: {line}" for line in diagnosis.evidence)]
    if fix is not None:
        lines += [fix_text.masks(fix)] if brief and fix["lines"] else fix_text.lines(fix)
    return Message(
        text="\n".join([summary(case, diagnosis), *(f"  {line}" for line in lines)]),
        headline=diagnosis.what,
        details=details,
        evidence=tuple(diagnosis.evidence),
        fix=None if fix is None else fix["comparison"],
    )


def summary(case: Case, diagnosis: Diagnosis) -> str:
    """Return one line that says which layer or output failed, what was observed, and the cause."""
    if case.layer is not None:
        who = f"{case.layer.name} ({case.layer.type})"
    else:
        who = f"output {case.output}"
    return f"{who}: {diagnosis.what} ({diagnosis.cause})"


def _details(case: Case, result: Result) -> Iterator[str]:
    comparison, device = case.comparison, result.evidence.device
    against = f"{case.golden or comparison.reference} -> {comparison.candidate_name}"
    yield f"compared: {against}" + (f" ({device})" if device not in (None, "cpu") else "")
    if result.metrics is not None:
        yield from _metrics(result.metrics, result.evidence, case.tolerance)


def _metrics(m: Metrics, evidence: Evidence, tolerance: Tolerance) -> Iterator[str]:
    if m.agrees:  # another value is at fault, which the evidence names
        allowed = _allowed(tolerance)
        yield f"values:   equal to the reference within scaled {_g(m.scaled)}; {allowed} allowed"
        return
    where = f"{evidence.blob}{list(m.index)}"
    if m.integers:
        yield f"worst:    {where}: {whole(m.candidate)}, reference {whole(m.reference)}"
        differ = f"{m.mismatched} of {m.total} {evidence.shape} differ"
        yield f"metrics:  max_abs {whole(m.max_abs)}, {differ}"
        yield "allowed:  nothing, for integers are right or wrong"
        return
    yield (
        f"worst:    {where}: {_g(m.candidate)}, reference {_g(m.reference)}, tolerance {_g(m.budget)}"
    )
    yield (
        f"metrics:  max_abs {_g(m.max_abs)}  scaled {_g(m.scaled)}  cosine "
        f"{_g(m.cosine, 7)}  sqnr {_g(m.sqnr_db)} dB  nan {m.nan}  inf {m.inf}  of "
        f"{m.total} {evidence.shape}"
    )
    yield f"allowed:  {_allowed(tolerance)}; {_least(m.least_scaled, tolerance)}"
    if m.also_allowed:
        yield f"also:     {m.also_allowed}"


def _allowed(tolerance: Tolerance) -> str:
    terms = {
        "atol": tolerance.atol,
        "rtol": tolerance.rtol,
        "scaled": tolerance.scaled,
        "cosine": tolerance.cosine,
        "sqnr_db": tolerance.sqnr_db,
    }
    return ", ".join(f"{name} {value:g}" for name, value in terms.items() if value) or "nothing"


def _least(least: float, tolerance: Tolerance) -> str:
    if least == float("inf"):
        return "no tolerance would pass this"
    if least > tolerance.scaled:
        return f"the least that would pass is scaled {least * 1.0000001:.3g}"
    return "no element is out of tolerance"


def _g(value: Any, digits: int = 5) -> str:
    return f"{float(value):.{digits}g}"
