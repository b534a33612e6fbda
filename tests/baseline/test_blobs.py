"""Outputs and recordings in two reports: which belong together, and which are no longer compared."""

from __future__ import annotations

import copy
from typing import Any

import graphs
import pytest
import reports
from reports import case

from pytest_ncnn_parity.baseline import compared
from pytest_ncnn_parity.report import document

LINES = ("Split fork in0 a b", "ReLU first a x", "Sigmoid second b y", "TanH third y z")
AFRESH = ("Split s in0 0 1", "ReLU r 0 x", "Sigmoid g 1 2", "TanH t 2 z")  # x and z keep their names
GOLDEN = "golden"


def with_recordings(lines: tuple[str, ...], inner: str) -> Any:
    """A green report of outputs x and z, and of recordings of them and of a blob between layers."""
    report = reports.report(graphs.network(*lines), ["noise"])
    (model,) = report["models"]
    model["outputs"] = ["x", "z"]
    model["recorded"] = {"noise": ["x", inner, "z"]}
    golden = {"name": GOLDEN, "reference": "recorded", "candidate": "cpu fp32", "half": None}
    model["comparisons"].append(golden)
    of = case(report, "x")
    for blob in model["recorded"]["noise"]:
        nodeid = f"net.parity.yaml::noise::{GOLDEN}::output:{blob}"
        model["cases"].append(
            {**copy.deepcopy(of), "nodeid": nodeid, "comparison": GOLDEN, "output": blob}
        )
    assert document.problem(report) is None
    return report


@pytest.fixture
def old() -> Any:
    return with_recordings(LINES, "y")


def messages(old: Any, new: Any) -> list[str]:
    return [regression["message"] for regression in compared(old, new, 2.0).regressions]


@pytest.mark.parametrize(
    ("blob", "title"), [("x", "output x"), ("y", "blob y")], ids=["output", "between layers"]
)
def test_a_recording_that_is_gone_has_vanished(old: Any, blob: str, title: str) -> None:
    new = copy.deepcopy(old)
    (model,) = new["models"]
    model["recorded"]["noise"].remove(blob)
    model["cases"] = [c for c in model["cases"] if (c["comparison"], c["output"]) != (GOLDEN, blob)]
    assert messages(old, new) == [f"{title}: the spec no longer compares it"]
    (regression,) = compared(old, new, 2.0).regressions
    assert (regression["kind"], regression["sample"], regression["comparison"]) == (
        "vanished",
        "noise",
        GOLDEN,
    )


def test_an_output_that_the_spec_no_longer_takes_out_has_vanished(old: Any) -> None:
    new = copy.deepcopy(old)
    new["models"][0]["outputs"] = ["z"]
    vanished = [(r["comparison"], r["name"]) for r in compared(old, new, 2.0).regressions]
    assert vanished == [(comparison, "x") for comparison in reports.COMPARISONS]


def test_what_was_not_selected_and_what_an_older_report_does_not_tell_have_not(old: Any) -> None:
    new = copy.deepcopy(old)
    del new["models"][0]["cases"][1:]
    assert messages(old, new) == []
    older = with_recordings(LINES, "y")
    for key in ("outputs", "recorded"):
        del older["models"][0][key]
    assert messages(older, old) == messages(old, older) == []


def test_a_blob_between_layers_is_found_by_the_layer_that_makes_it(old: Any) -> None:
    """A red that was red is no news, whatever the blob is called now."""
    new = with_recordings(AFRESH, "2")
    for report, blob in ((old, "y"), (new, "2")):
        case(report, blob, GOLDEN).update(outcome="failed", message="off by 1")
    assert messages(old, new) == []
    case(old, "y", GOLDEN).update(outcome="passed", message="")
    assert messages(old, new) == ["blob 2 (was y): red, passed in the baseline: off by 1"]


def test_a_recording_that_has_its_name_is_still_compared_though_another_layer_makes_the_blob(
    old: Any,
) -> None:
    """The spec names blobs, so that what it compares is what has the name."""
    moved = (
        "Split fork in0 a b",
        "ReLU first a x",
        "Sigmoid second b q",
        "TanH third q z",
        "Noop n q y",
    )
    new = with_recordings(moved, "y")
    new["models"][0]["cases"] = [c for c in new["models"][0]["cases"] if c["output"] != "y"]
    assert messages(old, new) == []


def test_outputs_of_the_same_names_are_the_same_whatever_makes_them_now(old: Any) -> None:
    swapped = ("Split fork in0 a b", "ReLU first a z", "Sigmoid second b y", "TanH third y x")
    new = with_recordings(swapped, "y")
    case(old, "x", GOLDEN).update(outcome="failed", message="off by 1")
    case(new, "z", GOLDEN).update(outcome="failed", message="off by 1")
    assert messages(old, new) == ["output z: red, passed in the baseline: off by 1"]


def test_files_that_samples_and_other_models_read_are_context(old: Any) -> None:
    (model,) = old["models"]
    model["arrays_sha256"] = {"a.npy": "1", "b.npy": "2", "gone.npy": "3"}
    model["comparisons"][0].update(param_sha256="4", bin_sha256="5")
    new = copy.deepcopy(old)
    new["models"][0]["arrays_sha256"] = {"a.npy": "1", "b.npy": "0", "new.npy": "3"}
    new["models"][0]["comparisons"][0]["bin_sha256"] = "0"
    assert document.problem(new) is None
    assert compared(old, new, 2.0).context == [
        "net.parity.yaml: files of cpu-vs-vulkan and b.npy changed"
    ]
