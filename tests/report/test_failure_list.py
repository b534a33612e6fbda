"""What pytest lists at the end of a run: headings, what is red again, lines that fit, folded skips."""

from __future__ import annotations

from typing import Any

import pytest
from documents import case, fix, message, red

from pytest_ncnn_parity.report.text import failure_list

SPEC = "models/style_decoder/style_decoder.parity.yaml"


def of(sample: str, comparison: str, spec: str = SPEC, **more: Any) -> Any:
    names = {"sample": sample, "comparison": comparison, "fix": comparison}
    text = f"sum (ReLU): inf on {comparison} in {sample} (storage-overflow)\n  compared: a"
    nodeid = f"{spec}::{sample}::{comparison}::sum"
    return red("sum", **{**names, "nodeid": nodeid, "message": text, **more})


@pytest.mark.parametrize(
    ("width", "place"),
    [
        (120, f"{SPEC}:1"),
        (72, ".../style_decoder/style_decoder.parity.yaml:1"),
        (60, ".../style_decoder.parity.yaml:1"),
        (45, "...er.parity.yaml:1"),
    ],
)
def test_a_heading_names_the_spec_as_far_as_it_fits(width: int, place: str) -> None:
    heading = failure_list.heading(of("face", "fp16-range"), width)
    assert heading == f"{place} face::fp16-range::sum"
    assert len(f"_ {heading} _") <= width


def test_headings_of_equal_samples_in_two_specs_differ() -> None:
    one, other = (of("face", "fp16-range", f"{name}/net.parity.yaml") for name in ("a", "b"))
    assert failure_list.heading(one, 80) != failure_list.heading(other, 80)


def test_what_is_red_again_has_what_differs_alone() -> None:
    first = of("face", "fp16-vs-fp32-vulkan", details=["compared: a", "worst: 1"])
    second = of("other", "fp16-vs-fp32-vulkan", details=["compared: a", "worst: 2"])
    assert failure_list.again(second, first, [fix("sum")]) == [
        "sum (ReLU): inf on fp16-vs-fp32-vulkan in other (storage-overflow)",
        "  as face::fp16-vs-fp32-vulkan::sum above, but for:",
        "  worst: 2",
    ]


def test_a_fix_is_told_again_where_it_is_another() -> None:
    first, second = of("face", "fp16-vs-fp32-vulkan"), of("face", "fp16-range")
    same = [fix("sum"), fix("sum", "fp16-range", how="ran otherwise", cost=None)]
    assert not any("31=18" in line for line in failure_list.again(second, first, same) or [])
    unproven = [same[0], {**same[1], "verified": False}]
    again = failure_list.again(second, first, unproven)
    assert any("NOT verified" in line for line in again or [])
    none = [same[0], fix("sum", "fp16-range", masks={}, lines=[], how="all masks are wrong")]
    again = failure_list.again(second, first, none)
    assert "  no fix: all masks are wrong" in (again or [])


def test_an_error_is_told_again_unless_it_is_the_same() -> None:
    """It has no parts; of a hundred cases that the same error ended one tells it."""
    error, same, other = (
        of(sample, "fp16-range", cause=None, **message(text))
        for sample, text in (("a", "no engine\nat x"), ("b", "no engine\nat x"), ("c", "another"))
    )
    assert failure_list.again(same, error, []) == ["no engine", "  as a::fp16-range::sum above"]
    assert failure_list.again(other, error, []) is None


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, None),
        (80, "style_decoder.parity.yaml::face::fp16-range::sum"),
        (68, "style_decoder::face::fp16-range::sum"),
        (60, "...oder::face::fp16-range::sum"),
    ],
)
def test_of_a_long_line_the_id_is_shortened_and_not_the_cause(width: int, shown: str | None) -> None:
    one = of("face", "fp16-range", cause="headroom")
    brief = failure_list.in_brief(one, width)
    assert (brief and brief[0]) == shown
    if brief is not None:
        assert brief[1].startswith("headroom: inf on vulkan")
        assert len(f"FAILED {brief[0]} - ") + failure_list.LEAST_REASON <= width
        assert failure_list.in_brief(one, width + 2, prefix=2) == brief


def test_an_id_is_not_shortened_to_what_another_spec_is_called() -> None:
    one = of("face", "fp16-range")
    shown, _ = failure_list.in_brief(one, 80, ["old/style_decoder.parity.yaml"]) or ("", "")
    assert shown == "...tyle_decoder.parity.yaml::face::fp16-range::sum"


def test_the_longest_cause_stands_whole() -> None:
    one = of("face", "fp16-vs-fp32-vulkan", cause="accumulator-overflow")
    shown, reason = failure_list.in_brief(one, 80) or ("", "")
    line = f"FAILED {shown} - {reason}"
    assert "accumulator-overflow" in line[: 80 - len("...")]


def test_skips_of_one_reason_are_one_entry_that_fits() -> None:
    spec_b = "b/net.parity.yaml"
    skipped = [
        case(name, comparison, nodeid=f"{spec}::{sample}::{comparison}::{name}", **message(reason))
        for reason, comparison in (
            ("short", "fp16-vs-fp32-cpu"),
            ("long " * 30, "cpu-vs-vulkan"),
            ("long " * 30, "fp16-vs-fp32-vulkan"),
        )
        for spec in (SPEC, spec_b)
        for sample in ("face", "other")
        for name in ("l1", "l2")
    ]
    entries = failure_list.folded(skipped, 80)  # type: ignore[arg-type]
    assert set(entries) == {one["nodeid"] for one in skipped}
    short, long = dict.fromkeys(entries.values())
    assert short == ("fp16-vs-fp32-cpu", "short")
    assert long[0] == "cpu-vs-vulkan, fp16-vs-fp32-vulkan"
    lines = f"SKIPPED [16] {long[0]}: {long[1]}".split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    many = [case("l", f"comparison-{n}", nodeid=f"{n}", **message("no")) for n in range(9)]
    assert {place for place, _ in failure_list.folded(many, 80).values()} == {"9 comparisons"}  # type: ignore[arg-type]
