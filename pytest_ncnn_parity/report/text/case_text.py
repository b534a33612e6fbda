"""The text of one failed case. The first line stands alone: it is what a summary shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.causes import Diagnosis
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.fix import Fix
from pytest_ncnn_parity.spec import yaml12

MAX_LINES = 12  # of a fix in a failure text; JSON and the patch have them all


def headline(case: Case, diagnosis: Diagnosis) -> str:
    """What matters, in one line: who, what was seen, why."""
    if case.layer is not None:
        who = f"{case.layer.name} ({case.layer.type})"
    else:
        who = f"output {case.output}"
    return f"{who}: {diagnosis.what} ({diagnosis.cause})"


def text(case: Case, result: Result, diagnosis: Diagnosis, fix: Fix | None, brief: bool = False) -> str:
    """The whole text; `brief`: of the fix only the masks, for a red layer tells the rest."""
    lines = [headline(case, diagnosis)]
    candidate = case.comparison.candidate
    against = f"{case.golden or case.comparison.reference} -> {candidate or 'fp16, predicted'}"
    device = result.evidence.get("device")
    lines.append(f"  compared: {against}" + (f" ({device})" if device not in (None, "cpu") else ""))
    if result.metrics is not None:
        lines += [f"  {line}" for line in _metrics(result, case.tolerance)]
    lines += [f"  evidence: {line}" for line in diagnosis.evidence]
    if fix is not None and not (brief and fix.masks):
        lines += [f"  {line}" for line in fix_lines(asdict(fix))]
    elif fix is not None:
        masks = [f"{name} 31={mask}" for name, mask in fix.masks.items()]
        more = f" and {len(masks) - MAX_LINES} more" if len(masks) > MAX_LINES else ""
        lines.append(f"  fix ({mark(asdict(fix))}): {', '.join(masks[:MAX_LINES])}{more}")
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


def mark(fix: Mapping[str, Any]) -> str:
    """What may be said of a fix: whether it was run, and whether it was shrunk to its end."""
    if not fix["verified"]:
        return "NOT verified"
    return "verified, minimal" if fix["minimal"] else "verified, not minimal"


def fix_lines(fix: Mapping[str, Any], brief: bool = False) -> Iterator[str]:
    """The changed lines, what proved them, and what they cost; `brief`: the lines, and what is amiss."""
    count = len(fix["lines"])
    if not count:
        yield f"no fix: {fix['how']}"
    else:
        yield f"fix ({mark(fix)}): {count} line{'s' if count != 1 else ''} of the .param"
        yield from (f"    {line}" for line in fix["lines"][:MAX_LINES])
        if count > MAX_LINES:
            yield f"    ... and {count - MAX_LINES} more"
        before = fix["errors"][0]
        was = "" if before is None or not fix["verified"] else f", before {_g(before, 3)}"
        if not (brief and fix["verified"]):
            yield f"  {fix['how']}{was}"
        if spec := in_spec(fix):
            yield f"  or in the spec: {spec}"
    yield from (f"  note: {note}" for note in fix["notes"])
    if not brief:
        yield from _price(fix)
    yield from (f"  written: {path}" for path in fix["written"])


def _price(fix: Mapping[str, Any]) -> Iterator[str]:
    """What the fix costs, what would cost less, and what the search for it took."""
    if fix["cost"] is not None:
        yield f"  cost: {cost(fix['cost'])}"
    yield from (f"  instead: {alternative(other)}" for other in fix["alternatives"])
    runs = f"{fix['runs']} run{'s' if fix['runs'] != 1 else ''}"
    took = f"{runs} of a network on a sample, {fix['seconds']:.1f} s"
    if fix["runs"]:
        yield f"  search: from {fix['start']}: {took}"


def in_spec(fix: Mapping[str, Any]) -> str:
    """The masks as a line of the spec; "" where names are not unique: it cannot say which is meant."""
    if not fix["masks"] or len(fix["masks"]) != len(fix["lines"]):
        return ""
    masks = ", ".join(f"{yaml12.quoted(name)}: {mask}" for name, mask in fix["masks"].items())
    return f"masks: {{{masks}}}"


def cost(found: Mapping[str, Any]) -> str:
    """Time before and after, and what moved."""
    before, after = found["before_ms"], found["after_ms"]
    more = {name: found[f"{name}s"][1] - found[f"{name}s"][0] for name in ("upload", "download")}
    crossed = ", ".join(
        f"{count:+d} {name}{'' if abs(count) == 1 else 's'}" for name, count in more.items() if count
    )
    moved, total = found["moved"], found["moved"] + found["left"]
    places = f"{moved} of {total} layers leave the GPU" if moved else "no layer leaves the GPU"
    told = [
        f"{before:.3g} -> {after:.3g} ms (medians of {found['rounds']})",
        places if total else "",
        crossed,
    ]
    return ", ".join(filter(None, told))


def alternative(other: Mapping[str, Any]) -> str:
    """What a whole network does that is run otherwise."""
    if other["problem"]:
        return f"{other['name']}: {other['problem']}"
    time = "" if other["ms"] is None else f", {other['ms']:.3g} ms"
    return f"{other['name']} is right as well: outputs within {other['worst']:.3g}{time}"


def _g(value: Any, digits: int = 5) -> str:
    return f"{float(value):.{digits}g}"
