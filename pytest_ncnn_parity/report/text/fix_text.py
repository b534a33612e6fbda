"""The text about one fix: the changed lines, their verification and their cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.report.document.fix import AlternativeRecord, CostRecord, FixRecord
from pytest_ncnn_parity.report.highlights import RANGE
from pytest_ncnn_parity.spec import yaml12

MAX_LINES = 12  # most lines of a fix in a text; the JSON report and the patch have all
# An option is named before masks if it leaves no more than this many times their error, or than fp16
# leaves of a healthy output.
MUCH_MORE, HEALTHY = 2.0, 5e-3


def mark(fix: FixRecord) -> str:
    """Return whether a fix is verified, and if so, whether it is minimal."""
    if not fix["verified"]:
        return "NOT verified"
    return "verified, minimal" if fix["minimal"] else "verified, not minimal"


def in_floats(fix: FixRecord) -> str:
    """Return a line that names the layers of an int8 model to leave in floats, or an empty string."""
    names = fix.get("in_float", [])
    return f"leave {listed(names, MAX_LINES)} in floats" if names else ""


def masks(fix: FixRecord) -> str:
    """Return one line with the masks, or with what takes their place."""
    if text := in_floats(fix):
        return f"fix ({mark(fix)}): {text}"
    if (option := simpler(fix)) is not None:
        return f"fix: {right(option)}; or {len(fix['masks'])} masks ({mark(fix)})"
    names = [f"{name} 31={mask}" for name, mask in fix["masks"].items()]
    return f"fix ({mark(fix)}): {listed(names, MAX_LINES)}"


def lines(fix: FixRecord, brief: bool = False) -> Iterator[str]:
    """Yield the changed lines, their verification and their cost.

    `brief`: leave out the cost, and the verification unless it failed.
    """
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
    """Return `path` relative to the working directory if it lies below it, otherwise as it is."""
    here = Path.cwd()
    return Path(path).relative_to(here).as_posix() if Path(path).is_relative_to(here) else path


def alike(fixes: Sequence[FixRecord], apart: bool = False) -> list[list[FixRecord]]:
    """Group verified fixes that change the same lines, and the same reasons why there is none.

    All others are alone; with `apart`, each is.

    What fp16-range predicts has no candidate of its own to be verified on. So where a verified fix of
    another comparison has all of its masks as well, it belongs to that one.
    """
    groups: dict[object, list[FixRecord]] = {}
    within = []
    for fix in fixes:
        if not apart and any(_has_all_of(other, fix) for other in fixes):
            within.append(fix)
            continue
        groups.setdefault(fix["comparison"] if apart else _changes(fix), []).append(fix)
    for fix in within:
        next(group for group in groups.values() if _has_all_of(group[0], fix)).append(fix)
    return list(groups.values())


def _changes(fix: FixRecord) -> object:
    """What a verified fix changes, as a key; without a fix, the reason; otherwise its comparison."""
    if fix["verified"]:
        return tuple(fix["lines"]), *fix.get("in_float", [])
    return fix["comparison"] if fix["lines"] else fix["how"]


def _has_all_of(other: FixRecord, fix: FixRecord) -> bool:
    """Whether `other` is verified, and has the masks of `fix`, which is an unverified prediction."""
    if fix["verified"] or fix["comparison"] != RANGE or not other["verified"] or not fix["masks"]:
        return False
    return all(mask & ~other["masks"].get(name, 0) == 0 for name, mask in fix["masks"].items())


def simpler(fix: FixRecord) -> AlternativeRecord | None:
    """Return the fp16 option to name before the masks, if there are more than MAX_LINES of them.

    One that leaves much more of an error than the masks is none.
    """
    if len(fix["lines"]) <= MAX_LINES:
        return None
    after = fix["errors"][1]
    most = max(HEALTHY, MUCH_MORE * (0.0 if after is None else float(after)))
    in_fp16 = (a for a in fix["alternatives"] if a["setup"]["precision"].startswith("fp16"))
    right_ones = (option for option in in_fp16 if not option["problem"])
    return next((option for option in right_ones if float(option["worst"]) <= most), None)


def further(fix: FixRecord) -> list[AlternativeRecord]:
    """Return the other alternatives, which are named after the masks."""
    first = simpler(fix)
    return [option for option in fix["alternatives"] if option != first]


def _before(fix: FixRecord) -> str:
    """Return the error before the fix, if the fix is verified, or an empty string."""
    before = None if in_floats(fix) else fix["errors"][0]  # for floats, 'how' states it
    return "" if before is None or not fix["verified"] else f", before {float(before):.3g}"


def _by_output(fix: FixRecord) -> Iterator[str]:
    """Yield the error of each output, after and before the fix, if there are several."""
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
    """Yield what the fix costs, the alternatives, and what the search for it took."""
    if fix["cost"] is not None:
        yield f"  cost: {cost(fix['cost'])}"
    yield from (f"  instead: {alternative(other)}" for other in further(fix))
    if fix["runs"]:
        yield f"  search: {search(fix)}"


def search(fix: FixRecord) -> str:
    """Return where the search began, its number of runs, and its time in seconds."""
    runs = f"{fix['runs']} run{'s' if fix['runs'] != 1 else ''}"
    return f"from {fix['start']}: {runs} of a network on a sample, {fix['seconds']:.1f} s"


def _file(fix: FixRecord) -> str:
    """Return the name of the .param whose lines the fix changes."""
    return fix.get("param") or "the .param"


def in_spec(fix: FixRecord) -> str:
    """Return all masks as a line of the spec, or an empty string if a spec cannot express them.

    The line holds those that the spec has already, because it replaces them. A spec can neither tell
    layers of the same name apart nor mask the layers of another model.
    """
    if not fix["masks"] or len(fix["masks"]) != len(fix["lines"]) or fix.get("param"):
        return ""
    masks = {**fix.get("spec_masks", {}), **fix["masks"]}
    pairs = ", ".join(f"{yaml12.quoted(name)}: {mask}" for name, mask in masks.items())
    return f"masks: {{{pairs}}}"


def cost(price: CostRecord) -> str:
    """Return the time before and after the fix in milliseconds, and what moved off the GPU."""
    moved, total = price["moved"], price["moved"] + price["left"]
    places = f"{moved} of {total} layers leave the GPU" if moved else "no layer leaves the GPU"
    rounds = f"medians of {price['rounds']}" if price["rounds"] > 1 else "one run each"
    parts = [
        f"{price['before_ms']:.3g} -> {price['after_ms']:.3g} ms ({rounds})",
        places if total else "",
        _more(price["uploads"], "upload"),
        _more(price["downloads"], "download"),
    ]
    return ", ".join(filter(None, parts))


def _more(counts: list[int], what: str) -> str:
    """Return how many more or fewer there are after the fix; empty if there is no difference."""
    more = counts[1] - counts[0]
    return f"{more:+d} {what}{'' if abs(more) == 1 else 's'}" if more else ""


def alternative(other: AlternativeRecord) -> str:
    """Return how the whole network does with an alternative setup: what is wrong, or its error."""
    if other["problem"]:
        return f"{other['name']}: {other['problem']}"
    return right(other, " as well")


def right(other: AlternativeRecord, as_well: str = "") -> str:
    """Return that the whole network is right with an alternative setup, its error and its time."""
    time = "" if other["ms"] is None else f", {other['ms']:.3g} ms"
    return f"{other['name']} is right{as_well}: outputs within {float(other['worst']):.3g}{time}"
