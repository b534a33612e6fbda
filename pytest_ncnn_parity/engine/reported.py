"""Failures that concern many cases, of which one result tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Step


def told(results: Iterable[Result]) -> tuple[Step, ...]:
    """Return the native steps whose failure `results` tell."""
    deaths = (result.evidence.death for result in results if result.outcome == "failed")
    steps = (death.step for death in deaths if death is not None)
    return tuple(dict.fromkeys(step for step in steps if step is not None))


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
    not replaced. The next case, which would be skipped because of that failure, tells it instead.
    """
    first = {result.id: result.outcome for result in known}
    untold: Result | None = None
    for result in results:
        if result.id in first:
            if result.outcome == "failed" != first[result.id] and told([result]):
                untold = result
            continue
        tells = untold is not None and result.outcome == "skipped"
        fresh = replace(untold, id=result.id) if untold is not None and tells else result
        untold = None if tells else untold
        first[fresh.id] = fresh.outcome
        yield fresh
