"""A fix in words: what is said first, and what of it at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.report.document.fix import AlternativeRecord, CostRecord, FixRecord
from pytest_ncnn_parity.report.highlights import RANGE
from pytest_ncnn_parity.report.text import fix_text

pytestmark = pytest.mark.once


def fix(count: int, *alternatives: AlternativeRecord) -> FixRecord:
    """A verified fix of `count` masks."""
    names = [f"conv_{number}" for number in range(count)]
    return {
        "comparison": "shipped",
        "masks": dict.fromkeys(names, 18),
        "verified": True,
        "minimal": True,
        "lines": [f"Convolution {name} 31=18" for name in names],
        "before": [f"Convolution {name}" for name in names],
        "how": "outputs within 0.01",
        "errors": [1.0, 0.01],
        "notes": [],
        "runs": 7,
        "seconds": 1.5,
        "start": "every layer",
        "cost": None,
        "alternatives": list(alternatives),
        "patch": "",
        "written": [],
    }


def option(precision: str = "fp16-storage", **changes: Any) -> AlternativeRecord:
    setup = {"device": "vulkan", "precision": precision, "options": {}}
    values = {"name": "the option", "setup": setup, "problem": "", "worst": 0.02, "ms": 3.0, **changes}
    return AlternativeRecord(**values)  # type: ignore[typeddict-item]


def test_masks_come_before_what_else_there_is() -> None:
    first, *rest = fix_text.lines(fix(3, option()))
    assert first == "fix (verified, minimal): 3 lines of the .param"
    assert "  instead: the option is right as well: outputs within 0.02, 3 ms" in rest


def test_several_outputs_are_distinguished() -> None:
    one = fix(1)
    one["outputs"] = [{"output": "boxes", "before": "inf", "after": 0.01}]
    assert not any("boxes" in line for line in fix_text.lines(one)), "the line above says it"
    one["outputs"].append({"output": "scores", "before": 0.002, "after": None})
    shown = list(fix_text.lines(one))
    assert "    boxes: 0.01, before inf" in shown
    assert "    scores: not run, before 0.002" in shown


def test_files_are_named_from_the_working_directory_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = fix(1)
    one["written"] = [str(tmp_path / "fixes" / "a.param"), "/elsewhere/a.patch"]
    assert list(fix_text.lines(one))[-3:] == [
        "  written:",
        "    fixes/a.param",
        "    /elsewhere/a.patch",
    ]


def test_an_option_that_does_what_dozens_of_masks_do_comes_first() -> None:
    many = fix(40, option())
    first, second, *rest = fix_text.lines(many)
    assert first == "fix: the option is right: outputs within 0.02, 3 ms"
    assert second == "  or, by masks (verified, minimal), 40 lines of the .param"
    assert "    ... and 28 more" in rest
    assert not any("instead" in line for line in rest), "it is said once"
    assert fix_text.masks(many).startswith("fix: the option is right: outputs within 0.02, 3 ms; or 40 ")


@pytest.mark.parametrize(
    "other", [option(problem="out0 has 3 nan"), option(worst=0.1), option("bf16"), option("fp32")]
)
def test_nothing_else_comes_first(other: AlternativeRecord) -> None:
    first, *_ = fix_text.lines(fix(40, other))
    assert first == "fix (verified, minimal): 40 lines of the .param"
    assert fix_text.masks(fix(40, other)).endswith("conv_11 31=18 and 28 more")


def test_layers_to_leave_in_floats_are_listed_with_the_lines_of_the_table() -> None:
    names = [f"conv_{number}" for number in range(fix_text.MAX_LINES + 2)]
    floats = fix(0)
    floats["in_float"] = names[:2]
    floats["lines"] = [f"#{key}" for name in names[:2] for key in (f"{name}_param_0", name)]
    first, *rest = fix_text.lines(floats)
    assert first.startswith("fix (verified, minimal): leave conv_0, conv_1 in floats, 4 lines")
    assert [line.strip() for line in rest[:4]] == floats["lines"]
    assert "  outputs within 0.01" in rest, "what it was before stands there already"
    assert fix_text.masks(floats) == "fix (verified, minimal): leave conv_0, conv_1 in floats"
    floats["in_float"] = names
    assert fix_text.in_floats(floats).endswith(" and 2 more in floats")
    assert fix_text.in_floats(fix(1)) == ""


@pytest.mark.parametrize(("rounds", "how"), [(1, "one run each"), (9, "medians of 9")])
def test_a_cost_says_how_it_was_measured(rounds: int, how: str) -> None:
    price: CostRecord = {
        "before_ms": 20.0,
        "after_ms": 30.0,
        "rounds": rounds,
        "moved": 1,
        "left": 3,
        "uploads": [0, 2],
        "downloads": [1, 2],
    }
    text = fix_text.cost(price)
    assert text == f"20 -> 30 ms ({how}), 1 of 4 layers leave the GPU, +2 uploads, +1 download"


def test_a_prediction_belongs_to_the_verified_fix_that_has_all_of_its_masks() -> None:
    """fp16-range needs fewer masks than Vulkan does, and its own cannot be proven there."""
    whole, part, own = fix(4), fix(2), fix(2)
    for one, name in ((part, RANGE), (own, "own")):
        one["comparison"], one["verified"] = name, False
    assert fix_text.alike([part, own, whole]) == [[own], [whole, part]], "own was run, and is wrong"
    assert fix_text.alike([part, whole], apart=True) == [[part], [whole]]
    for masks in ({"conv_0": 18, "conv_9": 18}, {"conv_1": 64}, {}):
        other: FixRecord = {**part, "masks": masks}
        assert fix_text.alike([other, whole]) == [[other], [whole]]
    whole["verified"] = False
    assert fix_text.alike([part, whole]) == [[part], [whole]]
