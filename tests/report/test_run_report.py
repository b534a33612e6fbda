"""What the cases of a session carried, brought together: each thing once, whoever reported it."""

from __future__ import annotations

from typing import Any

import graphs
import pytest
import reports
from reports import assert_valid

from pytest_ncnn_parity.engine.facts import Facts
from pytest_ncnn_parity.report import case_records, counts, network_records, run_report
from pytest_ncnn_parity.report.run_report import RunReport

SPEC = "net.parity.yaml"
WORKER = {
    "ncnn": "1.0", "numpy": "2.0", "python": "3.12", "machine": "x86_64", "system": "Linux",
    "devices": [{"index": "0", "name": "llvmpipe", "fp16": "1/1/1/1"}],
}  # fmt: skip
NOTICE = {"layer": "a", "mask": 2, "kind": "unsafe", "what": "fp32 bytes"}


@pytest.fixture
def report() -> RunReport:
    return RunReport(run_report.environment({"plugin": "0.1", "pytest": "9.0"}, {"timeout": 120.0}))


def carried(name: str, outcome: str = "passed", **more: Any) -> Any:
    case = case_records.lost(f"{SPEC}::noise::shipped::{name}", "why")
    return {"case": {**case, "outcome": outcome}, **more}


def model(report: RunReport) -> Any:
    (one,) = report.document()["models"]
    return one


def network() -> Any:
    return reports.network(graphs.network("ReLU a in0 out0"))


def test_a_whole_report_is_valid(report: RunReport) -> None:
    report.state.select([f"{SPEC}::noise::shipped::{name}" for name in ("a", "b")])
    assert report.take(carried("a", network=network(), environment=WORKER)) is False
    assert report.take(carried("b", "skipped")) is True, "the spec's last"
    report.error("other.parity.yaml", "other.parity.yaml:3:1: wrong", {"line": 3, "column": 1})
    report.state.end()
    document = report.document()
    assert_valid(document)
    assert (document["complete"], document["selected"], document["judged"]) == (True, 2, 2)
    assert document["environment"]["ncnn"] == "1.0"
    assert document["environment"]["options"] == {"timeout": 120.0}


def test_of_two_verdicts_the_red_one_counts(report: RunReport) -> None:
    for outcome in ("passed", "failed", "passed"):
        report.take(carried("a", outcome))
    assert [case["outcome"] for case in model(report)["cases"]] == ["failed"]


def test_what_two_workers_report_appears_once(report: RunReport) -> None:
    for name in ("a", "b"):
        report.take(carried(name, masks=[dict(NOTICE)], notes=["odd"], environment=dict(WORKER)))
    assert (model(report)["masks"], model(report)["notes"]) == ([NOTICE], ["odd"])
    assert report.document()["environment"]["devices"] == WORKER["devices"]


def test_a_device_is_listed_once_though_its_driver_is_known_later(report: RunReport) -> None:
    named = {"index": "0", "name": "llvmpipe", "fp16": "1/1/1/1", "driver": None, "api": None}
    whole = {**named, "driver": "0.0.1", "api": "1.3.230"}
    for devices in ([named], [whole], [named]):
        report.take(carried("a", environment={**WORKER, "devices": devices}))
    assert report.document()["environment"]["devices"] == [whole]


def test_the_network_may_come_with_a_later_case(report: RunReport) -> None:
    report.take(carried("a"))
    assert (model(report)["param"], model(report)["layers"]) == (None, [])
    report.take(carried("b", network=network()))
    report.take(carried("output:out0"))
    assert model(report)["param"] == "net.param"
    assert [case["type"] for case in model(report)["cases"]] == ["ReLU", None, None]


def test_what_a_worker_does_not_report_is_not_forgotten(report: RunReport) -> None:
    report.take(carried("a", environment=WORKER))
    report.take(carried("b", environment=network_records.worker_environment(Facts())))
    assert report.document()["environment"]["numpy"] == "2.0"


def test_a_run_that_goes_on_says_so(report: RunReport) -> None:
    report.state.select([f"{SPEC}::noise::shipped::a", "other.parity.yaml::noise::shipped::a"])
    report.take(carried("a"))
    running = report.document()
    assert (running["complete"], running["not_reached"]) == (False, ["other.parity.yaml"])
    assert "killed" in str(running["stopped"])
    report.state.end()
    assert report.document()["stopped"] == "1 of the selected cases did not run"


def test_a_run_that_was_stopped_before_its_cases_were_known_is_not_complete(report: RunReport) -> None:
    report.state.stop("interrupted")
    report.state.end()
    ended = report.document()
    assert (ended["complete"], ended["stopped"], ended["selected"]) == (False, "interrupted", 0)
    assert counts.nothing_compared(ended, True, ["."]) == ""
