"""What is picked out of the figures: the worst that passed, the headroom, the devices."""

from __future__ import annotations

from typing import Any

import pytest
from documents import case, metrics

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.report import highlights

ATOL = {"atol": 1.0, "rtol": 0.0, "scaled": 0.0, "cosine": None, "sqnr_db": None}


def test_the_worst_is_the_one_that_used_most_of_its_tolerance() -> None:
    """1e-9 of a budget given as atol alone is not worse than 99 % of it."""
    cases = [
        case("tiny", metrics=metrics(1e-9, used=1e-9), tolerance=ATOL),
        case("near", metrics=metrics(0.99, used=0.99), tolerance=ATOL),
        case("half", metrics=metrics(0.02, used=0.5)),
        case("red", outcome="failed", metrics=metrics("inf")),
        case("skipped", outcome="skipped", metrics=None),
    ]
    assert [highlights.name(one) for one in highlights.worst(cases)] == ["near", "half", "tiny"]


@pytest.mark.parametrize(
    ("tolerance", "allowed"),
    [
        ({}, "0.05 allowed"),
        ({"scaled": 0.0, "rtol": 0.01}, "rtol 0.01, atol 6e-08 allowed"),
        ({"scaled": 0.0, "atol": 0.0}, "nothing allowed"),
    ],
)
def test_share_names_what_is_allowed(tolerance: dict[str, float], allowed: str) -> None:
    one = case("a")
    assert highlights.share({**one, "tolerance": {**one["tolerance"], **tolerance}}).endswith(allowed)


def test_share_of_what_may_be_larger_than_it_is_in_the_output_s_own_units() -> None:
    one = case("a", metrics={**metrics(0.756, 0.0015), "max_abs": 0.00115, "allowed": 0.01})
    assert highlights.share(one) == "max_abs 0.00115 of 0.01 allowed"


def test_share_has_the_loss_where_that_is_judged() -> None:
    one = case("a")
    one["tolerance"]["sqnr_db"], one["metrics"]["sqnr_db"] = 15.0, 24.25
    assert highlights.share(one).startswith("sqnr 24.2 dB, 15 or more allowed; max_abs ")


def test_what_passed_out_of_tolerance_says_why() -> None:
    why = "3 of 5000 int8 values are off by one step"
    passed = case("a", metrics=metrics(0.06, mismatched=3), message=why)
    assert highlights.share(passed).endswith(f"0.05 allowed; {why}")
    assert highlights.share({**passed, "metrics": metrics(0.04)}).endswith("0.05 allowed")
    assert highlights.share({**passed, "outcome": "failed"}).endswith("0.05 allowed")


@pytest.mark.parametrize(
    ("largest", "text"),
    [
        (0.5, "131008x"),
        (6550.4, "10x: a reaches 6550.4 of 65504"),
        (65510.0, "1x: a reaches 65510 of 65504"),  # which rounds to 65504
        (65520.0, "none: a reaches 65520, and fp16 ends at 65504"),
        (70000.0, "none: a reaches 70000, and fp16 ends at 65504"),
    ],
)
def test_headroom_is_of_values_that_fp16_is_to_hold(largest: float, text: str) -> None:
    held = case("a", metrics=metrics(0.001, largest))
    not_held: Any = case("b", "cpu-vs-vulkan", metrics=metrics(0.001, 1e9), execution="vulkan fp32")
    assert highlights.headroom([held, not_held]) == text
    inside: Any = {"kernel": "winograd F(4,3)", "stored": 52403.2}
    smaller = case("c", metrics=metrics(0.001, 0.5), inside=inside)
    nearest = "1.25x: c reaches 52403.2 in winograd F(4,3) of 65504"
    assert highlights.headroom([held, smaller]) == (text if largest > FP16_MAX else nearest)
    assert highlights.headroom([not_held]) == ""


def test_headroom_has_the_number_that_the_range_of_the_layer_has() -> None:
    """The device's own fp32 differs in the last digits, and a layer with two largest values puzzles."""
    on_device = case("a", metrics=metrics("inf", 70001.0))
    in_range = case("a", "fp16-range", metrics=metrics("inf", 70000.0))
    other_sample: Any = {**on_device, "sample": "other"}
    assert "a reaches 70000," in highlights.headroom([on_device, in_range])
    assert "a reaches 70001," in highlights.headroom([on_device, in_range, other_sample])


def test_where_no_worker_ran_no_version_is_named() -> None:
    nothing: Any = {"models": [], "environment": {"ncnn": None, "devices": []}}
    assert highlights.where(nothing) == ["ncnn did not run here"]
