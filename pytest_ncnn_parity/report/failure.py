"""The text of one failed case. The first line stands alone: it is what a summary shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ncnn_parity.diagnose import Diagnosis
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.fixes import Fix
from pytest_ncnn_parity.plan import Case
from pytest_ncnn_parity.tolerance import Tolerance

MAX_LINES = 12  # of a fix in a failure text; JSON and the patch have them all


def headline(case: Case, diagnosis: Diagnosis) -> str:
    """What matters, in one line: who, what was seen, why."""
    if case.layer is not None:
        who = f"{case.layer.name} ({case.layer.type})"
    else:
        who = f"output {case.output}"
    return f"{who}: {diagnosis.what} ({diagnosis.cause})"


def text(case: Case, result: Result, diagnosis: Diagnosis, fix: Fix | None) -> str:
    lines = [headline(case, diagnosis)]
    candidate = case.comparison.candidate
    against = f"{case.comparison.reference} -> {candidate or 'fp16, predicted'}"
    device = result.evidence.get("device")
    lines.append(f"  compared: {against}" + (f" ({device})" if device not in (None, "cpu") else ""))
    if result.metrics is not None:
        lines += [f"  {line}" for line in _metrics(result, case.tolerance)]
    lines += [f"  evidence: {line}" for line in diagnosis.evidence]
    if fix is not None and case.layer is not None:
        lines += [f"  {line}" for line in fix_lines(fix)]
    elif fix is not None:
        masks = [f"{name} 31={mask}" for name, mask in fix.masks.items()]
        more = f" and {len(masks) - MAX_LINES} more" if len(masks) > MAX_LINES else ""
        lines.append(f"  fix ({_mark(fix)}): {', '.join(masks[:MAX_LINES])}{more}")
    return "\n".join(lines)


def _metrics(result: Result, tolerance: Tolerance) -> Iterator[str]:
    m = result.metrics
    assert m is not None
    where = f"{result.evidence.get('blob')}{list(m['index'])}"
    yield (
        f"worst:    {where}: {_g(m['candidate'])}, reference {_g(m['reference'])}, "
        f"budget {_g(m['budget'])}"
    )
    yield (
        f"metrics:  max_abs {_g(m['max_abs'])}  scaled {_g(m['scaled'])}  cosine "
        f"{_g(m['cosine'], 7)}  sqnr {_g(m['sqnr_db'])} dB  nan {m['nan']}  inf {m['inf']}  of "
        f"{m['total']} {tuple(result.evidence.get('shape', ()))}"
    )
    yield f"allowed:  {allowed(tolerance)}; {_least(m, tolerance)}"


def allowed(tolerance: Tolerance) -> str:
    terms = {
        "atol": tolerance.atol,
        "rtol": tolerance.rtol,
        "scaled": tolerance.scaled,
        "cosine": tolerance.cosine,
        "sqnr_db": tolerance.sqnr_db,
    }
    return ", ".join(f"{name} {value:g}" for name, value in terms.items() if value) or "nothing"


def _least(m: Mapping[str, Any], tolerance: Tolerance) -> str:
    least = float(m["least_scaled"])
    if least == float("inf"):
        return "no tolerance would pass this"
    if least > tolerance.scaled:
        return f"the least that would pass is scaled {least * 1.0000001:.3g}"
    return "no element is out of budget"


def _mark(fix: Fix) -> str:
    return "verified" if fix.verified else "NOT verified"


def fix_lines(fix: Fix) -> Iterator[str]:
    """The changed lines, marked verified or not."""
    yield f"fix ({_mark(fix)}): {len(fix.masks)} line{'s' if len(fix.masks) != 1 else ''} of the .param"
    for line in fix.lines[:MAX_LINES]:
        yield f"    {line}"
    if len(fix.lines) > MAX_LINES:
        yield f"    ... and {len(fix.lines) - MAX_LINES} more"
    yield f"  {fix.how}"
    yield f"  or in the spec: masks: {{{', '.join(f'{n}: {m}' for n, m in fix.masks.items())}}}"
    for path in fix.written:
        yield f"  written: {path}"


def _g(value: Any, digits: int = 5) -> str:
    return f"{float(value):.{digits}g}"
