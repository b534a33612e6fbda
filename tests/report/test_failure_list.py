"""What pytest lists at the end of a run: headings, what is red again, lines that fit, folded skips."""

from __future__ import annotations

from typing import Any

import pytest
from documents import case, fix, message, red

from pytest_ncnn_parity.report.text import failure_list, spec_names

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
        (45, "style_decoder:1"),
    ],
)
def test_a_heading_names_the_spec_as_far_as_it_fits(width: int, place: str) -> None:
    heading = failure_list.heading(of("face", "fp16-range"), width)
    assert heading == f"{place} face::fp16-range::sum"
    assert len(f"_ {heading} _") <= width


@pytest.mark.parametrize("width", [60, 70, 80])
def test_headings_of_equal_samples_in_two_specs_differ(width: int) -> None:
    specs = [f"all/models/{name}/decoder/decoder.parity.yaml" for name in ("a", "b")]
    levels = spec_names.levels(specs)
    shown = [failure_list.heading(of("face", "fp16-range", spec), width, levels) for spec in specs]
    assert len(set(shown)) == 2
    assert max(map(len, shown)) <= width - len("_  _")


def test_what_is_red_again_has_what_differs_alone() -> None:
    first = of("face", "fp16-vs-fp32-vulkan", details=["compared: a", "worst: 1"])
    second = of("other", "fp16-vs-fp32-vulkan", details=["compared: a", "worst: 2"])
    assert failure_list.again(second, first, [fix("sum")]) == [
        "sum (ReLU): inf on fp16-vs-fp32-vulkan in other (storage-overflow)",
        "  as face::fp16-vs-fp32-vulkan::sum above, but for:",
        "  worst: 2",
    ]


def test_a_fix_is_shown_again_where_it_differs() -> None:
    first, second = of("face", "fp16-vs-fp32-vulkan"), of("face", "fp16-range")
    same = [fix("sum"), fix("sum", "fp16-range", how="ran otherwise", cost=None)]
    assert not any("31=18" in line for line in failure_list.again(second, first, same) or [])
    unproven = [same[0], {**same[1], "verified": False}]
    again = failure_list.again(second, first, unproven)
    assert any("NOT verified" in line for line in again or [])
    none = [same[0], fix("sum", "fp16-range", masks={}, lines=[], how="all masks are wrong")]
    again = failure_list.again(second, first, none)
    assert "  no fix: all masks are wrong" in (again or [])


def test_an_error_is_shown_again_unless_it_is_the_same() -> None:
    """It has no parts; of a hundred cases that the same error ended one shows it."""
    error, same, other = (
        of(sample, "fp16-range", cause=None, **message(text))
        for sample, text in (("a", "no engine\nat x"), ("b", "no engine\nat x"), ("c", "another"))
    )
    assert failure_list.again(same, error, []) == ["no engine", "  as a::fp16-range::sum above"]
    assert failure_list.again(other, error, []) is None


def printed(*failed: Any, width: int = 80, specs: tuple[str, ...] = (SPEC,), prefix: int = 0) -> Any:
    """The lines as pytest prints them, which cuts what has no room; None for whole ids."""
    brief = failure_list.in_brief(failed, width, specs, prefix)
    lines = []
    for shown, reason in (brief[one["nodeid"]] for one in failed if brief):
        line = f"FAILED {shown} - {reason}"
        room = width - prefix
        lines.append(line if len(line) <= room else f"{line[: room - 3]}...")
    return lines or None


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (200, None),
        (104, f"FAILED {SPEC}::face::fp16-range::sum - headroom: inf on vulka..."),
        (86, "FAILED style_decoder.parity.yaml::face::fp16-range::sum - headroom: inf on vulkan f..."),
        (75, "FAILED style_decoder::face::fp16-range::sum - headroom: inf on vulkan fp..."),
        (54, "FAILED style_decoder::face::fp16-range::sum - headroom"),
        (50, "FAILED ...ecoder::face::fp16-range::sum - headroom"),
    ],
)  # fmt: skip
def test_of_a_long_line_the_id_is_shortened_and_not_the_cause(width: int, line: str | None) -> None:
    one = of("face", "fp16-range", cause="headroom")
    lines = printed(one, width=width)
    assert lines == (line and [line])
    assert printed(one, width=width + 2, prefix=2) == lines


def test_ids_are_shortened_alike_in_all_lines() -> None:
    """One that is too long by itself costs no other its name."""
    cases = [of(sample, "fp16-vs-fp32-vulkan") for sample in ("face", "another_face")]
    huge = of("face", "fp16-range")
    huge["nodeid"] = f"{SPEC}::face::fp16-range::{'layer_' * 20}"
    *lines, last = printed(*cases, huge)
    assert [line.partition("::")[0] for line in lines] == ["FAILED style_decoder"] * 2
    assert [line.partition(" - ")[2] for line in [*lines, last]] == [
        "storage-overflow",
        "storage-overflow",
        "storage-overflow",
    ]
    assert max(map(len, [*lines, last])) <= 80


def test_an_error_of_a_sample_is_its_reason_and_not_its_place() -> None:
    """The id names the spec already."""
    text = "/home/somebody/project/models/style_decoder.parity.yaml:4:5: inputs.in0: a.npy is a folder"
    error = of("face", "fp16-range", cause=None, **message(text))
    error["headline"] = "inputs.in0: a.npy is a folder"
    (line,) = printed(error)
    assert line == "FAILED style_decoder::face::fp16-range::sum - inputs.in0: a.npy is a folder"


@pytest.mark.parametrize("names", [("a", "b"), ("a/x/y/z", "b/x/y/z"), ("a" * 60 + "1", "a" * 60 + "2")])
@pytest.mark.parametrize("width", [60, 70, 80])
def test_specs_of_one_file_name_are_distinguished(names: tuple[str, str], width: int) -> None:
    specs = tuple(f"{name}/{'decoder' * 3}.parity.yaml" for name in names)
    cases = [of("face", "fp16-range", spec) for spec in specs]
    lines = printed(*cases, width=width, specs=specs)
    assert len(set(lines)) == 2
    assert all("storage-overflow" in line for line in lines)
    assert max(map(len, lines)) <= width


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
