"""Failures that concern many cases, of which one result tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
