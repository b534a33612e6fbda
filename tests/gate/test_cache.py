"""A gate on what has not changed runs nothing, and reports what the first one has."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import networks
import numpy as np
import pytest
from conftest import Gate, Run

CACHE = "--ncnn-parity-cache=cache"
SPEC = """\
inputs:
  recorded: {in0: {file: in0.npy}, expect: {c2: {file: c2.npy}}}
  flat: {in0: {constant: 0.5}}
compare: [fp16-range, cpu-vs-vulkan]
setup: own:register
"""


@pytest.fixture
def net(pytester: pytest.Pytester) -> Path:
    """Two 1x1 convolutions with an input from a file, a recording, and setup code."""
    folder = pytester.path
    networks.convolutions(folder, 2, {})
    networks.spec(folder, SPEC)
    values = np.linspace(-1, 1, 128, dtype=np.float32).reshape(8, 4, 4)
    np.save(folder / "in0.npy", values)
    np.save(folder / "c2.npy", values)
    (folder / "own.py").write_text("def register(net):\n    pass\n", "utf-8")
    return folder


def cached(run: Run) -> set[str]:
    """The cases that were not run again."""
    return {name for name, case in run.cases.items() if case["cached"] is not None}


def unsaid(run: Run) -> dict[str, Any]:
    """The report without the words that say what the cache had, and without when and how long it ran."""
    report = copy.deepcopy(run.report)
    del report["started"], report["seconds"]
    for model in report["models"]:
        for case in model["cases"]:
            del case["cached"]
    return report


def spec_with(net: Path, *replaced: tuple[str, str]) -> None:
    path = net / "net.parity.yaml"
    text = path.read_text("utf-8")
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


def test_the_second_run_starts_no_worker_and_reports_the_same(
    gate: Gate, net: Path, started: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(net / "summary.md"))
    spec_with(net, ("in0.npy}, expect: {c2: {file: c2.npy}}}", "in0.npy}}"))  # what agrees alone
    first = gate(CACHE, "--junitxml=first.xml")
    assert started() == 1
    assert cached(first) == set()
    assert not first.ids("failed")
    (net / "summary.md").unlink()
    again = gate(CACHE, "--junitxml=again.xml", "--ncnn-parity-html=page.html")
    assert started() == 0
    assert cached(again) == again.cases.keys() == first.cases.keys()
    assert all("+00:00" in case["cached"] for case in again.cases.values())
    assert again.report["environment"]["devices"]
    assert unsaid(again) == {
        **unsaid(first),
        "environment": {
            **first.report["environment"],
            "options": {**first.report["environment"]["options"], "html": "page.html"},
        },
    }
    for text in (
        again.output,
        (net / "summary.md").read_text("utf-8"),
        (net / "page.html").read_text("utf-8"),
    ):
        assert "all verdicts from the cache" in text.replace("&#45;", "-")
    assert "from the cache" not in first.output
    before, after = (dict(properties(net / name)) for name in ("first.xml", "again.xml"))
    assert {name for name, _ in after} == {name for name, _ in before}
    when = {value for (_, key), value in after.items() if key == "ncnn_parity_cached"}
    assert when == {case["cached"] for case in again.cases.values()}
    assert {key: value for key, value in after.items() if key[1] != "ncnn_parity_cached"} == before


def properties(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    for case in ET.parse(path).iter("testcase"):
        for one in case.iter("property"):
            yield (
                (f"{case.get('classname')} {case.get('name')}", one.get("name", "")),
                one.get("value", ""),
            )


@pytest.mark.once
def test_whatever_changes_is_a_miss(gate: Gate, net: Path) -> None:
    """Until it is changed back; tests/cache has the parts of the key that are not seen here."""
    spec_with(net, ("[fp16-range, cpu-vs-vulkan]", "[fp16-range]"))
    np.save(net / "c2.npy", np.full((8, 4, 4), 7, np.float32))  # no agreement: it is not kept
    every = gate(CACHE).cases.keys()
    golden = {"recorded::golden::output:c2"}
    assert cached(gate(CACHE)) == every - golden
    recorded = {name for name in every if name.startswith("recorded::")}

    def changed(name: str, change: Callable[[Path], None]) -> set[str]:
        shutil.copy(net / name, net / "before")
        change(net / name)
        hits = cached(gate(CACHE))
        shutil.copy(net / "before", net / name)
        return hits

    def longer(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"\n# more\n")

    def other_array(path: Path) -> None:
        np.save(path, np.load(path) / 2)

    def other_weight(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)

    assert changed("net.bin", other_weight) == set()
    assert changed("own.py", longer) == set()
    assert changed("in0.npy", other_array) == every - recorded
    assert changed("c2.npy", other_array) == every - recorded
    assert cached(gate(CACHE, "--ncnn-parity-timeout=60")) == set()
    assert cached(gate(CACHE, "--ncnn-parity-accumulated")) == set()
    assert cached(gate(CACHE)) == every - golden


@pytest.mark.once
def test_a_comparison_with_a_red_case_runs_again_and_others_do_not(
    gate: Gate, pytester: pytest.Pytester, started: Callable[[], int]
) -> None:
    networks.two_branches(pytester.path)
    networks.spec(
        pytester.path,
        "inputs:\n  small: {in0: {constant: 0.5}}\n  large: {in0: {constant: 10}}\n"
        "compare: [fp16-range, cpu-vs-vulkan, fp16-vs-fp32-cpu]\n",
    )
    first = gate(CACHE)
    red = set(first.ids("failed"))
    assert {name.rpartition("::")[0] for name in red} == {"large::fp16-range"}
    again = gate(CACHE, "--ncnn-parity-repro=faults")
    ran = again.cases.keys() - cached(again)
    assert ran == {name for name in again.cases if name.startswith("large::fp16-range::")}
    assert set(again.ids("failed")) == red
    text = {"message": "", "notes": []}  # which name the repro
    for name in red:
        assert {**again.cases[name], **text, "repro": None} == {**first.cases[name], **text}
        assert again.cases[name]["repro"]
    assert unsaid(again)["models"][0]["masks"] == first.report["models"][0]["masks"]

    started()
    assert cached(gate(CACHE, "-k", "cpu-vs-vulkan and huge")) == {
        f"{sample}::cpu-vs-vulkan::huge" for sample in ("small", "large")
    }
    assert started() == 0
    for _ in range(2):  # it is green, others of its comparison are not
        one = gate(CACHE, "net.parity.yaml::large::fp16-range::big")
        assert one.ids("passed")
        assert cached(one) == set()
        assert started() == 1


@pytest.mark.once
def test_what_is_expected_to_fail_is_run_again(gate: Gate, pytester: pytest.Pytester) -> None:
    """Also where it does not fail, for then it is red."""
    networks.two_branches(pytester.path)
    networks.spec(
        pytester.path,
        "inputs: {large: {in0: {constant: 10}}, small: {in0: {constant: 0.5}}}\n"
        "compare: [fp16-range]\nlayers: {include: [huge]}\n"
        "known: [{layer: huge, reason: large}]\n",
    )
    for _ in range(2):
        run = gate(CACHE)
        assert cached(run) == set()
        assert run.ids("failed") == ["small::fp16-range::huge"]
        assert run.cases["large::fp16-range::huge"]["known"]


@pytest.mark.once
def test_the_want_of_a_device_is_not_kept(
    gate: Gate, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver may be there next time, though no file that could be looked at has changed."""
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "NCNN_VULKAN_DRIVER"):
        monkeypatch.setenv(name, str(net / "none.json"))
    gate(CACHE, "net.parity.yaml::flat")
    again = gate(CACHE, "net.parity.yaml::flat")
    assert all("no Vulkan device" in again.cases[name]["message"] for name in again.ids("skipped"))
    assert cached(again) == set(again.ids("passed")) == {n for n in again.cases if "::fp16-range::" in n}


@pytest.mark.once
def test_under_xdist(gate: Gate, net: Path, started: Callable[[], int]) -> None:
    spec_with(net, (", expect: {c2: {file: c2.npy}}", ""))
    parallel = (CACHE, "-n", "2")
    first = gate(*parallel)
    assert cached(first) == set()
    started()
    again = gate(*parallel)
    assert cached(again) == again.cases.keys() == first.cases.keys()
    assert started() == 0
    assert by_case(again) == by_case(first)


def by_case(run: Run) -> dict[str, Any]:
    return {name: {**case, "cached": None} for name, case in run.cases.items()}


@pytest.mark.once
def test_damage_is_a_miss_and_no_error(gate: Gate, net: Path) -> None:
    first = gate(CACHE, "-k", "flat")
    for number, path in enumerate(sorted((net / "cache").iterdir())):
        raw = path.read_bytes()
        path.write_bytes([b"", raw[:-9], json.dumps(first.report).encode()][number % 3])
    again = gate(CACHE, "-k", "flat")
    assert again.result.ret == first.result.ret == 0
    assert cached(again) == set()
    assert by_case(again) == by_case(first)
    assert cached(gate(CACHE, "-k", "flat")) == first.cases.keys()


@pytest.mark.once
def test_masks_that_nothing_needs_are_said_again(
    gate: Gate, pytester: pytest.Pytester, started: Callable[[], int]
) -> None:
    networks.convolution(pytester.path, masks="31=16")
    networks.spec(
        pytester.path, "inputs: {noise: {in0: {random: normal}}}\ncompare: [cpu-vs-vulkan, fp16-range]\n"
    )
    first = gate(CACHE)
    assert [notice["layer"] for notice in first.report["models"][0]["masks"]] == ["c2"]
    started()
    again = gate(CACHE)
    assert started() == 0
    assert unsaid(again) == unsaid(first)
    part = gate(CACHE, "-k", "fp16-range")
    assert part.report["models"][0]["masks"] == []
    assert started() == 0


@pytest.mark.once
def test_a_baseline_is_held_against_what_was_kept(gate: Gate, net: Path) -> None:
    spec_with(net, (", expect: {c2: {file: c2.npy}}", ""))
    gate(CACHE)
    shutil.copy(net / "report.json", net / "good.json")
    run = gate(CACHE, "--ncnn-parity-baseline=good.json", "--ncnn-parity-baseline-fail")
    assert run.result.ret == 0
    assert cached(run) == run.cases.keys()
    assert run.report["regressions"] == []
