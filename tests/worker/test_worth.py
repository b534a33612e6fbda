"""Whole numbers that the candidate has turned into others are counted, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.worker.judge.outputs.worth import other_numbers

LARGE = np.array([3001.0, -2049.0, 5.0, 0.0])


@pytest.mark.parametrize(
    ("reference", "half", "expected"),
    [
        (LARGE, "fp16", 2),
        (LARGE / 8.0, "fp16", 0),  # fractions are measurements
        (np.array([2047.0, 1.0]), "fp16", 0),
        (np.array([2047.0, 1.0]), "bf16", 1),
        (np.array([3001.0, np.inf]), "fp16", 0),
        (np.array([]), "fp16", 0),
    ],
)
def test_numbers_beyond_those_that_16_bits_all_have(
    reference: np.ndarray, half: str, expected: int
) -> None:
    if half == "fp16":
        candidate = reference.astype(np.float16).astype(np.float32)
    else:
        candidate = (reference.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert other_numbers(candidate, reference, half) == expected


def test_what_stays_nearest_to_its_own_number_is_no_other() -> None:
    assert other_numbers(LARGE + 0.3, LARGE, "fp16") == 0
