"""What a layer in int8 loses: of all it gives, of half its channels, without what its reader rounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_ncnn_parity.compare.int8 import judged_by_loss, loss, rounded_to_int8
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import QUANTIZED


def values(seed: int = 0, channels: int = 8) -> np.ndarray:
    return np.random.RandomState(seed).normal(0, 1, (channels, 8, 8)).astype(np.float32)


def test_it_is_signal_to_noise_in_decibels() -> None:
    reference = values()
    own = loss(reference * 1.1, reference)
    assert own.sqnr_db == pytest.approx(20.0, abs=1e-3)
    assert own.channels_db == pytest.approx(20.0, abs=1e-3)
    assert loss(reference, reference).sqnr_db == math.inf
    assert loss(np.full_like(reference, np.inf), reference).sqnr_db == -math.inf


def test_one_large_channel_does_not_hide_the_others() -> None:
    reference = values()
    reference[0] *= 300.0
    candidate = rounded_to_int8(reference, 127.0 / float(np.abs(reference).max()))
    own = loss(candidate, reference)
    assert own.sqnr_db > 35.0
    assert own.channels_db < 5.0
    metrics = judged_by_loss(compare(candidate, reference, QUANTIZED), own, QUANTIZED)
    assert not metrics.agrees
    assert "half of its channels" in metrics.failed[0]


def test_what_is_used_is_a_share_of_the_loss_that_is_allowed() -> None:
    reference = values()
    for factor, used in ((0.1, 10.0 ** (-5.0 / 20.0)), (0.05, 0.281), (0.2, 1.12), (0.0, 0.0)):
        candidate = (reference * (1.0 + factor)).astype(np.float32)
        own = loss(candidate, reference)
        metrics = judged_by_loss(compare(candidate, reference, QUANTIZED), own, QUANTIZED)
        assert metrics.used == pytest.approx(used, rel=0.01)
        assert metrics.agrees == (used <= 1.0)
    lost = loss(np.full_like(reference, np.nan), reference)
    assert judged_by_loss(compare(candidate, reference, QUANTIZED), lost, QUANTIZED).used == math.inf


def test_a_few_values_have_no_channels() -> None:
    reference = values()[:, :1, :1].ravel()
    own = loss(reference * 1.1, reference)
    assert own.channels_db == own.sqnr_db


@pytest.mark.parametrize("scale", [127.0 / 4.0, 2.0, 0.7])
def test_what_a_readers_scale_rounds_away_is_not_the_layers_loss(scale: float) -> None:
    reference = values()
    noise = np.random.RandomState(1).normal(0, 0.03, reference.shape)  # 30 dB
    candidate = rounded_to_int8((reference + noise).astype(np.float32), scale)
    clipped = np.clip(reference, -127.0 / scale, 127.0 / scale)
    own = loss(candidate, clipped, scale)
    assert own.allowed(20.0)
    metrics = judged_by_loss(compare(candidate, clipped, QUANTIZED), own, QUANTIZED)
    assert metrics.agrees


@pytest.mark.parametrize("scale", [127.0 / 4.0, 20.0])
def test_what_the_layer_loses_shows_behind_a_readers_scale(scale: float) -> None:
    reference = values()
    for factor in (0.25, 0.7, 4.0):
        candidate = rounded_to_int8(factor * reference, scale)
        own = loss(candidate, reference, scale)
        assert not own.allowed(QUANTIZED.sqnr_db)
        metrics = judged_by_loss(compare(candidate, reference, QUANTIZED), own, QUANTIZED)
        assert not metrics.agrees


def test_nan_is_not_forgiven() -> None:
    reference = values()
    candidate = reference.copy()
    candidate[0, 0, 0] = np.nan
    metrics = compare(candidate, reference, QUANTIZED)
    own = loss(candidate, reference)
    assert not own.allowed(15.0)
    assert not judged_by_loss(metrics, own, QUANTIZED).agrees


def test_a_user_may_ask_for_more() -> None:
    reference = values()
    candidate = reference * 1.1
    own = loss(candidate, reference)
    for least, agrees in ((15.0, True), (25.0, False)):
        asked = replace(QUANTIZED, sqnr_db=least)
        assert judged_by_loss(compare(candidate, reference, asked), own, asked).agrees == agrees
