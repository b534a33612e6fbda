"""What a run says to the machines that run it: annotations, step summaries, JUnit, workflow files."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET

import networks
import pytest
import yaml
from conftest import ROOT, Gate
from markdown_it import MarkdownIt

from pytest_ncnn_parity.options import TABLE

pytestmark = pytest.mark.once


@pytest.fixture
def red(pytester: pytest.Pytester) -> None:
    (pytester.path / "models").mkdir()
    networks.underflow(pytester.path / "models")
    networks.spec(
        pytester.path / "models",
        "inputs:\n  zeros: {in0: {constant: -1}}\ncompare: [fp16-vs-fp32-vulkan, fp16-range]\n",
    )


@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
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
    assert text.startswith("# what the step wrote before\n## ncnn parity in ")
    html = MarkdownIt().enable("table").render(text)
    assert f"<h2>ncnn parity in {pytester.path.name}: 3 failed, 8 passed, 2 skipped</h2>" in html
    assert "<td>fp16-vs-fp32-vulkan</td>" in html
    assert "<li>eps (BinaryOp): 16 values become 0 in fp16" in html
    assert '<code class="language-diff">--- a/models/net.param' in html


@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_spec_that_is_not_usable_is_annotated_at_its_first_error(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "masks: {l9: 18}\n")
    text = (pytester.path / "net.parity.yaml").read_text("utf-8")
    line = text[: text.index("masks:")].count("\n") + 1
    run = gate(*args)
    (error,) = run.report["errors"]
    assert error["place"] == {"line": line, "column": 9}
    (annotation,) = (row for row in run.output.splitlines() if row.startswith("::error "))
    assert f"net.parity.yaml,line={line},title=spec not usable::" in annotation


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


def test_junit_properties(gate: Gate, pytester: pytest.Pytester, red: None) -> None:
    gate("--junitxml=junit.xml", "--ncnn-parity-fix=off")
    root = ET.parse(pytester.path / "junit.xml").getroot()
    reported = {
        (str(case.get("classname")), case.get("name")): {
            p.get("name"): p.get("value") for p in case.iter("property")
        }
        for case in root.iter("testcase")
    }
    (relu,) = (p for (_, name), p in reported.items() if name == "relu" and "ncnn_parity_device" in p)
    assert relu["ncnn_parity_type"] == "ReLU"
    assert float(str(relu["ncnn_parity_allowed_scaled"])) == 0.05
    assert float(str(relu["ncnn_parity_reference_absmax"])) == 0.0


BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text("utf-8"), re.DOTALL)


def test_the_workflows_in_the_docs() -> None:
    with_action, actions, cached, gitlab, _ = (yaml.safe_load(block) for block in BLOCKS)
    own = with_action["jobs"]["gate"]["steps"][-1]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"]
    assert "/pytest-ncnn-parity@v" in own["uses"]
    assert own["with"].keys() <= inputs.keys()
    steps = actions["jobs"]["gate"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert True in actions, "the key 'on', which YAML 1.1 reads as a boolean, as GitHub does not"
    job = gitlab["ncnn-parity"]
    driver = ["apt-get install -y mesa-vulkan-drivers"]
    with_cache = driver + [step["run"] for step in cached if "run" in step]
    for commands in (runs, with_cache, job["before_script"] + job["script"]):
        whole = "\n".join(commands)
        assert "mesa-vulkan-drivers" in whole
        (gate,) = (shlex.split(line) for line in whole.splitlines() if line.startswith("pytest "))
        flags = {option.flag for option in TABLE.values()} | {"--ncnn-parity", "--junitxml"}
        assert {word.partition("=")[0] for word in gate[1:]} <= flags
        assert "--ncnn-parity-require-vulkan" in gate
    assert job["artifacts"]["reports"]["junit"] in job["script"][0]
