"""Names and messages from models, specs and drivers are harmless in the terminal and in Markdown."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from networks import HOSTILE

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report.text import github, markdown, terminal


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
    hostile = document(name)
    for verbosity in (-1, 0, 1, 2):
        for line, _ in terminal.summary(hostile, verbosity):
            assert printable(line) == line
    tokens = [kind.type for kind in PLAIN.parse(markdown.summary(hostile, 1 << 20))]
    harmless = [kind.type for kind in PLAIN.parse(markdown.summary(document("l1"), 1 << 20))]
    assert tokens == harmless, "the same structure, whatever the name"
    for line in github.annotated(hostile, {"GITHUB_ACTIONS": "true"}, Path("/repo")):
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
