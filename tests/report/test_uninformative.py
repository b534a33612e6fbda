"""Outputs that agree and say little have a note: a device that computes nothing might give the same."""

from __future__ import annotations

from typing import Any

import documents
import pytest

from pytest_ncnn_parity.report import uninformative


def output(sample: str, comparison: str = "shipped", **metrics: Any) -> Any:
    more = {"total": 9, "one_value": None, "digest": sample, "integers": False, **metrics}
    whole = {**documents.metrics(0.0), **more}
    return documents.case("", comparison, sample=sample, layer=None, output="out0", metrics=whole)


@pytest.mark.parametrize(
    ("cases", "note"),
    [
        ([output("a", one_value=0.0)], "output out0 holds nothing but 0 on both sides, so "),
        ([output("a", one_value=0.0), output("b", one_value=0.0)], "on both sides in all samples, so "),
        ([output("a", one_value=0.25), output("b")], "nothing but 0.25 on both sides in sample a, so "),
        ([output("a", total=0)], "lists no detection on both sides, so "),
        ([output("a", total=1, one_value=0.0)], "nothing but 0 on both sides, so "),
        ([output("a", one_value=0.0, integers=True)], "nothing but 0 on both sides, so "),
        ([output("a", digest="x"), output("b", digest="x")], "the same, bit for bit, in all 2 samples"),
        (
            [output("a", reference_absmax=0.002, allowed=0.01)],
            "holds nothing beyond 0.002, less than the error allowed, so ",
        ),
        ([output("a", total=1, one_value=1e-9, reference_absmax=1e-9, allowed=0.01)], "beyond 1e-09, "),
        (
            [output(s, "cpu-vs-vulkan", digest="x") for s in "ab"]
            + [output(s, digest="y") for s in "ab"],
            "the same, bit for bit, in all 2 samples",
        ),
    ],
)
def test_an_output_that_says_little_has_a_note(cases: list[Any], note: str) -> None:
    (line,) = uninformative.notes(cases)
    assert note in line


@pytest.mark.parametrize(
    "cases",
    [
        [output("a"), output("b")],
        [output("a", reference_absmax=0.02, allowed=0.01)],
        [output("a", integers=True, reference_absmax=0.0, allowed=0.01)],
        [output("a", total=1, one_value=0.5), output("b", total=1, one_value=0.75)],
        [output("a", total=1, one_value=0.0, integers=True)],
        [output(s, digest="x", integers=True) for s in "ab"],
        [output(s, digest="") for s in "ab"],
        [output("a", digest="x"), output("a", "cpu-vs-vulkan", digest="x")],
        [{**output("a", one_value=0.0), "outcome": "failed"}],
        [{**output("a", one_value=0.0), "output": None, "layer": "relu"}],
    ],
    ids=[
        "other",
        "beyond",
        "integer 0",
        "numbers",
        "class 0",
        "one class",
        "shapes",
        "one sample",
        "red",
        "layer",
    ],
)
def test_any_other_has_none(cases: list[Any]) -> None:
    assert uninformative.notes(cases) == []
