"""The text of one failed case. The first line makes sense by itself: summaries show only that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pytest_ncnn_parity.base.errors import Place
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


@dataclass(frozen=True)
class Message:
    """What is said of a case: all of it in `text`, and its parts as the fields of a report.

    `headline` is the first line without the names and the cause around it, `details` are the lines about
    what was compared, `evidence` those that show the cause, `notes` all others but those of the fix;
    `fix` names the comparison that was fixed. `place`: in the spec, where that is at fault.
    """

    text: str
    headline: str
    details: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fix: str | None = None
    place: Place | None = None

    def ending(self, line: str) -> Message:
        """The same with one more line of text."""
        return replace(self, text=f"{self.text}\n  {line}", notes=(*self.notes, line))


def plain(text: str) -> Message:
    """A message without parts: a skip's reason, an error of the whole sample, or nothing."""
    headline, *notes = text.split("\n")
    return Message(text, headline, notes=tuple(notes))


def of_sample(text: str, spec: str) -> Message:
    """The error of a whole sample. Each line of `text` begins with its place in the file `spec`."""
    first, *notes = text.split("\n")
    return Message(text, re.sub(rf"^{re.escape(spec)}:\d+:\d+: ", "", first), notes=tuple(notes))


def of_spec(where: Where, what: str) -> Message:
    """What is wrong with something that the spec names at `where`."""
    return Message(f"{where}: {what}", what, place=where.place)


def of_files(diagnosis: Diagnosis, where: Where) -> Message:
    """Why a network does not load: a failure of all of it, which this case only happens to report."""
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
    """Why a case failed; `brief`: of the fix only the masks, for a red layer has the rest.

    `doubt`: that the input may be at fault, where it may.
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
    """What matters, in one line: who, what was seen, why."""
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
