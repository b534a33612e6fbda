"""The examples on a terminal of 80 columns and 24 lines: what its last screen shows."""

from __future__ import annotations

import shutil
from collections import Counter

import networks
import pytest
from conftest import EXAMPLES, Gate, Run

from pytest_ncnn_parity.report.text.line_width import PASTED

pytestmark = pytest.mark.once

# a layer that is red, its cause, and a word of the fix; with what is in the spec's name
ACCUMULATE = ("accumulate", "average", "accumulator-overflow", "31=1 on average")
DECODER = ("style_decoder", "sum_15", "storage-overflow", "31=18 on sum_15, eps_15, rsqrt_15")
MODELS = (ACCUMULATE, DECODER)


@pytest.fixture
def on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def part(run: Run, start: str, end: str) -> list[str]:
    """The lines between two of pytest's titles."""
    lines = run.output.splitlines()
    titles = [line.strip("= ").partition(" in ")[0] for line in lines]
    places = [titles.index(name) for name in (start, end)]
    return lines[places[0] + 1 : places[1]]


def red_models(screen: list[str]) -> list[str]:
    """What the run ends with, by model: one line, or two."""
    title = next(n for n, line in enumerate(screen) if "= ncnn parity: red models =" in line)
    text = "\n".join(screen[title + 1 : -1])
    return text.replace("\n  ", " ").splitlines()


@pytest.mark.usefixtures("on_80_columns")
@pytest.mark.since_ncnn("1.0.20260526", "its output is wrong there, and more of it red")
@pytest.mark.parametrize("vulkan", [True, False], ids=["vulkan", "no-vulkan"])
def test_each_red_model_has_its_layer_cause_and_fix(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, vulkan: bool
) -> None:
    models = pytester.path / "example_models"
    for name, *_ in MODELS:
        shutil.copytree(EXAMPLES / name, models / name)
    (models / "healthy").mkdir()
    networks.chain(models / "healthy")
    networks.spec(models / "healthy", "inputs: {healthy: {in0: {random: normal}}}\n")
    if not vulkan:
        monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent")
        monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent")
    run = gate("example_models", "-ra")
    screen = run.output.splitlines()[-24:]
    assert [line for line in screen if len(line) > 80 and not line.startswith(PASTED)] == []
    for text, words in zip(red_models(screen), MODELS, strict=True):
        assert [word for word in words if word not in text] == []
        assert ("NOT verified" in text) is not vulkan
    assert f"{len(run.ids('skipped'))} skipped" in screen[-1]

    short = part(run, "short test summary info", "ncnn parity: red models")
    assert [line for line in short if len(line) > 80] == []
    failed = [line for line in short if line.startswith("FAILED ")]
    assert len(failed) == len(run.ids("failed"))
    assert all(" - storage-overflow" in one or " - accumulator-overflow" in one for one in failed)
    entries = [line for line in short if line.startswith("SKIPPED ")]
    reasons = Counter(run.cases[name]["message"] for name in run.ids("skipped"))
    assert len(entries) == len(reasons)
    assert sum("fp16-vs-fp32-cpu: ncnn ignores fp16 on" in one for one in entries) == 1

    summary = part(run, "ncnn parity", "short test summary info")
    idle = [line for line in summary if line.startswith("not run here: ")]
    assert len(idle) == (1 if vulkan else 2)
    assert not any(line.startswith("  fp16-vs-fp32-cpu") for line in summary)

    failures = part(run, "FAILURES", "ncnn parity")
    headings = [line for line in failures if line.startswith("_")]
    assert len(set(headings)) == len(headings) == len(failed)
    assert max(map(len, headings)) <= 80
    decoder = [line.partition("style_decoder.parity.yaml:")[2] for line in headings]
    assert {line.split()[0] for line in decoder if line} == {"6", "7"}, "the lines of the samples"
    assert sum(line.startswith("  evidence: read in fp16 by: eps_15") for line in failures) == 1
    assert sum("UnaryOp          rsqrt_15" in line for line in failures) == 1
    # the last digits depend on how many terms a processor adds up at once
    assert any("reaches 288279" in line for line in failures), "what differs is shown for each sample"


@pytest.mark.usefixtures("on_80_columns")
def test_two_specs_of_one_name_and_what_other_plugins_read(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Headings name the spec; other plugins and files have whole reports under whole ids."""
    spec = "inputs:\n  a: {in0: {constant: -1}}\n  b: {in0: {constant: -1}}\ncompare: [fp16-range]\n"
    folders = [pytester.path / name for name in ("a_folder_with_a_long_name", "another")]
    for folder in folders:
        folder.mkdir()
        networks.underflow(folder)
        networks.spec(folder, spec)
    pytester.makeconftest(
        "def pytest_terminal_summary(terminalreporter):\n"
        "    for report in terminalreporter.stats['failed']:\n"
        "        print('READ', report.nodeid, str(report.longrepr).count('compared:'))\n"
    )
    run = gate("--junitxml=junit.xml")
    red = [case for model in run.report["models"] for case in model["cases"] if case["cause"]]
    assert len(red) == 4
    headings = [line.strip("_ ") for line in part(run, "FAILURES", "ncnn parity") if line[0] == "_"]
    assert headings == [
        f"{folder.name}/net.parity.yaml:{line} {sample}::fp16-range::eps"
        for folder in folders
        for sample, line in (("a", 3), ("b", 4))
    ]
    read = [line.split() for line in run.output.splitlines() if line.startswith("READ ")]
    assert read == [["READ", case["nodeid"], "1"] for case in red]
    assert (pytester.path / "junit.xml").read_text("utf-8").count("compared:") == 4
    short = part(run, "short test summary info", "ncnn parity: red models")
    assert len(set(short)) == 4
    for text, folder in zip(red_models(run.output.splitlines()), folders, strict=True):
        assert text.startswith(f"{folder.name}/net")
        assert ": underflow" in text
        assert "31=18 on " in text
