"""Lines of plain text about what has become worse since the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.report.document.regression import Kind, RegressionRecord, SinceBaseline

FIRST = 5  # how many regressions of each kind are shown; -v shows all
NAMES = 2  # how many layer names are shown on a line; -v shows all

HEADINGS: Mapping[Kind, str] = {
    "red": "newly red",
    "error": "error grew",
    "headroom": "headroom shrank",
    "moved": "left the GPU",
    "skipped": "no longer compared",
    "vanished": "vanished",
}


def lines(since: SinceBaseline, verbosity: int) -> Iterator[str]:
    """Yield the lines: none without a baseline, one with -q (a negative `verbosity`)."""
    baseline, regressions = since["baseline"], since["regressions"]
    if baseline is None:
        return
    of_kind = {kind: [one for one in regressions if one["kind"] == kind] for kind in HEADINGS}
    counts = ", ".join(f"{len(some)} {HEADINGS[kind]}" for kind, some in of_kind.items() if some)
    yield f"against {baseline['file']}: {counts or 'nothing is worse'}"
    if verbosity < 0:
        return
    if baseline["context"]:
        yield f"  since then: {'; '.join(baseline['context'])}"
    yield from (f"  note: {note}" for note in baseline["notes"])
    yield from _layers("new layers", [layer["name"] for layer in baseline["added"]], verbosity)
    renamed = [f"{layer['name']} (was {layer['was']})" for layer in baseline["renamed"]]
    yield from _layers("new names, found by structure", renamed, verbosity)
    for kind, some in of_kind.items():
        if some:
            yield from _of_kind(HEADINGS[kind], some, verbosity)


def _layers(what: str, names: Sequence[str], verbosity: int) -> Iterator[str]:
    if names:
        yield f"  {what}: {listed(names, len(names) if verbosity > 0 else NAMES)}"


def _of_kind(heading: str, regressions: Sequence[RegressionRecord], verbosity: int) -> Iterator[str]:
    yield f"  {heading}:"
    shown = regressions if verbosity > 0 else regressions[:FIRST]
    for regression in shown:
        where = "::".join(filter(None, (regression["sample"], regression["comparison"])))
        yield f"    {regression['spec']}{': ' if where else ''}{where}"
        yield f"      {regression['message'].splitlines()[0]}"
    if len(regressions) > len(shown):
        yield f"    ... and {len(regressions) - len(shown)} more"
