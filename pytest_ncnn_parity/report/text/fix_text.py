"""The text of one fix: the changed lines, what proved them, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_ncnn_parity.report.document.fix import AlternativeRecord, CostRecord, FixRecord
from pytest_ncnn_parity.spec import yaml12

MAX_LINES = 12  # lines of a fix in a text; the JSON report and the patch have all of them


def mark(fix: FixRecord) -> str:
    """What may be said of a fix: whether it was run, and whether it was shrunk to its end."""
    if not fix["verified"]:
        return "NOT verified"
    return "verified, minimal" if fix["minimal"] else "verified, not minimal"


def in_floats(fix: FixRecord) -> str:
    """The layers of an int8 model that are to be left in floats, in a line; "" where there are none."""
    names = fix.get("in_float", [])
    more = f" and {len(names) - MAX_LINES} more" if len(names) > MAX_LINES else ""
    return f"leave {', '.join(names[:MAX_LINES])}{more} in floats" if names else ""


def masks(fix: FixRecord) -> str:
    """The masks in one line."""
    if text := in_floats(fix):
        return f"fix ({mark(fix)}): {text}"
    if (option := simpler(fix)) is not None:
        return f"fix: {right(option)}; or {len(fix['masks'])} masks ({mark(fix)})"
    names = [f"{name} 31={mask}" for name, mask in fix["masks"].items()]
    more = f" and {len(names) - MAX_LINES} more" if len(names) > MAX_LINES else ""
    return f"fix ({mark(fix)}): {', '.join(names[:MAX_LINES])}{more}"


def lines(fix: FixRecord, brief: bool = False) -> Iterator[str]:
    """The changed lines, what proved them, and what they cost; `brief`: the lines, and what is amiss."""
    count = len(fix["lines"])
    option = simpler(fix)
    if option is not None:
        yield f"fix: {right(option)}"
        yield f"  or, by masks ({mark(fix)}), {count} lines of {_file(fix)}"
    elif in_floats(fix):
        table = f", {count} lines of ncnn2int8's table as comments" if count else ""
        yield f"fix ({mark(fix)}): {in_floats(fix)}{table}"
    elif count:
        yield f"fix ({mark(fix)}): {count} line{'s' if count != 1 else ''} of {_file(fix)}"
    else:
        yield f"no fix: {fix['how']}"
    if count or in_floats(fix):
        yield from (f"    {line}" for line in fix["lines"][:MAX_LINES])
        if count > MAX_LINES:
            yield f"    ... and {count - MAX_LINES} more"
        if not (brief and fix["verified"]):
            yield f"  {fix['how']}{_before(fix)}"
            yield from _by_output(fix)
        if spec := in_spec(fix):
            yield f"  or in the spec: {spec}"
    yield from (f"  note: {note}" for note in fix["notes"])
    if not brief:
        yield from _price(fix)
    if fix["written"]:
        yield "  written:"
        yield from (f"    {path_from_here(path)}" for path in fix["written"])


def path_from_here(path: str) -> str:
    """`path` from the working directory on, if it lies below it: short enough for a line."""
    here = Path.cwd()
    return Path(path).relative_to(here).as_posix() if Path(path).is_relative_to(here) else path


def alike(fixes: Sequence[FixRecord], apart: bool = False) -> list[list[FixRecord]]:
    """Verified fixes of the same lines together, all others alone; `apart`: each alone."""
    groups: dict[object, list[FixRecord]] = {}
    for fix in fixes:
        same = fix["verified"] and not apart
        groups.setdefault(tuple(fix["lines"]) if same else fix["comparison"], []).append(fix)
    return list(groups.values())


def simpler(fix: FixRecord) -> AlternativeRecord | None:
    """The option to be named before the masks, because it does what dozens of them do."""
    if len(fix["lines"]) <= MAX_LINES:
        return None
    in_fp16 = (a for a in fix["alternatives"] if a["setup"]["precision"].startswith("fp16"))
    return next((option for option in in_fp16 if not option["problem"]), None)


def further(fix: FixRecord) -> list[AlternativeRecord]:
    """The other options, which are named after the masks."""
    first = simpler(fix)
    return [option for option in fix["alternatives"] if option != first]


def _before(fix: FixRecord) -> str:
    """The error that the masks were to bring down, where they did."""
    before = None if in_floats(fix) else fix["errors"][0]  # then 'how' states it
    return "" if before is None or not fix["verified"] else f", before {float(before):.3g}"


def _by_output(fix: FixRecord) -> Iterator[str]:
    """The error of each output, where there are several: which of them the masks are for."""
    outputs = fix.get("outputs", [])
    if len(outputs) > 1:
        for change in outputs[:MAX_LINES]:
            before, after = _error(change["before"]), _error(change["after"])
            yield f"    {change['output']}: {after}, before {before}"
        if len(outputs) > MAX_LINES:
            yield f"    ... and {len(outputs) - MAX_LINES} more"


def _error(error: float | str | None) -> str:
    return "not run" if error is None else f"{float(error):.3g}"


def _price(fix: FixRecord) -> Iterator[str]:
    """What the fix costs, what would cost less, and what the search for it took."""
    if fix["cost"] is not None:
        yield f"  cost: {cost(fix['cost'])}"
    yield from (f"  instead: {alternative(other)}" for other in further(fix))
    if fix["runs"]:
        yield f"  search: {search(fix)}"


def search(fix: FixRecord) -> str:
    """Where the search began, and what it took."""
    runs = f"{fix['runs']} run{'s' if fix['runs'] != 1 else ''}"
    return f"from {fix['start']}: {runs} of a network on a sample, {fix['seconds']:.1f} s"


def _file(fix: FixRecord) -> str:
    """The .param that the lines are of."""
    return fix.get("param") or "the .param"


def in_spec(fix: FixRecord) -> str:
    """The masks as a line of the spec; "" where it cannot have them.

    It cannot say which layer is meant where names are not unique, nor mask another model's.
    """
    if not fix["masks"] or len(fix["masks"]) != len(fix["lines"]) or fix.get("param"):
        return ""
    pairs = ", ".join(f"{yaml12.quoted(name)}: {mask}" for name, mask in fix["masks"].items())
    return f"masks: {{{pairs}}}"


def cost(price: CostRecord) -> str:
    """Time before and after, and what moved."""
    moved, total = price["moved"], price["moved"] + price["left"]
    places = f"{moved} of {total} layers leave the GPU" if moved else "no layer leaves the GPU"
    parts = [
        f"{price['before_ms']:.3g} -> {price['after_ms']:.3g} ms (medians of {price['rounds']})",
        places if total else "",
        _more(price["uploads"], "upload"),
        _more(price["downloads"], "download"),
    ]
    return ", ".join(filter(None, parts))


def _more(counts: list[int], what: str) -> str:
    """How many more or fewer there are after the fix."""
    more = counts[1] - counts[0]
    return f"{more:+d} {what}{'' if abs(more) == 1 else 's'}" if more else ""


def alternative(other: AlternativeRecord) -> str:
    """How the whole network does under an alternative setup."""
    if other["problem"]:
        return f"{other['name']}: {other['problem']}"
    return right(other, " as well")


def right(other: AlternativeRecord, as_well: str = "") -> str:
    """That the whole network is right under an alternative setup, with its error and its time."""
    time = "" if other["ms"] is None else f", {other['ms']:.3g} ms"
    return f"{other['name']} is right{as_well}: outputs within {float(other['worst']):.3g}{time}"
