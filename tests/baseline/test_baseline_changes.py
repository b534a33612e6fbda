"""Two reports -> what became worse: each kind of change, and what is none."""

from __future__ import annotations

import copy
import math
from typing import Any

import graphs
import pytest
import reports
from reports import case, set_error

from pytest_ncnn_parity.baseline import Changes, compared
from pytest_ncnn_parity.report import document

GRAPH = graphs.network(*graphs.RESIDUAL)


@pytest.fixture
def old() -> Any:
    return reports.report(GRAPH, ["noise", "other"])


@pytest.fixture
def new(old: Any) -> Any:
    return copy.deepcopy(old)


def listed(changes: Changes) -> list[tuple[str, str | None, str | None, str]]:
    return [(r["kind"], r["sample"], r["comparison"], r["name"]) for r in changes.regressions]


FP16 = "fp16-vs-fp32-vulkan"


def test_the_same_report_has_nothing_worse(old: Any, new: Any) -> None:
    assert compared(old, new, 2.0) == Changes()


def test_a_new_red_is_reported_with_its_reason(old: Any, new: Any) -> None:
    case(new, "conv").update(outcome="failed", message="conv: inf (storage-overflow)\n  more")
    (regression,) = compared(old, new, 2.0).regressions
    assert (regression["kind"], regression["before"], regression["after"]) == ("red", "passed", "failed")
    assert (
        regression["message"]
        == "conv (Convolution): red, passed in the baseline: conv: inf (storage-overflow)"
    )


def test_a_red_that_was_skipped_or_absent_is_new(old: Any, new: Any) -> None:
    case(old, "conv")["outcome"] = "skipped"
    old["models"][0]["cases"].remove(case(old, "relu"))
    for name in ("conv", "relu"):
        case(new, name)["outcome"] = "failed"
    messages = [regression["message"] for regression in compared(old, new, 2.0).regressions]
    assert ["skipped in the baseline" in m for m in messages] == [True, False]
    assert ["not in the baseline" in m for m in messages] == [False, True]


def test_a_red_that_was_red_is_no_news(old: Any, new: Any) -> None:
    for report in (old, new):
        case(report, "conv")["outcome"] = "failed"
    assert compared(old, new, 2.0).regressions == []


@pytest.mark.parametrize(
    ("before", "after", "grew"),
    [
        (0.01, 0.0201, True),
        (0.01, 0.0199, False),  # below the factor
        (0.001, 0.0049, False),  # below a tenth of its budget, 0.05
        (0.001, 0.0051, True),
        (0.0, 0.0051, True),
        (0.01, "inf", True),
        (0.01, "nan", True),
        ("inf", "inf", False),
        ("inf", 0.01, False),
    ],
)
def test_an_error_grew_beyond_the_factor_and_the_noise(
    old: Any, new: Any, before: Any, after: Any, grew: bool
) -> None:
    for report, error in ((old, before), (new, after)):
        set_error(case(report, "conv"), error)
    assert listed(compared(old, new, 2.0)) == ([("error", "noise", FP16, "conv")] if grew else [])


def test_the_factor_is_the_users(old: Any, new: Any) -> None:
    set_error(case(new, "conv"), 0.04)
    assert [len(compared(old, new, factor).regressions) for factor in (2.0, 3.9, 4.1)] == [1, 1, 0]
    (regression,) = compared(old, new, 2.0).regressions
    assert (regression["before"], regression["after"]) == (0.01, 0.04)
    assert regression["message"] == (
        "conv (Convolution): error 0.01 -> 0.04 of the largest value, 80% of its tolerance"
    )


def test_a_wider_tolerance_does_not_hide_a_larger_error(old: Any, new: Any) -> None:
    case(new, "conv")["tolerance"]["scaled"] = 0.9
    set_error(case(new, "conv"), 0.04)
    assert listed(compared(old, new, 2.0)) == [("error", "noise", FP16, "conv")]


@pytest.mark.parametrize(("used", "grew"), [(0.09, False), (0.5, True)])
def test_the_tolerance_that_counts_is_that_of_the_element(
    old: Any, new: Any, used: float, grew: bool
) -> None:
    for report, error in ((old, 0.001), (new, 0.004)):
        case(report, "conv")["tolerance"].update(rtol=0.05, scaled=0.0)
        case(report, "conv")["metrics"].update(max_abs=error, scaled=error, used=used)
    assert bool(compared(old, new, 2.0).regressions) is grew


@pytest.mark.parametrize(
    ("before", "after", "shrank"),
    [
        (10000.0, 30000.0, True),
        (10000.0, 19000.0, False),  # below the factor
        (100.0, 4000.0, False),  # fp16's end is 16 times as far
        (100.0, 4200.0, True),
        (30000.0, 70000.0, False),  # beyond fp16 and right all the same: held in fp32
    ],
)
def test_headroom_shrank(old: Any, new: Any, before: float, after: float, shrank: bool) -> None:
    for report, absmax in ((old, before), (new, after)):
        for comparison in reports.COMPARISONS:
            case(report, "relu", comparison)["metrics"]["reference_absmax"] = absmax
            case(report, "relu", comparison)["metrics"]["max_abs"] = absmax / 100
    changes = compared(old, new, 2.0)
    assert listed(changes) == ([("headroom", "noise", FP16, "relu")] if shrank else [])  # not for fp32


def test_a_layer_left_the_gpu(old: Any, new: Any) -> None:
    for sample in ("noise", "other"):
        case(new, "conv", FP16, sample)["execution"] = "cpu fp32"
        gone = case(new, "conv", "cpu-vs-vulkan", sample)
        gone.update(execution="cpu fp32", outcome="skipped", message="runs on cpu", metrics=None)
    assert listed(compared(old, new, 2.0)) == [  # once for all samples, and no second time as a skip
        ("moved", None, "cpu-vs-vulkan", "conv"),
        ("moved", None, FP16, "conv"),
    ]
    assert compared(new, old, 2.0).regressions == []  # it came back to it


def test_what_was_compared_is_skipped_now(old: Any, new: Any) -> None:
    case(new, "conv").update(outcome="skipped", message="no Vulkan device", metrics=None)
    case(new, "relu").update(outcome="skipped", known=True)  # declared in the spec, and run
    (regression,) = compared(old, new, 2.0).regressions
    assert (regression["kind"], regression["name"]) == ("skipped", "conv")
    assert "no Vulkan device" in regression["message"]


def test_layers_outputs_samples_and_comparisons_vanish(old: Any, new: Any) -> None:
    shorter = graphs.network(*graphs.RESIDUAL[:-1])  # without the softmax, and its out0
    now = reports.report(shorter, ["noise"])
    now["models"][0]["comparisons"].pop()
    now["models"][0]["cases"] = [c for c in now["models"][0]["cases"] if c["comparison"] != FP16]
    regressions = compared(old, now, 2.0).regressions
    assert [(r["kind"], r["name"]) for r in regressions] == [
        ("vanished", name) for name in ("other", FP16, "prob", "out0")
    ]


def test_what_the_run_did_not_select_has_not_vanished(old: Any, new: Any) -> None:
    del new["models"][0]["cases"][1:]
    assert compared(old, new, 2.0) == Changes()
    del new["models"][0]
    assert compared(old, new, 2.0) == Changes()


def test_what_the_spec_selects_no_more_has_vanished(old: Any, new: Any) -> None:
    new["models"][0]["layers"][2]["selected"] = False
    (regression,) = compared(old, new, 2.0).regressions
    assert regression["message"] == "conv (Convolution): the spec's 'layers' no longer selects it"


def test_what_a_sample_runs_no_more_has_vanished(old: Any, new: Any) -> None:
    """A layer whose output it feeds is judged in 16 bits alone, as an Input layer is."""
    model = new["models"][0]
    model["not_run"], model["fed"] = {"noise": [2]}, {"noise": [3]}
    found = [(r["comparison"], r["name"]) for r in compared(old, new, 2.0).regressions]
    conv, behind = (model["layers"][number]["name"] for number in (2, 3))
    half = {one["name"]: one["half"] for one in model["comparisons"]}
    assert set(found) == {(name, conv) for name in half} | {
        (name, behind) for name in half if half[name] is None
    }
    model["not_run"] = {"other": [2]}
    del model["fed"]
    assert {r["sample"] for r in compared(old, new, 2.0).regressions} <= {"other"}


def test_a_baseline_of_a_part_makes_nothing_new_or_vanished(old: Any, new: Any) -> None:
    del old["models"][0]["cases"][1:]
    old["models"][0]["samples"] = ["noise"]
    assert compared(old, new, 2.0) == Changes()


def test_a_spec_that_is_gone_has_vanished_and_one_that_moved_has_not(old: Any) -> None:
    gone = {"net.parity.yaml"}
    other = reports.report(graphs.network(*graphs.CHAIN), spec="other.parity.yaml")
    other["models"][0]["param_sha256"] = "8"
    assert [r["name"] for r in compared(old, other, 2.0, gone).regressions] == ["net.parity.yaml"]
    for sha in ("6", "9"):  # the same file, and the same network in a file of other names
        moved = reports.report(GRAPH, ["noise", "other"], "moved.parity.yaml")
        moved["models"][0]["param_sha256"] = sha
        changes = compared(old, moved, 2.0, gone)
        assert changes.regressions == []
        assert "moved.parity.yaml was net.parity.yaml" in changes.context
    twin = copy.deepcopy(moved["models"][0])  # the same network once more, in the very file
    moved["models"].append({**twin, "spec": "twin.parity.yaml", "param_sha256": "6"})
    assert "twin.parity.yaml was net.parity.yaml" in compared(old, moved, 2.0, gone).context


def test_a_spec_that_the_baseline_lacks_is_named(old: Any, new: Any) -> None:
    """That nothing is worse would say nothing of it."""
    extra = copy.deepcopy(new["models"][0])
    new["models"].append({**extra, "spec": "extra.parity.yaml", "param": "extra.param"})
    changes = compared(old, new, 2.0)
    assert (changes.unknown, changes.regressions) == (["extra.parity.yaml"], [])


def test_new_layers_and_new_names_are_reported_and_are_no_regressions(old: Any) -> None:
    more = reports.report(
        graphs.network(
            "Split split_0 in0 0 1",
            "Convolution conv_1 0 2",
            "ReLU relu_2 2 3",
            "Dropout drop_3 3 4",
            "BinaryOp add_4 1,4 5",
            "Softmax softmax_5 5 out0",
        ),
        ["noise", "other"],
    )
    case(more, "conv_1").update(outcome="failed", message="wrong")
    changes = compared(old, more, 2.0)
    assert changes.added == [{"spec": "net.parity.yaml", "name": "drop_3"}]
    assert [(entry["name"], entry["was"]) for entry in changes.renamed] == [
        ("split_0", "fork"),
        ("conv_1", "conv"),
        ("relu_2", "relu"),
        ("add_4", "add"),
        ("softmax_5", "prob"),
    ]
    (red,) = changes.regressions
    assert (red["name"], red["was"], red["matched_by"]) == ("conv_1", "conv", "structure")
    assert red["message"].startswith("conv_1 (was conv) (Convolution): red, passed in the baseline")


def test_what_else_changed_is_context(old: Any, new: Any) -> None:
    new["environment"].update(ncnn="1.0.20261020", options={"timeout": 60.0, "json": "b.json"})
    new["environment"]["devices"][0]["name"] = "NVIDIA H200"
    new["models"][0].update(param_sha256="x", bin_sha256="y")
    assert compared(old, new, 2.0).context == [
        "ncnn 1.0.20260526 -> 1.0.20261020",
        "device llvmpipe (fp16 1/1/1/1) -> NVIDIA H200 (fp16 1/1/1/1)",
        "option timeout 120.0 -> 60.0",
        "net.parity.yaml: .param and weights changed",
    ]


def test_layers_of_one_name_are_distinguished() -> None:
    lines = ["ReLU same in0 a", "ReLU same a b", "Softmax prob b out0"]
    old = reports.report(graphs.network(*lines))
    new = reports.report(graphs.network("Dropout more in0 x", "ReLU same x a", *lines[1:]))
    for number, error in ((2, 0.01), (3, 0.04)):
        for one in (c for c in new["models"][0]["cases"] if c["number"] == number):
            set_error(one, error)
    regressions = compared(old, new, 2.0).regressions
    assert errors(regressions) == [("same", 0.01, 0.04), ("same", 0.01, 0.04)]


def errors(regressions: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    return [(r["name"], r["before"], r["after"]) for r in regressions]


def test_cases_lost_with_their_process_are_found_by_their_node_ids(old: Any, new: Any) -> None:
    model = new["models"][0]
    lost = {**case(new, "conv"), "outcome": "failed", "message": "worker died", "metrics": None}
    del lost["number"]
    model.update(layers=[], cases=[{**lost, "type": None, "tolerance": None}], param_sha256=None)
    del model["samples"], model["comparisons"]
    assert document.problem(new) is None
    changes = compared(old, new, 2.0)
    assert [r["message"] for r in changes.regressions] == [
        "conv: red, passed in the baseline: worker died"
    ]
    assert changes.added == []
    assert compared(new, old, 2.0).regressions == []


def test_every_regression_is_what_the_reports_schema_says(old: Any, new: Any) -> None:
    case(new, "conv").update(outcome="failed", message="wrong")
    set_error(case(new, "relu"), "inf")
    new["models"][0]["samples"].remove("other")
    regressions = compared(old, new, 2.0).regressions
    assert {r["kind"] for r in regressions} == {"red", "error", "vanished"}
    assert document.problem({**new, "regressions": regressions}) is None
    assert math.isinf(float(regressions[1]["after"]))


def test_what_an_entry_of_known_has_come_to_declare_is_no_news(old: Any, new: Any) -> None:
    for name in ("conv", "relu"):
        case(new, name).update(outcome="skipped", known=True, message="known: a new driver")
        set_error(case(new, name), "inf")
    case(old, "relu").update(outcome="skipped", known=True, message="known: a new driver")
    regressions = compared(old, new, 2.0).regressions
    assert [(r["kind"], r["name"]) for r in regressions] == [("error", "relu")], "it was known before"
