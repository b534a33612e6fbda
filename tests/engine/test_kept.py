"""Which results may replace those of a later run, and that nobody waits for the others by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.kept import KeptResults, may_be_kept
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.results import SampleResults
from pytest_ncnn_parity.engine.steps import Death


@pytest.mark.parametrize(
    ("outcome", "evidence", "kept"),
    [
        ("passed", Evidence(), True),
        ("passed", Evidence(noise=3.0, threshold_decides=True), True),
        ("passed", Evidence(dropped=("use_bf16_storage",)), False),  # red with require-vulkan
        ("failed", Evidence(), False),
        ("failed", Evidence(death=Death("crash", "killed by SIGSEGV")), False),
        ("failed", Evidence(lasting=True), False),
        ("skipped", Evidence(lasting=True), True),
        ("skipped", Evidence(), False),
        ("skipped", Evidence(no_vulkan=True), False),
        ("skipped", Evidence(origin="conv_1"), False),
        ("skipped", Evidence(death=Death("misfit", "upstream")), False),
    ],
)
def test_what_may_be_kept(outcome: str, evidence: Evidence, kept: bool) -> None:
    assert may_be_kept(Result("a::b", outcome, evidence=evidence)) is kept


def test_behind_the_last_kept_result_no_run_is_started_unasked(tmp_path: Path) -> None:
    """`take_arrived` is for who does not want to wait; a sample may be kept in part."""
    plan = plans.loaded(tmp_path, "compare: [fp16-range, shipped]\n")
    sample, _ = plan.spec.inputs
    cases = [case for one in plan.spec.comparisons for case in plan.cases(one)]
    ids = [case.id for case in cases]
    in_part = [one for one in ids if one.startswith("fp16-range::")]
    assert 1 < len(in_part) < len(ids)

    class KeptInPart(KeptResults):
        def _of(self, _: str, comparison: str) -> Mapping[str, Result]:
            return {one: Result(one, "passed") for one in in_part if one.startswith(f"{comparison}::")}

    kept = KeptInPart(Cache(tmp_path, {}), plan, Engine(1.0))
    ran: list[str] = []

    def run(left: Sequence[str]) -> Iterator[Result]:
        for one in left:
            ran.append(one)
            yield Result(one, "failed")

    results = SampleResults(ids, lambda waiting: kept.run(sample, cases, waiting, run))
    results.result(in_part[0])
    results.take_arrived(in_part[-1], lambda: kept.holds_result)
    assert list(results.known) == in_part
    results.take_arrived(ids[-1], lambda: kept.holds_result)
    assert ran == []
    results.finish()
    assert list(results.known) == ids
