"""A hostile name in a model stays a name in whatever a gate writes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import networks
import pytest
from conftest import Gate
from markdown_it import MarkdownIt
from networks import HOSTILE

from pytest_ncnn_parity.base.printable import printable

RED = "inputs:\n  s: {in0: {constant: 65503.9}}\ncompare: [fp16-range]\n"


@pytest.fixture
def hostile(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    text = (pytester.path / "net.param").read_text("utf-8")
    text = text.replace("2=0.25", "2=30.0")  # what goes in fits fp16, what l1 makes does not
    renamed = re.sub(r"(?m)^(BinaryOp\s+)l1 ", lambda match: match.group(1) + HOSTILE + " ", text)
    assert HOSTILE in renamed
    (pytester.path / "net.param").write_text(renamed, "utf-8")
    networks.spec(pytester.path, RED)


@pytest.mark.usefixtures("hostile")
def test_hostile_names_in_every_report(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    run = gate("-v", "--junitxml=junit.xml", "--ncnn-parity-fix=off", "-k", "error")
    (case,) = run.cases.values()
    assert case["layer"] == HOSTILE, "the name is exact in the JSON report"
    assert case["outcome"] == "failed"
    assert printable(case["message"], lines=True) == case["message"]

    raw = Path(pytester.path / "report.json").read_bytes().decode("utf-8")
    assert "\x1b" not in raw
    for char in "\x1b\x07\u202e\u2028":
        assert char not in run.output
    commands = [line for line in run.output.splitlines() if line.lstrip().startswith("::")]
    assert all(line.startswith(("::error file=", "::warning file=")) for line in commands)
    assert "##[" not in run.output

    root = ET.parse(pytester.path / "junit.xml").getroot()
    (testcase,) = root.iter("testcase")
    assert "<script>" in str(testcase.get("name")), "as text, for the parser gives it back"
    assert r"\x1b" in str(testcase.get("name"))

    html = MarkdownIt().enable("table").render((pytester.path / "summary.md").read_text("utf-8"))
    assert "<script>" not in html
