"""Compares one value with its reference by everything that is known about it. Runs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.edges import with_edges_forgiven
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.nature import UNKNOWN, Nature
from pytest_ncnn_parity.compare.scales import scale_of
from pytest_ncnn_parity.compare.scattered import with_scattered_forgiven
from pytest_ncnn_parity.compare.tolerance import Tolerance


def judge(
    candidate: Array,
    reference: Array,
    tolerance: Tolerance,
    nature: Nature = UNKNOWN,
    whole: bool = False,
) -> Metrics:
    """Compare arrays of one shape. `whole`: they are outputs of a whole network, not of one layer."""
    if nature.integers:
        return replace(compare(candidate, reference, Tolerance()), integers=True)
    if nature is UNKNOWN and not whole:
        return compare(candidate, reference, tolerance)
    known = whole or nature.unit or nature.parts is not None or nature.gate is not None
    own = scale_of(reference, nature, tolerance.scaled, whole) if known else None  # the largest
    metrics = compare(candidate, reference, tolerance, own)
    scale = metrics.reference_absmax if own is None else own
    if nature.sums_to_one and tolerance.scaled:
        metrics = _with_sums(metrics, candidate, reference, tolerance, None if whole else nature.along)
    is_map = whole and nature.unit > 0.0
    metrics = with_edges_forgiven(metrics, candidate, reference, tolerance, scale, is_map)
    return with_scattered_forgiven(metrics, candidate, reference, tolerance, scale, nature)


def _with_sums(
    metrics: Metrics, candidate: Array, reference: Array, tolerance: Tolerance, along: int | None
) -> Metrics:
    """Probabilities that sum to one may be off by no more than `scaled` in total.

    Each of 4,096 equal ones is 2.4e-4; all could be wrong by as much with no single error above 0.05.
    """
    if not np.isfinite(metrics.max_abs):
        return metrics
    off = np.nansum(np.abs(candidate.astype(np.float64) - reference), along)
    total = np.nansum(reference, along, dtype=np.float64)  # where both sides are nan, they agree
    share = float((off / np.maximum(total, np.finfo(np.float64).tiny)).max())
    used = max(metrics.used, share / tolerance.scaled)
    if share <= tolerance.scaled:
        return replace(metrics, used=used)
    failed = f"probabilities off by {share:.3g} of their sum > {tolerance.scaled:g}"
    return replace(metrics, agrees=False, used=used, failed=(*metrics.failed, failed))
