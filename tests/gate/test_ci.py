"""What a run says to the machines that run it: annotations, step summaries, JUnit, workflow files."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import networks
import pytest
import yaml
from conftest import ROOT, Gate
from markdown_it import MarkdownIt

from pytest_ncnn_parity.options import TABLE
from pytest_ncnn_parity.report.text import github, markdown

pytestmark = pytest.mark.once

ACTIONS = {"GITHUB_ACTIONS": "true"}


@pytest.fixture
def red(pytester: pytest.Pytester) -> None:
    (pytester.path / "models").mkdir()
    networks.underflow(pytester.path / "models")
    networks.spec(
        pytester.path / "models",
        "inputs:\n  zeros: {in0: {constant: -1}}\ncompare: [fp16-vs-fp32-vulkan, fp16-range]\n",
    )


@pytest.mark.usefixtures("red")
@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_annotations_and_step_summary(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    summary = pytester.path / "summary.md"
    summary.write_text("# what the step wrote before\n", "utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    run = gate(*args)
    lines = [line for line in run.output.splitlines() if line.startswith("::")]
    layer, output = (re.fullmatch(r"::error ([^:]*)::(.*)", line) for line in lines)
    assert layer is not None
    assert output is not None
    place = f"file={pytester.path.name}/models/net.parity.yaml,line=3,title="
    assert layer.group(1) == place + "eps%3A underflow (fp16-vs-fp32-vulkan)"
    assert layer.group(2).startswith("eps (BinaryOp): 16 values become 0 in fp16, and rsqrt")
    assert "%0A  fix (verified, minimal): 3 lines of the .param%0A" in layer.group(2)
    assert output.group(1).startswith(place + "output out0%3A underflow")

    text = summary.read_text("utf-8")
    assert text.startswith("# what the step wrote before\n## ncnn parity: ")
    html = MarkdownIt().enable("table").render(text)
    assert "<h2>ncnn parity: 8 passed, 3 failed, 2 skipped</h2>" in html
    assert "<td>fp16-vs-fp32-vulkan</td>" in html
    assert "<li>eps (BinaryOp): 16 values become 0 in fp16" in html
    assert '<code class="language-diff">--- a/models/net.param' in html


@pytest.mark.usefixtures("red")
def test_elsewhere_nothing_of_it(gate: Gate) -> None:
    assert "::error" not in gate("--ncnn-parity-fix=off").output


@pytest.mark.usefixtures("red")
def test_a_summary_that_cannot_be_written_is_said(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path))
    run = gate("--ncnn-parity-fix=off", "-k", "relu")
    assert run.result.ret == pytest.ExitCode.OK
    run.result.stdout.fnmatch_lines(["WARNING: GITHUB_STEP_SUMMARY=*: cannot be written: *"])


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


def annotated(told: dict[str, Any]) -> list[str]:
    return list(github.annotated(told, ACTIONS, Path("/repo")))


def test_the_ten_annotations_that_say_most() -> None:
    many = [case(0, output=True), *(case(n) for n in range(1, 30)), *(case(n) for n in range(1, 5))]
    lines = annotated(document(many, [case(50)]))
    assert len(lines) == github.MOST_ANNOTATIONS
    titles = [str(re.search(r"title=([\w ]+)", line)) for line in lines]
    assert "l1" in titles[0], "layers before outputs"
    assert "l50" in titles[1], "every model has its turn"
    assert lines[-1] == (
        "::error title=ncnn parity::22 more layers and outputs are red: see the log or the reports"
    )
    assert len(annotated(document([case(n) for n in range(10)]))) == 10


def test_annotations_are_escaped() -> None:
    told = document([case(1)])
    told["errors"] = [{"spec": "a,b:c%.parity.yaml", "message": "/x/a,b:c%.parity.yaml:7:1: wrong\nand"}]
    first, second = annotated(told)
    assert first == (
        "::error file=a%2Cb%3Ac%25.parity.yaml,line=7,title=spec not usable"
        "::/x/a,b:c%25.parity.yaml:7:1: wrong%0Aand"
    )
    assert second.endswith("::l1: 100 %25 off, quite%0Afurther: more")


def test_a_run_cut_short_and_one_that_compared_nothing() -> None:
    told = document([{**case(1), "outcome": "skipped"}])
    told |= {"complete": False, "stopped": "interrupted"}
    assert annotated(told) == [
        "::error title=ncnn parity%3A cut short::interrupted",
        "::warning file=m0.parity.yaml,line=1,title=nothing was compared::l1: 100 %25 off, quite%0A"
        "further: more",
    ]


def test_a_summary_stays_under_githubs_limit(tmp_path: Path) -> None:
    told = document(*([case(n)] for n in range(300)), patch="+ä" * 5000)
    path = tmp_path / "summary.md"
    path.write_text("x" * 100_000, "utf-8")
    assert github.write_summary(told, {"GITHUB_STEP_SUMMARY": str(path)}) == ""
    assert github.MOST_SUMMARY - 40_000 < path.stat().st_size < github.MOST_SUMMARY
    assert path.read_text("utf-8").endswith("did not fit here; the JSON report has all.*\n\n")
    assert markdown.summary(told, 10) == ""


def test_junit_properties(gate: Gate, pytester: pytest.Pytester, red: None) -> None:
    gate("--junitxml=junit.xml", "--ncnn-parity-fix=off")
    root = ET.parse(pytester.path / "junit.xml").getroot()
    found = {
        (str(case.get("classname")), case.get("name")): {
            p.get("name"): p.get("value") for p in case.iter("property")
        }
        for case in root.iter("testcase")
    }
    (relu,) = (p for (_, name), p in found.items() if name == "relu" and "ncnn_parity_device" in p)
    assert relu["ncnn_parity_type"] == "ReLU"
    assert float(str(relu["ncnn_parity_allowed_scaled"])) == 0.05
    assert float(str(relu["ncnn_parity_reference_absmax"])) == 0.0


BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text("utf-8"), re.DOTALL)


def test_the_workflows_in_the_docs() -> None:
    actions, gitlab = (yaml.safe_load(block) for block in BLOCKS)
    steps = actions["jobs"]["gate"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert True in actions, "the key 'on', which YAML 1.1 reads as a boolean, as GitHub does not"
    job = gitlab["ncnn-parity"]
    for commands in (runs, job["before_script"] + job["script"]):
        whole = "\n".join(commands)
        assert "mesa-vulkan-drivers" in whole
        (gate,) = (shlex.split(line) for line in whole.splitlines() if line.startswith("pytest "))
        flags = {option.flag for option in TABLE.values()} | {"--ncnn-parity", "--junitxml"}
        assert {word.partition("=")[0] for word in gate[1:]} <= flags
        assert "--ncnn-parity-require-vulkan" in gate
    assert job["artifacts"]["reports"]["junit"] in job["script"][0]
