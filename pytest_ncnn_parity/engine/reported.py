"""Failures that concern many cases, of which one result tells. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.engine.steps import Step


def known_of(cases: Iterable[CaseSpec]) -> frozenset[str]:
    """Return the ids of those of `cases` that are expected to fail."""
    return frozenset(case.id for case in cases if case.known)


def steps_told(results: Iterable[Result], known: Container[str] = ()) -> tuple[Step, ...]:
    """Return the native steps whose failure `results` tell.

    Cases in `known` tell nothing, because they are expected to fail, and do not make a run red.
    """
    failed = (result for result in results if result.outcome == "failed" and result.id not in known)
    steps = (_step(result) for result in failed)
    return tuple(dict.fromkeys(step for step in steps if step is not None))


def _step(result: Result) -> Step | None:
    death = result.evidence.death
    return None if death is None else death.step


def not_run(case_ids: Sequence[str], error: str) -> Iterator[Result]:
    """Yield results for the cases of a sample that could not be run: the first fails with `error`."""
    for case_id in case_ids[:1]:
        yield Result(case_id, "failed", evidence=Evidence(error=error))
    for case_id in case_ids[1:]:
        reason = f"not run: the sample could not be run; {case_ids[0]} says why"
        yield Result(case_id, "skipped", reason=reason)


def once_each(results: Iterable[Result], known: Iterable[Result] = ()) -> Iterator[Result]:
    """Yield the first result of each case that has none in `known`.

    A case may be judged again, by another worker, and only then tell that a step failed. Its result is
    not replaced. The next case that is skipped because of this step tells it instead.
    """
    first = {result.id: result.outcome for result in known}
    untold: dict[Step, Result] = {}
    for result in results:
        step = _step(result)
        if result.id not in first:
            tells = step is not None and result.outcome == "skipped" and step in untold
            fresh = replace(untold.pop(step), id=result.id) if step is not None and tells else result
            first[fresh.id] = fresh.outcome
            yield fresh
        elif step is not None and result.outcome == "failed" and first[result.id] != "failed":
            untold[step] = result
