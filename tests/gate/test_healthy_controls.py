"""A network for each rule of judging that is healthy, and stays green: one seed of the benchmark's."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Gate

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.once
def test_no_rule_lets_a_healthy_network_be_red(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import kinds  # a module of the benchmarks

    for kind in kinds.CONTROLS:
        kinds.write(pytester.path, kind, seed=0)
    run = gate("--ncnn-parity-fix=off")
    cases = [case for model in run.report["models"] for case in model["cases"]]
    assert [case["nodeid"] for case in cases if case["outcome"] == "failed"] == []
    compared = {case["nodeid"].partition(".")[0] for case in cases if case["outcome"] == "passed"}
    assert len(compared) == len(kinds.CONTROLS)
