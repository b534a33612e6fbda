"""Where a network is red on noise alone, its report says first that the input may be at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import documents
import pytest
from markdown_it import MarkdownIt

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.report import input_doubt
from pytest_ncnn_parity.report.html.page import render
from pytest_ncnn_parity.report.text import markdown, terminal
from pytest_ncnn_parity.spec import spec, yaml12

NOISE = {"noise": {"in0": [3, 8, 8]}, "more": {"in0": [3, 16, 16]}}


def red(sample: str, cause: str | None = "precision", largest: float = 3e8) -> Any:
    metrics = documents.metrics("inf", largest)
    return documents.case("conv", sample=sample, outcome="failed", cause=cause, metrics=metrics)


def green(sample: str) -> Any:
    return documents.case("conv", sample=sample)


def doubt(*cases: Any) -> list[str]:
    network: Any = {"noise": NOISE}
    return input_doubt.lines(network, cases)


@pytest.mark.parametrize(
    "cases",
    [[red("noise")], [red("noise"), green("photo")], [red("noise"), red("more"), green("photo")]],
    ids=["noise", "a picture is green", "noise twice"],
)
def test_red_on_noise_alone_is_the_inputs_first(cases: list[Any]) -> None:
    first, *lines = doubt(*cases)
    assert all(case["sample"] in first for case in cases if case["outcome"] == "failed")
    assert "3e+08" in first
    assert len(lines) == 3


@pytest.mark.parametrize(
    "cases",
    [
        [green("noise")],
        [red("noise"), red("photo")],
        [red("noise"), red("photo", "device")],
        [red("noise", "device")],
        [red("noise", "crash")],
        [red("noise", None)],
        [red("photo"), green("noise")],
    ],
    ids=["green", "both", "both, otherwise", "device", "crash", "no cause", "a picture"],
)
def test_elsewhere_nothing_is_said_of_the_input(cases: list[Any]) -> None:
    assert doubt(*cases) == []


def test_values_that_did_not_blow_up_are_not_mentioned() -> None:
    assert "values" not in doubt(red("noise", largest=3.0))[0]


def test_its_lines_are_samples_of_a_spec() -> None:
    spec = yaml12.load("\n".join(["inputs:", *doubt(red("noise"))[1:]])).data
    sources = [sample["in0"] for sample in spec["inputs"].values()]
    assert [next(iter(source)) for source in sources] == ["random", "image", "file"]
    assert sources[0]["shape"] == [3, 8, 8]


@pytest.mark.parametrize(
    ("shapes", "picture"),
    [
        ({"in0": [32]}, None),
        ({"in0": [16, 8, 8]}, None),
        ({"in0": [1, 8, 8]}, {"in0": {"image": "picture.png", "color": "gray"}}),
        (
            {"in0": [3, 8, 8], "style": [512]},
            {"in0": {"image": "picture.png"}, "style": {"file": "recorded.npy"}},
        ),
    ],
)
def test_a_picture_is_advised_where_the_input_may_be_one(
    shapes: dict[str, list[int]], picture: object
) -> None:
    network: Any = {"noise": {"noise": shapes}}
    samples = input_doubt.lines(network, [red("noise")])[1:]
    advised = yaml12.load("\n".join(["inputs:", *samples])).data
    assert advised["inputs"].get("picture") == picture
    assert advised["inputs"]["recorded"] == {blob: {"file": "recorded.npy"} for blob in shapes}


def test_what_is_smooth_already_is_doubted_without_advice_to_feed_that() -> None:
    network: Any = {"noise": NOISE, "smooth": ["more"]}
    first, *samples = input_doubt.lines(network, [red("more")])
    assert "more" in first
    assert [line.split(":")[0].strip() for line in samples] == ["picture", "recorded"]
    assert len(input_doubt.lines(network, [red("noise"), red("more")])) == 4


HEARD = """\
7767517
5 6
Input         wave 0 1 wave
Input         h    0 1 h
Convolution1D conv 1 1 wave a 0=8 1=16 5=0 6=128
Permute       turn 1 1 a b 0=1
GRU           gru  2 2 b h out0 h1 0=4 1=96
"""


@pytest.mark.parametrize(
    ("wave", "state", "is_smooth"),
    [("smooth", "normal", True), ("normal", "normal", False), ("normal", "smooth", False),
     ("smooth", "smooth", True)],
)  # fmt: skip
def test_states_need_not_be_smooth_beside_a_wave(
    wave: str, state: str, is_smooth: bool, tmp_path: Path
) -> None:
    text = (
        "model: {param: net.param, bin: net.bin}\ninputs: {s: {"
        f"wave: {{random: {wave}, shape: [1, 99]}}, h: {{random: {state}, shape: [1, 4]}}}}}}\n"
    )
    (tmp_path / "net.parity.yaml").write_text(text, "utf-8")
    plan = Plan(spec.load(tmp_path / "net.parity.yaml"), param.parse(HEARD, "net.param"))
    assert input_doubt.smooth(plan) == ["s"] * is_smooth


def test_every_report_says_it_before_what_is_red() -> None:
    case = {**red("noise"), **documents.message("conv: is wrong (precision)")}
    lines = doubt(case)
    model = documents.model([case], [documents.layer("conv")], noise=NOISE, input_doubt=lines)
    document = documents.document(model)
    on_terminal = "\n".join(line for line, _ in terminal.summary(document, 0, 1000))
    in_markdown = MarkdownIt().render(markdown.summary(document, 100_000))
    for text in (on_terminal, in_markdown, render(document)):
        said = text.index("the input may be at fault")
        assert said < text.index("{random: smooth") < text.index("is wrong")
        assert text.count("the input may be at fault") == 1, "and once"
