"""The summary in the terminal: short, more with -v, and one line with -q."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from documents import fix

from pytest_ncnn_parity.report.text import terminal


def plain(document: dict[str, Any], verbosity: int, width: int = 80) -> list[str]:
    return [line for line, _ in terminal.summary(document, verbosity, width)]


def case(number: int, outcome: str, **other: Any) -> dict[str, Any]:
    metrics = {
        "max_abs": 1.0, "scaled": 0.01, "used": 0.02 * number, "reference_absmax": 2.0, "mismatched": 0,
    }  # fmt: skip
    return {
        "nodeid": f"a::s::shipped::l{number}", "sample": "s", "comparison": "shipped",
        "layer": f"l{number}", "output": None, "outcome": outcome, "known": False, "cause": None,
        "message": f"l{number}: off", "metrics": None if outcome == "skipped" else metrics,
        "tolerance": {"scaled": 0.5, "atol": 0, "rtol": 0}, "execution": "vulkan, fp16 storage",
        "device": "GPU", "dropped": [],
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    cases = [case(n, "failed") for n in range(1, 31)] + [case(n, "passed") for n in range(31, 50)]
    cases += [case(50, "skipped")]
    return {
        "complete": True, "stopped": None, "selected": 50, "judged": 50, "not_reached": [],
        "errors": [], "environment": {"ncnn": "1.0", "devices": [
            {"name": "GPU", "fp16": "1/1/1/1", "driver": "550.1", "api": "1.3"},
            {"name": "idle", "fp16": "0/0/0/0", "driver": "1", "api": "1.0"},
        ]},
        "models": [{"spec": "a.parity.yaml", "cases": cases, "fixes": [], "masks": [], "notes": []}],
    }  # fmt: skip


def test_one_line_with_q(document: dict[str, Any]) -> None:
    assert plain(document, -1) == ["ncnn parity: 30 failed, 19 passed, 1 skipped"]


@pytest.mark.parametrize(("verbosity", "shown"), [(0, 3), (1, 10), (2, 30)])
def test_more_red_layers_with_v(document: dict[str, Any], verbosity: int, shown: int) -> None:
    lines = plain(document, verbosity)
    assert sum(": off" in line and "l50" not in line for line in lines) == shown
    assert any(f"... and {30 - shown} more" in line for line in lines) is (shown < 30)


def test_the_worst_that_passed_come_first(document: dict[str, Any]) -> None:
    worst = [line.split()[2] for line in plain(document, 1) if "worst passing" in line]
    assert worst[:3] == ["l49,", "l48,", "l47,"]
    assert len(worst) == 10


def test_devices_that_were_used(document: dict[str, Any]) -> None:
    assert "  on GPU: driver 550.1, Vulkan 1.3, fp16-p/s/u/a 1/1/1/1" in plain(document, 0)
    assert "idle" not in "".join(plain(document, 2))


def test_a_device_that_a_worker_alone_used_was_used(document: dict[str, Any]) -> None:
    environment = {**document["environment"], "devices": []}
    there = {"ncnn": "2.0", "machine": "aarch64", "devices": "Mali"}
    alone = plain({**document, "environment": environment}, 0)
    with_worker = plain({**document, "environment": {**environment, "workers": {"pi": there}}}, 0)
    assert "ncnn 1.0, no case ran on Vulkan" in alone
    assert {"ncnn 1.0", "  worker pi: ncnn 2.0 on aarch64, Mali"} <= set(with_worker)


@pytest.mark.parametrize(
    ("largest", "message"), [(2.0, "32752x"), (6550.4, "10x: l31 reaches 6550.4 of 65504")]
)
def test_headroom(document: dict[str, Any], largest: float, message: str) -> None:
    changed = copy.deepcopy(document)
    changed["models"][0]["cases"][30]["metrics"]["reference_absmax"] = largest
    assert f"  fp16 headroom: {message}" in plain(changed, 0)


def test_cut_short_and_not_collected_come_first(document: dict[str, Any]) -> None:
    document |= {
        "complete": False, "stopped": "interrupted", "selected": 90, "not_reached": ["b.parity.yaml"],
        "errors": [{"spec": "c.parity.yaml", "message": "c.parity.yaml:1:1: wrong"}],
    }  # fmt: skip
    lines = plain(document, 0)
    assert lines[2:5] == [
        "CUT SHORT: interrupted; 50 of 90 selected cases have a verdict",
        "not reached: b.parity.yaml",
        "NOT COLLECTED: c.parity.yaml: its errors are listed above",
    ]
    assert plain(document, -1)[0].endswith("; CUT SHORT: interrupted")


def test_more_follows_a_sentence_that_another_plugin_ended(document: dict[str, Any]) -> None:
    document |= {"complete": False, "stopped": "Test failed, continuing next run."}
    line = "CUT SHORT: Test failed, continuing next run; 50 of 50 selected cases have a verdict"
    assert line in plain(document, 0, 100)


def test_a_fix_that_two_comparisons_share_is_counted_once(document: dict[str, Any]) -> None:
    both = [fix("l1", "fp16-range"), fix("l1", "fp16-vs-fp32-vulkan")]
    document["models"][0]["fixes"] = [*both, fix("l2", "cpu-vs-vulkan")]
    assert plain(document, -1) == ["ncnn parity: 30 failed, 19 passed, 1 skipped; 2 verified fixes"]


def test_colours_are_names_of_pytests_markup(document: dict[str, Any]) -> None:
    styles = {style for _, style in terminal.summary(document, 2)}
    assert styles <= {"", "red", "green", "yellow", "bold"}
    assert "red" in styles


def test_the_command_that_writes_a_fix_holds_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    model = document["models"][0]
    model["fixes"] = [fix("l1", "cpu-vs-vulkan")]
    (tmp_path / "below").mkdir()

    def written() -> str:
        lines = [line for line, _ in terminal.summary(document, 0, 1000, root=tmp_path)]
        return next(line.rpartition(" ")[2] for line in lines if "fix=write" in line)

    monkeypatch.chdir(tmp_path)
    assert written() == model["spec"]
    monkeypatch.chdir(tmp_path / "below")
    assert written() == str(tmp_path / model["spec"])
