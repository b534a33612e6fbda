"""The cards that show failures: one for each red layer and output and its cause, with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import ModelRecord
from pytest_ncnn_parity.report.html.graph import Drawing, drawn
from pytest_ncnn_parity.report.html.neighbourhood import Neighbourhood, Neighbours, runs_on

MOST_CARDS = 40  # how many faults of layers have a card; the table lists all of them
MOST_DRAWN = 8  # how many cards have a drawing; the others list the neighbours in a table


class RedCard(Frozen):
    """A layer or an output that failed of `cause`, in however many samples and comparisons: `where`.

    `headline`, `text`, `runs`, `neighbours` and `drawing` are those of the first case.
    """

    name: str
    type: str
    cause: str
    headline: str
    text: str
    where: Mapping[str, tuple[str, ...]]
    runs: str
    neighbours: Neighbours
    drawing: Drawing | None


class RedCards(Frozen):
    """The cards of a model; `more`: how many faults of layers have none."""

    layers: tuple[RedCard, ...]
    more: int
    outputs: tuple[RedCard, ...]


def red_cards(model: ModelRecord) -> RedCards:
    failed = [case for case in model["cases"] if case["outcome"] == "failed"]
    layers = _by_fault(case for case in failed if case["layer"] is not None)
    outputs = _by_fault(case for case in failed if case["output"] is not None)
    neighbourhood = Neighbourhood(model)
    return RedCards(
        layers=tuple(
            _card(model["spec"], cases, neighbourhood.of(cases[0]), number < MOST_DRAWN)
            for number, cases in enumerate(layers[:MOST_CARDS])
        ),
        more=max(0, len(layers) - MOST_CARDS),
        outputs=tuple(_card(model["spec"], cases, Neighbours(), False) for cases in outputs),
    )


def _by_fault(failed: Iterable[CaseRecord]) -> list[list[CaseRecord]]:
    cases: dict[object, list[CaseRecord]] = {}
    for case in failed:
        cases.setdefault(highlights.fault(case), []).append(case)
    return list(cases.values())


def _card(spec: str, cases: Sequence[CaseRecord], neighbours: Neighbours, with_drawing: bool) -> RedCard:
    first = cases[0]
    name = str(first["layer"] if first["output"] is None else first["output"])
    where: dict[str, list[str]] = {}
    for case in cases:
        where.setdefault(case["comparison"], []).append(case["sample"])
    return RedCard(
        name=name,
        type=first["type"] or "",
        cause=first["cause"] or "",
        headline=_headline(spec, first),
        text="\n".join(_lines(first)),
        where={comparison: tuple(samples) for comparison, samples in where.items()},
        runs=runs_on(first),
        neighbours=neighbours,
        drawing=drawn(name, first["type"] or "", runs_on(first), neighbours) if with_drawing else None,
    )


def _headline(spec: str, case: CaseRecord) -> str:
    place = case["place"]
    at = "" if place is None else f"{spec}:{place['line']}:{place['column']}: "
    return f"{at}{case['headline']}"


def _lines(case: CaseRecord) -> Iterator[str]:
    """The lines below the headline, but not the fix, which has a place of its own on the page."""
    yield from case["details"]
    yield from (f"evidence: {line}" for line in case["evidence"])
    yield from case["notes"]
