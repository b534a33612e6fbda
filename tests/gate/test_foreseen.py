"""The first sample runs while pytest collects the rest, and what is selected then decides."""

from __future__ import annotations

import faulty_driver
import networks
import pytest
from conftest import Gate, Run

pytestmark = pytest.mark.once

# a line of each job that is sent before somebody asks for results; and of the end of the collection,
# with how many workers there are then
ORDER = """\
from pathlib import Path
import psutil, pytest
from pytest_ncnn_parity.engine.client import Engine

begin, lines = Engine.begin, Path(__file__).with_name("order").open("a", buffering=1)

def noting(engine, job):
    lines.write("begun the last\\n" if job.last else "begun\\n")
    begin(engine, job)

Engine.begin = noting

@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    lines.write(f"collected beside {len(children)}\\n")

def pytest_collection_modifyitems(items):
    ...
"""
NO_WORKER = "collected beside 0"
AHEAD, IN_VAIN, AFTERWARDS = (
    ["begun", "collected beside 1"],
    ["begun", NO_WORKER],
    ["collected beside 1"],
)
TWO = "inputs: {one: {in0: {random: normal}}, two: {in0: {random: uniform}}}\ncompare: [fp16-range]\n"


@pytest.fixture(autouse=True)
def _two_specs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    for name in ("a", "b"):
        networks.chain(pytester.path, name=name)
        networks.spec(pytester.path, TWO, name)


def order(gate: Gate, pytester: pytest.Pytester, *args: str, items: str = "") -> tuple[list[str], Run]:
    """What happened up to the end of the collection, while a plugin does that to the items."""
    pytester.makeconftest(ORDER.replace("...", items or "pass"))
    run = gate(*args)
    assert list(pytester.path.glob("ncnn-parity-*")) == []  # the folder of a worker that runs
    lines = (pytester.path / "order").read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("collected"))
    return lines[: end + 1], run


def passed(run: Run) -> list[str]:
    """The cases of both specs that passed."""
    cases = [case for model in run.report["models"] for case in model["cases"]]
    return [case["nodeid"] for case in cases if case["outcome"] == "passed"]


@pytest.mark.parametrize(
    ("items", "left_out", "expected"),
    [
        ("", 0, AHEAD),
        ("del items[6]", 1, AHEAD),
        ("items[:10], items[10:] = items[10:], items[:10]", 0, AHEAD),  # both specs
        ("items[:5], items[5:10] = items[5:10], items[:5]", 0, IN_VAIN),  # the samples of the first one
        ("items.reverse()", 0, IN_VAIN),
        ("del items[0]", 1, IN_VAIN),
        ("del items[:5]", 5, IN_VAIN),
        ("del items[:10]", 10, IN_VAIN),
    ],
)
def test_what_is_selected_is_judged_whatever_was_foreseen(
    items: str, left_out: int, expected: list[str], gate: Gate, pytester: pytest.Pytester
) -> None:
    happened, run = order(gate, pytester, items=items)
    assert happened == expected
    assert run.report["complete"]
    assert len(set(passed(run))) == 20 - left_out


@pytest.mark.parametrize(
    "args",
    [["-k", "one"], ["a.parity.yaml::two"], ["--deselect", "a.parity.yaml::one"], ["--collect-only"]],
)
def test_where_cases_are_chosen_nothing_is_foreseen(
    args: list[str], gate: Gate, pytester: pytest.Pytester
) -> None:
    happened, _ = order(gate, pytester, *args)
    assert happened == ([NO_WORKER] if "--collect-only" in args else AFTERWARDS)


def test_one_sample_is_the_last_of_its_spec(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n", "a")
    happened, _ = order(gate, pytester)
    assert happened == ["begun the last", "collected beside 1"]


def test_nothing_is_foreseen_behind_a_network_for_two_workers(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The first one takes the worker that was started early."""
    networks.depthwise(pytester.path, 512, "a")
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan, fp16-vs-fp32]\n", "a")
    happened, _ = order(gate, pytester, "--ncnn-parity-fix=off")
    assert happened == AFTERWARDS


def test_an_error_in_another_spec_ends_what_was_begun(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.spec(pytester.path, "inputs: {one: {in1: {random: normal}}}\n", "b")
    happened, run = order(gate, pytester)
    assert happened == AHEAD
    assert run.result.ret == pytest.ExitCode.INTERRUPTED


def test_a_driver_that_kills_the_worker_meanwhile_costs_nothing(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, pytester.path, "vkCreateInstance:1:11")
    happened, run = order(gate, pytester)
    assert faulty_driver.times_it_happened(pytester.path) == 1
    assert happened[0] == "begun"
    assert len(passed(run)) == 20
