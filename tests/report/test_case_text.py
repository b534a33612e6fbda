"""What is said of a case: one text, and the same in parts, which are fields of the report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import plans
import pytest
from failed_cases import CONV, ON_VULKAN, OUTPUT, failed

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.diagnose.downstream import Red
from pytest_ncnn_parity.engine.evidence import Integers
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.report import case_records
from pytest_ncnn_parity.report.highlights import share
from pytest_ncnn_parity.report.text import case_text

RED = failed([math.inf, 1.0], [7e4, 1.0], blob="y", shape=(2,), **ON_VULKAN)


def said(case: Case, result: Result, *upstream: Red) -> case_text.Message:
    return case_text.failure(case, result, diagnose(case, result, upstream), None)


@pytest.mark.parametrize("case", [CONV, OUTPUT], ids=["layer", "output"])
def test_a_failures_parts_are_its_text(case: Case) -> None:
    message = said(case, RED)
    diagnosis = diagnose(case, RED)
    evidence = [f"evidence: {line}" for line in message.evidence]
    first, *lines = message.text.split("\n")
    assert [line.removeprefix("  ") for line in lines] == [*message.details, *evidence]
    assert message.headline == diagnosis.what
    assert first == case_text.summary(case, diagnosis)
    assert first.endswith(f"{message.headline} ({diagnosis.cause})")


def test_integers_are_printed_with_all_their_digits() -> None:
    red = failed([0.0, 1.0], [1234567.0, 1.0], blob="y", shape=(2,), integers=Integers("bits"))
    assert red.metrics is not None
    red = replace(red, metrics=replace(red.metrics, integers=True))
    text = said(CONV, red).text
    assert "1234567" in text
    assert "e+06" not in text
    record = case_records.case_record("n", "s", CONV, red, diagnose(CONV, red), said(CONV, red), 3)
    assert record["metrics"] is not None
    assert record["metrics"]["integers"] is True
    assert "1234567" in share(record)


def test_what_else_is_allowed_is_reported_beside_the_tolerance() -> None:
    assert RED.metrics is not None
    also = "share 0.01 of the elements anywhere"
    red = replace(RED, metrics=replace(RED.metrics, also_allowed=also))
    message = said(CONV, red)
    assert len(message.details) == len(said(CONV, RED).details) + 1
    assert also in message.details[-1]
    record = case_records.case_record("n", "s", CONV, red, diagnose(CONV, red), message, 3)
    assert record["metrics"] is not None
    assert record["metrics"]["also_allowed"] == also


def test_the_record_of_a_case_has_them_as_fields() -> None:
    message = said(CONV, RED).ending("repro: here")
    record = case_records.case_record(
        "a.parity.yaml::s::shipped::conv_1", "s", CONV, RED, diagnose(CONV, RED), message, 3, "here"
    )
    assert record["message"].endswith("\n  repro: here")
    assert record["headline"] == message.headline
    assert record["details"] == list(message.details)
    assert record["evidence"] == list(message.evidence)
    assert (record["fix"], record["place"]) == (None, None)
    metrics = record["metrics"]
    assert metrics is not None
    assert (metrics["used"], metrics["max_abs"]) == ("inf", "inf"), "strict JSON"


def test_names_in_the_parts_are_printable() -> None:
    message = case_text.Message("a\x1b\nb", "a\x1b", ("d\x1b",), ("e\x1b",))
    record = case_records.case_record("n::s::c::l", "s", CONV, RED, None, message, 1)
    texts = [record["message"].replace("\n", ""), record["headline"], *record["details"]]
    assert all(text.isprintable() for text in [*texts, *record["evidence"]])


def test_a_fault_of_the_spec_has_its_place(tmp_path: Path) -> None:
    where = plans.loaded(tmp_path).spec.at("model", "bin")
    message = case_text.of_files(Diagnosis("load", "too short", ("ends at byte 9",)), where)
    assert message.text == f"{tmp_path}/net.parity.yaml:1:32: too short\nends at byte 9"
    assert (message.headline, message.evidence) == ("too short", ("ends at byte 9",))
    assert case_records.place_record(message.place) == {"line": 1, "column": 32}


def test_what_has_no_parts_has_its_first_line() -> None:
    assert case_text.plain("no device\nsee above").headline == "no device"


def test_the_headline_of_a_samples_error_is_without_its_place() -> None:
    first = "/a b/x.parity.yaml:4:5: inputs.s.in0: c:\\d.npy: shape []"
    text = f"{first}\n/a b/x.parity.yaml:5:5: inputs.s.in1: no"
    message = case_text.of_sample(text, "/a b/x.parity.yaml")
    assert message.text == text
    assert message.headline == "inputs.s.in0: c:\\d.npy: shape []"
    assert message.notes == (text.split("\n")[1],)
    assert case_text.of_sample("no place", "/a b/x.parity.yaml").headline == "no place"
