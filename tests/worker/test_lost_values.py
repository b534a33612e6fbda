"""Which of two effects on a layer explains the other."""

from __future__ import annotations

import pytest

from pytest_ncnn_parity.engine.evidence import Underflow
from pytest_ncnn_parity.worker.judge.fp16.lost_values import NO_EFFECT, Effect


def wrong(nonfinite: int) -> Effect:
    return NO_EFFECT._replace(wrong=Underflow("a", "a", 1, "b", "Log", 1, 0.5, nonfinite))


@pytest.mark.parametrize(
    ("one", "other", "explains"),
    [
        (wrong(0), wrong(0), True),
        (wrong(3), wrong(0), True),
        (wrong(3), wrong(3), True),
        (wrong(0), wrong(3), False),  # where inf or nan comes from is not explained
        (NO_EFFECT, wrong(0), False),
        (NO_EFFECT, NO_EFFECT, False),
        (wrong(0), NO_EFFECT, True),
    ],
)
def test_an_effect_explains_another_if_it_is_as_wrong(
    one: Effect, other: Effect, explains: bool
) -> None:
    assert one.breaks_as(other) is explains
