"""What was folded into another layer since a saved report has not vanished; what was left out has."""

from __future__ import annotations

from typing import Any

import graphs
import pytest
import reports

from pytest_ncnn_parity.baseline import compared

PLAIN = "Convolution conv in0 a 0=8 1=3 6=72"
BIASED = "Convolution conv in0 {} 0=8 1=3 5=1 6=72"
NORM, RELU, END = "BatchNorm norm a b 0=8", "ReLU relu b c", "Softmax end c out0"
ACTIVATES = f"{BIASED.format('c')} 9=1"


def report(*lines: str, **largest: float) -> Any:
    """The report of these `lines`; `largest`: the largest value of layers where it is not 1."""
    found = reports.report(graphs.network(*lines))
    for case in found["models"][0]["cases"]:
        case["metrics"]["reference_absmax"] = largest.get(case["layer"] or "", 1.0)
    return found


def regressions(old: Any, new: Any) -> list[tuple[str, str, str | None]]:
    found = compared(old, new, 2.0).regressions
    return [(one["kind"], one["name"], one["was"]) for one in found]


VANISHED = ("vanished", "norm", None), ("vanished", "relu", None)


@pytest.mark.parametrize(
    ("then", "now", "values", "vanished"),
    [
        # the line states it: a bias that there was not, an activation
        ((PLAIN, NORM, RELU, END), (ACTIVATES, END), {"conv": 3.0}, ()),
        ((PLAIN, RELU.replace("b", "a"), END), (f"{PLAIN} 9=1".replace(" a ", " c "), END), {}, ()),
        # the values do: they are as large
        ((BIASED.format("a"), NORM, RELU, END), (ACTIVATES, END), {}, ()),
        ((BIASED.format("a"), NORM, RELU, END), (ACTIVATES, END), {"conv": 1.005}, ()),
        # nothing does
        ((BIASED.format("a"), NORM, RELU, END), (ACTIVATES, END), {"conv": 3.0}, VANISHED),
        ((PLAIN, NORM, RELU, END), (BIASED.format("c"), END), {}, VANISHED[1:]),
        (
            (PLAIN, NORM, RELU, END),
            (PLAIN.replace(" a ", " b "), RELU, END),
            {"conv": 3.0},
            VANISHED[:1],
        ),
    ],
    ids=[
        "a bias is new",
        "an activation is new",
        "as large",
        "rounded to fp16",
        "otherwise",
        "no activation",
        "left out",
    ],
)
def test_what_was_folded_has_not_vanished_and_what_was_left_out_has(
    then: tuple[str, ...],
    now: tuple[str, ...],
    values: dict[str, float],
    vanished: tuple[tuple[str, str, None], ...],
) -> None:
    assert regressions(report(*then), report(*now, **values)) == [*vanished]


FP16 = "fp16-vs-fp32-vulkan"


def test_the_layer_is_compared_with_the_last_one_that_was_folded_into_it() -> None:
    """The values in front of a BatchNorm are none of the network's any more."""
    old = report(PLAIN, NORM, RELU, END, conv=9000.0, relu=5000.0)
    new = report(ACTIVATES, END, conv=9000.0)
    same = report(ACTIVATES, END, conv=5000.0)
    for one in (new, same):
        reports.set_error(reports.case(one, "conv", FP16), 0.03)
    assert regressions(old, same) == [("error", "conv", "relu")]
    assert regressions(report(PLAIN, NORM, RELU, END, conv=9000.0), new) == [
        ("error", "conv", "relu"),
        ("headroom", "conv", "relu"),
    ]


@pytest.mark.parametrize(
    ("layer", "before", "worse"), [("conv", 0.02, 0), ("norm", 0.02, 0), ("conv", 0.01, 1)]
)
def test_its_error_is_compared_with_the_largest_of_what_it_does_now(
    layer: str, before: float, worse: int
) -> None:
    """A ReLU has no error of its own, so the Convolution that it was folded into is not worse."""
    old, new = report(PLAIN, NORM, RELU, END), report(ACTIVATES, END)
    reports.set_error(reports.case(old, layer, FP16), before)
    reports.set_error(reports.case(new, "conv", FP16), 0.03)
    assert regressions(old, new) == [("error", "conv", "relu")] * worse


def test_it_is_not_newly_red_where_what_was_folded_into_it_was_red() -> None:
    old, new = report(PLAIN, NORM, RELU, END), report(ACTIVATES, END)
    for one, layer in ((old, "conv"), (new, "conv")):
        reports.case(one, layer, FP16)["outcome"] = "failed"
    assert regressions(old, new) == []
    reports.case(old, "conv", FP16)["outcome"] = "passed"
    assert regressions(old, new) == [("red", "conv", "relu")]
