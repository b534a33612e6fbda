"""Annotations and step summaries: escaped, bounded, and of what says most."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.report.text import github, markdown

ACTIONS = {"GITHUB_ACTIONS": "true"}


def case(number: int, output: bool = False, cause: str = "device") -> dict[str, Any]:
    name = f"l{number}"
    return {
        "sample": "s", "comparison": "shipped", "layer": None if output else name,
        "output": name if output else None, "outcome": "failed", "known": False, "cause": cause,
        "message": f"{name}: 100 % off, quite\nfurther: more", "metrics": None, "line": 3,
        "device": None, "dropped": [], "tolerance": None, "execution": None,
    }  # fmt: skip


def document(*models: list[dict[str, Any]], patch: str = "") -> dict[str, Any]:
    fix = {
        "comparison": "shipped", "verified": True, "minimal": True, "lines": ["x"], "how": "ran",
        "notes": [], "patch": patch,
    }  # fmt: skip
    return {
        "complete": True, "stopped": None, "selected": 1, "judged": 1, "not_reached": [], "errors": [],
        "environment": {"ncnn": "1.0", "devices": []},
        "models": [
            {
                "spec": f"m{n}.parity.yaml", "cases": cases, "fixes": [fix] if patch else [],
                "masks": [], "notes": [],
            }
            for n, cases in enumerate(models)
        ],
    }  # fmt: skip


def annotated(report: dict[str, Any]) -> list[str]:
    return list(github.annotated(report, ACTIONS, Path("/repo")))


def test_the_ten_annotations_that_say_most() -> None:
    many = [case(0, output=True), *(case(n) for n in range(1, 30)), *(case(n) for n in range(1, 5))]
    lines = annotated(document(many, [case(50)]))
    assert len(lines) == github.MOST_ANNOTATIONS
    titles = [str(re.search(r"title=([\w ]+)", line)) for line in lines]
    assert "l1" in titles[0], "layers before outputs"
    assert "l50" in titles[1], "every model has its turn"
    assert lines[-1] == ("::error title=ncnn parity::22 more errors: see the log or the reports")
    assert len(annotated(document([case(n) for n in range(10)]))) == 10


def test_a_doubt_of_the_input_comes_before_errors_whatever_else_is_warned_of() -> None:
    green = {**case(1), "outcome": "passed"}
    report = document([green, case(2)], *([{**case(3), "outcome": "skipped"}] for _ in range(12)))
    report["models"][0]["input_doubt"] = ["the input may be at fault: 100 %", "  real: {in0: x}"]
    first, *rest = annotated(report)
    assert first == (
        "::warning file=m0.parity.yaml,line=3,title=the input may be at fault"
        "::the input may be at fault: 100 %25%0A  real: {in0: x}"
    )
    kinds = [line.split()[0] for line in rest]
    assert kinds == ["::warning"] * (github.MOST_ANNOTATIONS - 1) + ["::error"]
    by_another = list(github.annotated(report, ACTIONS, Path("/repo"), by_plugin=True))
    assert by_another == [first, *rest[:-1]], "which annotates what is red, and no doubt"


def test_annotations_are_escaped() -> None:
    report = document([case(1)])
    report["errors"] = [
        {
            "spec": "a,b:c%.parity.yaml",
            "message": "/x/a,b:c%.parity.yaml:7:1: wrong\nand",
            "place": {"line": 7, "column": 1},
        }
    ]
    first, second = annotated(report)
    assert first == (
        "::error file=a%2Cb%3Ac%25.parity.yaml,line=7,title=spec not usable"
        "::/x/a,b:c%25.parity.yaml:7:1: wrong%0Aand"
    )
    assert second.endswith("::l1: 100 %25 off, quite%0Afurther: more")
    (at_the_file,) = annotated(document([{**case(1), "place": {"line": 1, "column": 30}}]))
    assert ",line=1,title=l1" in at_the_file


def test_a_run_cut_short_and_one_that_compared_nothing() -> None:
    report = document([{**case(1), "outcome": "skipped"}])
    report |= {"complete": False, "stopped": "interrupted"}
    assert annotated(report) == [
        "::error title=ncnn parity%3A cut short::interrupted",
        "::warning file=m0.parity.yaml,line=1,title=nothing was compared::l1: 100 %25 off, quite%0A"
        "further: more",
    ]


def test_one_fix_for_several_comparisons_appears_once_in_the_summary() -> None:
    report = document([case(1)], patch="+x 31=18")
    (fix,) = report["models"][0]["fixes"]
    other = {**fix, "comparison": "fp16-range"}
    unproven = [{**other, "verified": False, "comparison": name} for name in ("a", "b")]
    report["models"][0]["fixes"] = [fix, other, *unproven]
    text = markdown.summary(report, 100_000)
    assert re.findall(r"(?m)^#### (.*)$", text.replace("&#45;", "-").replace("&#44;", ",")) == [
        "Fix for shipped, fp16-range &#40;verified, minimal&#41;",
        "Fix for a &#40;NOT verified&#41;",
        "Fix for b &#40;NOT verified&#41;",
    ]
    assert text.count("```diff") == 3


def test_the_summary_names_the_folder_of_the_specs_if_it_is_not_the_top(tmp_path: Path) -> None:
    path, ml = tmp_path / "summary.md", tmp_path / "ml"
    for root, heading in ((tmp_path, "## ncnn parity: "), (ml, "## ncnn parity in ml: ")):
        environ = {"GITHUB_STEP_SUMMARY": str(path), "GITHUB_WORKSPACE": str(tmp_path)}
        assert github.write_summary(document([case(1)]), environ, root) == ""
        assert path.read_text("utf-8").startswith(heading)
        path.unlink()


def test_a_pipe_as_the_summary_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    os.mkfifo(path)
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    assert ": cannot be written: " in github.write_summary(document([case(1)]), environ, tmp_path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert github.write_summary(document([case(1)]), environ, tmp_path) == ""
    assert os.read(reader, 20).startswith(b"## ncnn parity")
    os.close(reader)


def test_a_summary_stays_under_githubs_limit(tmp_path: Path) -> None:
    report = document(*([case(n)] for n in range(300)), patch="+ä" * 5000)
    path = tmp_path / "summary.md"
    path.write_text("x" * 100_000, "utf-8")
    assert github.write_summary(report, {"GITHUB_STEP_SUMMARY": str(path)}, tmp_path) == ""
    assert github.MOST_SUMMARY - 40_000 < path.stat().st_size < github.MOST_SUMMARY
    assert path.read_text("utf-8").endswith("did not fit here; the JSON report has all.*\n\n")
    assert markdown.summary(report, 10) == ""
