"""Names and messages from models, specs and drivers are harmless wherever they are printed."""

from __future__ import annotations

import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import networks
import pytest
from conftest import Gate
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report.text import github, markdown, terminal

# a layer's name in a .param: no blanks, anything else
HOSTILE = "a\x1b[31m\x07\u202e\u2028`|*<script>alert(1)</script>&\"'%0A::error::x##[error]@all]]>"
RED = "inputs:\n  s: {in0: {constant: 65503.9}}\ncompare: [fp16-range]\n"


@given(st.text(), st.booleans())
def test_nothing_that_moves_a_cursor_or_commands_a_runner_is_left(text: str, lines: bool) -> None:
    shown = printable(text, lines=lines)
    for char in shown:
        kept = unicodedata.category(char) == "Zs" or (lines and char == "\n")
        assert char.isprintable() or kept
    assert not re.search(r"(?m)^\s*::|##\[", shown)
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv_1 (Convolution)", "conv_1 (Convolution)"),
        ("größe 大きさ", "größe 大きさ"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\r\nb\tc\x7f\x85", r"a\r\nb\tc\x7f\x85"),
        ("a\u2028b\u202ec\u2066\ufeff", r"a\u2028b\u202ec\u2066\ufeff"),
        ("a\udc80", r"a\udc80"),
        ("::error::x", r"\x3a:error::x"),
        ("x ::stop-commands::y", r"x \x3a:stop-commands::y"),
        ("net.parity.yaml::s::c::l", "net.parity.yaml::s::c::l"),
        ("##[error]x", r"\x23#[error]x"),
    ],
)
def test_escapes_are_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_text_has_lines() -> None:
    assert printable("a\nb\r\n::c", lines=True) == "a\nb\\r\n\\x3a:c"


@pytest.fixture
def hostile(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    text = (pytester.path / "net.param").read_text("utf-8")
    text = text.replace("2=0.25", "2=30.0")  # what goes in fits fp16, what l1 makes does not
    renamed = re.sub(r"(?m)^(BinaryOp\s+)l1 ", lambda found: found.group(1) + HOSTILE + " ", text)
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
    (found,) = root.iter("testcase")
    assert "<script>" in str(found.get("name")), "as text, for the parser gives it back"
    assert r"\x1b" in str(found.get("name"))

    html = MarkdownIt().enable("table").render((pytester.path / "summary.md").read_text("utf-8"))
    assert "<script>" not in html


def document(name: str) -> dict[str, object]:
    case = {
        "nodeid": "x", "sample": "s", "comparison": "shipped", "layer": name, "output": None,
        "outcome": "failed", "known": False, "cause": "device", "message": f"{name}: off\n{name}",
        "metrics": None, "tolerance": None, "execution": None, "device": name, "dropped": [name],
        "line": 3,
    }  # fmt: skip
    fix = {
        "comparison": "shipped", "verified": True, "minimal": True, "masks": {name: 18},
        "lines": [f"ReLU {name} 1 1 a b 31=18"], "how": f"ran {name}", "errors": [None, None],
        "notes": [name], "patch": f"--- {name}\n+```\n+{name}\n", "written": [], "cost": None,
        "alternatives": [], "runs": 0, "seconds": 0, "start": "",
    }  # fmt: skip
    notice = {"layer": name, "mask": 2, "kind": "unsafe", "what": name}
    model = {
        "spec": "a.parity.yaml",
        "cases": [case],
        "fixes": [fix],
        "masks": [notice],
        "notes": [name],
    }
    return {
        "complete": False, "stopped": name, "selected": 2, "judged": 1, "not_reached": [name],
        "errors": [{
            "spec": "b.parity.yaml", "message": f"b.parity.yaml:7:1: {name}",
            "place": {"line": 7, "column": 1},
        }],
        "environment": {"ncnn": name, "devices": [{"name": name, "fp16": name}]}, "models": [model],
    }  # fmt: skip


PLAIN = MarkdownIt().enable("table")


@settings(deadline=None)
@given(st.text(min_size=1).filter(str.strip))
def test_any_name_in_terminal_markdown_and_annotations(name: str) -> None:
    told = document(name)
    for verbosity in (-1, 0, 1, 2):
        for line, _ in terminal.summary(told, verbosity):
            assert printable(line) == line
    tokens = [kind.type for kind in PLAIN.parse(markdown.summary(told, 1 << 20))]
    harmless = [kind.type for kind in PLAIN.parse(markdown.summary(document("l1"), 1 << 20))]
    assert tokens == harmless, "the same structure, whatever the name"
    for line in github.annotated(told, {"GITHUB_ACTIONS": "true"}, Path("/repo")):
        assert re.fullmatch(r"::(error|warning) [^:\r\n]*::[^\r\n]*", line)
        keys = re.findall(r"(?:^|,)(\w+)=", line.partition("::")[2].partition(" ")[2].partition("::")[0])
        assert set(keys) <= {"file", "line", "title"}


def test_a_table_cell_and_a_fence_hold_what_they_hold() -> None:
    assert PLAIN.render(markdown.text(HOSTILE)).strip() == (f"<p>{_html(printable(HOSTILE))}</p>")
    fenced = PLAIN.parse(markdown.block("a\n````\n<b>", "diff"))
    assert [token.content for token in fenced] == ["a\n````\n<b>\n"]


def _html(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, entity)
    return text


def test_what_json_holds_is_json(pytester: pytest.Pytester) -> None:
    assert json.loads(json.dumps(document(HOSTILE)))["stopped"] == HOSTILE
