"""Red on random numbers alone: every report of the run says first that the input may be at fault."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import networks
import pytest
from conftest import Gate

pytestmark = pytest.mark.once

SOURCES = {
    # a picture's values are small; random numbers are not, and their squares leave fp16
    "doubted": "  noise: {in0: {random: uniform, low: 0, high: 300}}\n  real: {in0: {constant: 1}}\n",
    "sure": "  noise: {in0: {random: uniform, low: 0, high: 300}}\n  real: {in0: {constant: 300}}\n",
}
FAULT = "the input may be at fault"


@pytest.fixture
def models(pytester: pytest.Pytester) -> None:
    for name, sources in SOURCES.items():
        folder = pytester.path / name
        folder.mkdir()
        networks.two_branches(folder)
        networks.spec(folder, f"inputs:\n{sources}compare: [fp16-range]\n")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_input_is_doubted_where_real_ones_are_green(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run = gate("--junitxml=junit.xml", *args)
    models = {model["spec"].partition("/")[0]: model for model in run.report["models"]}
    red = {
        name: {case["sample"] for case in model["cases"] if case["outcome"] == "failed"}
        for name, model in models.items()
    }
    assert red == {"doubted": {"noise"}, "sure": {"noise", "real"}}
    doubt = models["doubted"]["input_doubt"]
    assert doubt[0].startswith(FAULT)
    assert "  recorded: {in0: {file: recorded.npy}}" in doubt
    assert models["sure"]["input_doubt"] == []

    before, _, after = run.output.partition("doubted/net.parity.yaml: ")[2].partition(FAULT)
    assert "(storage-overflow)" not in before
    assert "(storage-overflow)" in after
    annotations = [line for line in run.output.splitlines() if line.startswith("::")]
    (warning,) = (line for line in annotations if line.startswith("::warning "))
    assert annotations[0] == warning
    assert "doubted/net.parity.yaml,line=3,title=the input may be at fault::" in warning
    assert summary.read_text("utf-8").count(FAULT) == 1

    said = {
        str(case.get("classname")): "may be at fault unless real is red" in str(failure.text)
        for case in ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")
        for failure in case.iter("failure")
    }
    assert {"noise" in name: doubted for name, doubted in said.items()} == {True: True, False: False}
