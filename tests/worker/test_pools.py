"""What the pools of ncnn's memory keep."""

from __future__ import annotations

import ncnn
import pytest

from pytest_ncnn_parity.worker.networks import pools

MIB = 1 << 20
SIDE = 2048  # a value has 16 MiB


def _values(taken: pools.Pools) -> list[ncnn.Mat]:
    """Eight values whose memory comes from the pools, and is written."""
    options = ncnn.Option()
    taken.serve(options)
    values = [ncnn.Mat(SIDE, SIDE, allocator=options.blob_allocator) for _ in range(8)]
    for number, value in enumerate(values):
        value.fill(float(number))
    return values


def test_pools_keep_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = pools.Pools()
    taken.release()
    start = pools._in_memory()
    values = _values(taken)
    del values
    assert pools._in_memory() > start + 100 * MIB, "the pools keep what was used"
    for most in (4096 * MIB, None):
        monkeypatch.setattr(pools.limits, "most", lambda most=most: most)
        taken.after(SIDE * SIDE)
        assert pools._in_memory() > start + 100 * MIB, "which is less than they may"
    monkeypatch.setattr(pools, "LEAST_KEPT", 64 * MIB)
    monkeypatch.setattr(pools.limits, "most", lambda: 512 * MIB)
    taken.after(1)
    assert pools._in_memory() > start + 100 * MIB, "a run on one element leaves nothing there"
    taken.after(SIDE * SIDE)
    assert pools._in_memory() < start + 64 * MIB


def test_values_in_use_are_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "LEAST_KEPT", 64 * MIB)
    monkeypatch.setattr(pools.limits, "most", lambda: 512 * MIB)
    taken = pools.Pools()
    values = _values(taken)
    taken.after(SIDE * SIDE)
    assert [value[0] for value in values] == list(range(8))
    released = []
    monkeypatch.setattr(taken, "release", lambda: released.append(True))
    taken.after(SIDE * SIDE)
    assert not released, "what is in use does not count as unused memory"
