"""What became worse since the baseline, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FIRST = 5  # of a kind; -v tells all
NAMES = 2  # on one line

HEADINGS = {
    "red": "newly red",
    "error": "error grew",
    "headroom": "headroom shrank",
    "moved": "left the GPU",
    "skipped": "compared no more",
    "vanished": "vanished",
}


def lines(document: Mapping[str, Any], verbosity: int) -> Iterator[str]:
    """Nothing where no baseline was given; one line with -q."""
    baseline, found = document["baseline"], document["regressions"]
    if baseline is None:
        return
    counts = {kind: sum(r["kind"] == kind for r in found) for kind in HEADINGS}
    told = ", ".join(f"{count} {HEADINGS[kind]}" for kind, count in counts.items() if count)
    yield f"against {baseline['file']}: {told or 'nothing is worse'}"
    if verbosity < 0:
        return
    if baseline["context"]:
        yield f"  since then: {'; '.join(baseline['context'])}"
    yield from (f"  note: {note}" for note in baseline["notes"])
    yield from _layers("new layers", [entry["name"] for entry in baseline["added"]], verbosity)
    renamed = [f"{entry['name']} (was {entry['was']})" for entry in baseline["renamed"]]
    yield from _layers("new names, found by structure", renamed, verbosity)
    for kind, heading in HEADINGS.items():
        yield from _kind(heading, [r for r in found if r["kind"] == kind], verbosity)


def _layers(what: str, names: Sequence[str], verbosity: int) -> Iterator[str]:
    if names:
        shown = names if verbosity > 0 else names[:NAMES]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        yield f"  {what}: {', '.join(shown)}{more}"


def _kind(heading: str, found: Sequence[Mapping[str, Any]], verbosity: int) -> Iterator[str]:
    if not found:
        return
    yield f"  {heading}:"
    shown = found if verbosity > 0 else found[:FIRST]
    for regression in shown:
        where = "::".join(filter(None, (regression["sample"], regression["comparison"])))
        yield f"    {regression['spec']}{': ' if where else ''}{where}"
        yield f"      {regression['message'].splitlines()[0]}"
    if len(found) > len(shown):
        yield f"    ... and {len(found) - len(shown)} more"
