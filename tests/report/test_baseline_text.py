"""What became worse since a baseline, in words."""

from __future__ import annotations

import json
from pathlib import Path

import graphs
import reports

from pytest_ncnn_parity.baseline import Baseline
from pytest_ncnn_parity.report.text import baseline_text


def test_a_baseline_that_was_cut_short_says_so(tmp_path: Path) -> None:
    report = reports.report(graphs.network(*graphs.CHAIN))
    cut = {**report, "complete": False, "models": [{**report["models"][0], "cases": []}]}
    (tmp_path / "saved.json").write_text(json.dumps(cut), "utf-8")
    report |= Baseline(tmp_path / "saved.json", 2.0).against(report, tmp_path)
    assert list(baseline_text.lines(report, 0)) == [
        "against saved.json: nothing is worse",
        "  note: the baseline's run was cut short: what it did not reach could not be compared",
    ]
    assert list(baseline_text.lines(report, -1)) == ["against saved.json: nothing is worse"]


def test_many_regressions_are_reported_in_short(tmp_path: Path) -> None:
    report = reports.report(graphs.network(*graphs.CHAIN), [f"s{n}" for n in range(9)])
    (tmp_path / "saved.json").write_text(json.dumps(report), "utf-8")
    for sample in report["models"][0]["samples"]:
        reports.case(report, "a", sample=sample).update(outcome="failed", message="wrong\nmore")
    report |= Baseline(tmp_path / "saved.json", 2.0).against(report, tmp_path)
    short, whole = (list(baseline_text.lines(report, verbosity)) for verbosity in (0, 1))
    assert short[:4] == [
        "against saved.json: 9 newly red",
        "  newly red:",
        "    net.parity.yaml: s0::fp16-vs-fp32-vulkan",
        "      a (ReLU): red, passed in the baseline: wrong",
    ]
    assert short[-1] == "    ... and 4 more"
    assert (len(short), len(whole)) == (13, 20)
