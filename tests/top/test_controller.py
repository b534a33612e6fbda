"""The process that reports: what becomes of pytest's reports, and what fails a run beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from given_options import options

from pytest_ncnn_parity.controller import Controller
from pytest_ncnn_parity.option_values import OptionsError
from pytest_ncnn_parity.report import case_records

CASE = "net.parity.yaml::noise::shipped::conv_1"


@dataclass
class Phase:
    """A report of pytest's, as far as it is read."""

    outcome: str
    nodeid: str = CASE
    longrepr: object = None


def carrying(phase: Phase, outcome: str, message: str = "") -> Phase:
    """`phase` with a verdict on its case."""
    case = {**case_records.lost(phase.nodeid, message), "outcome": outcome}
    vars(phase)["ncnn_parity"] = {"case": case}
    return phase


class Reported:
    """A run with a JSON report, described by `phases`."""

    def __init__(self, folder: Path, *phases: Phase, **typed: object) -> None:
        (folder / "called").mkdir(exist_ok=True)
        path = folder / "called" / "report.json"
        self.controller = Controller(options(folder, json="report.json", **typed), folder, "1.2.3")
        assert self.controller.start() == []
        assert json.loads(path.read_text("utf-8"))["complete"] is False
        self.controller.select([CASE])
        for phase in phases:
            self.controller.take(phase)
        self.end = self.controller.end(typed=True, places=["here"])
        self.document: dict[str, Any] = json.loads(path.read_text("utf-8"))

    @property
    def cases(self) -> list[tuple[str, bool, str]]:
        return [
            (case["outcome"], case["known"], case["message"])
            for model in self.document["models"]
            for case in model["cases"]
        ]


def test_a_verdict_is_taken_from_what_the_report_carries(tmp_path: Path) -> None:
    phase = carrying(Phase("failed"), "failed", "wrong")
    run = Reported(tmp_path, Phase("passed"), phase, Phase("passed"))
    assert run.cases == [("failed", False, "wrong")]
    assert "ncnn_parity" not in vars(phase)
    assert (run.document["complete"], run.document["stopped"]) == (True, None)
    assert run.document["environment"]["pytest"] == "1.2.3"


def test_a_case_without_a_verdict_is_lost_and_says_why(tmp_path: Path) -> None:
    skipped = Phase("skipped", longrepr=("file", 3, "Skipped: by a marker"))
    crashed = Phase("failed", nodeid=f"{CASE}_2", longrepr="worker 'gw0' crashed")
    run = Reported(tmp_path, skipped, crashed)
    assert run.cases == [
        ("skipped", False, "Skipped: by a marker"),
        ("failed", False, "worker 'gw0' crashed"),
    ]


def test_known_failures_are_skips_and_fail_where_they_pass(tmp_path: Path) -> None:
    known = carrying(Phase("skipped"), "failed", "wrong")
    known.wasxfail = "reason: llvmpipe"  # type: ignore[attr-defined]
    assert Reported(tmp_path, known).cases == [("skipped", True, "wrong")]
    strict = carrying(Phase("failed", longrepr="[XPASS(strict)] llvmpipe"), "passed")
    assert Reported(tmp_path, strict).cases == [("failed", False, "[XPASS(strict)] llvmpipe")]


def test_what_is_no_verdict_on_a_case_of_ours_is_left_alone(tmp_path: Path) -> None:
    rerun = carrying(Phase("rerun"), "failed", "wrong")
    run = Reported(tmp_path, rerun, Phase("failed", nodeid="test_own.py::test_x"))
    assert run.cases == []
    assert run.document["stopped"] == "1 of the selected cases did not run"
    assert (run.end.nothing, run.end.worse, run.end.unwritten) == ("", False, [])


def test_nothing_compared_is_said(tmp_path: Path) -> None:
    run = Reported(tmp_path, carrying(Phase("skipped"), "skipped", "no device"))
    assert run.end.nothing == "nothing was compared: every case was skipped (1): no device"
    lines = list(run.controller.remarks({}))
    assert lines == [(f"WARNING: {run.end.nothing}", "yellow")]


def test_worse_than_the_baseline_fails_where_that_is_wanted(tmp_path: Path) -> None:
    passed = carrying(Phase("passed"), "passed")
    Reported(tmp_path, passed)
    saved = tmp_path / "called" / "saved.json"
    (tmp_path / "called" / "report.json").rename(saved)
    for wanted in (False, True):
        red = carrying(Phase("failed"), "failed", "wrong")
        run = Reported(tmp_path, red, baseline="saved.json", baseline_fail=wanted)
        assert [one["kind"] for one in run.document["regressions"]] == ["red"]
        assert run.end.worse is wanted
        title, lines = list(run.controller.sections(0, 80))[1]
        assert title == "ncnn parity baseline"
        assert lines


def test_a_report_that_cannot_be_written_any_more_is_said(tmp_path: Path) -> None:
    run = Reported(tmp_path, carrying(Phase("passed"), "passed"))
    path = tmp_path / "called" / "report.json"
    path.unlink()
    path.mkdir()
    (problem,) = run.controller.end(typed=True, places=[]).unwritten
    assert problem.startswith(f"--ncnn-parity-json={path}: cannot be written: ")
    assert (f"ERROR: {problem}", "red") in list(run.controller.remarks({}))


def test_a_baseline_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"--ncnn-parity-baseline=.*none\.json: "):
        Controller(options(tmp_path, baseline="none.json"), tmp_path, "1.2.3")


def test_cases_that_something_left_out_fail_the_run(tmp_path: Path) -> None:
    run = Reported(tmp_path)
    assert run.end.left_out
    assert run.document["stopped"] == "1 of the selected cases did not run"
    assert not Reported(tmp_path, carrying(Phase("passed"), "passed")).end.left_out


def test_a_spec_with_colons_in_its_path_is_reported_by_its_path(tmp_path: Path) -> None:
    controller = Controller(options(tmp_path), tmp_path, "1.2.3")
    controller.not_collected("a::b/net.parity.yaml", "its path", None)
    controller.not_collected("net.parity.yaml::noise", "why", None)
    errors = controller.document()["errors"]
    assert [error["spec"] for error in errors] == ["a::b/net.parity.yaml", "net.parity.yaml"]


def test_a_baseline_without_a_verdict_is_refused(tmp_path: Path) -> None:
    """It is what a run leaves that was killed at its start; nothing could be worse than in it."""
    (tmp_path / "called").mkdir()
    Controller(options(tmp_path, json="report.json"), tmp_path, "1.2.3").start()
    with pytest.raises(OptionsError, match=r"report\.json: holds no verdict, .* Save one with"):
        Controller(options(tmp_path, baseline="report.json"), tmp_path, "1.2.3")
