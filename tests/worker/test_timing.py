"""How often networks are timed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from written_graphs import fed

from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.worker import timing
from pytest_ncnn_parity.worker.failures import failed


@pytest.mark.parametrize(
    ("seconds", "rounds", "runs"), [(0.001, 9, 10), (0.5, 4, 5), (1.25, 2, 3), (1.5, 1, 1), (60.0, 1, 1)]
)
def test_long_runs_are_repeated_less(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int, runs: int
) -> None:
    """Two networks, of which each run takes `seconds`: the first run counts only if they are long."""
    now = [0.0]

    def run(*_: object) -> float:
        now[0] += seconds
        return 1000 * seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    net = SimpleNamespace(time=run, execution=lambda _: SimpleNamespace(where="cpu"))
    asked: Any = SimpleNamespace(nets=[None, None], outputs=())
    nets: Any = [net, net]
    graph = fed()
    found = timing.times(asked, graph, {}, nets)
    assert [one.ms for one in found] == [(1000 * seconds,) * rounds] * 2
    assert now[0] == pytest.approx(2 * seconds * runs)


def test_a_network_that_fails_in_a_later_round_has_no_timing() -> None:
    left = [3]

    def run(*_: object) -> float:
        left[0] -= 1
        if not left[0]:
            raise failed(Step("run", "vulkan fp32"), "refused", "extract out0: -100")
        return 1.0

    def net(time: Callable[..., float]) -> Any:
        return SimpleNamespace(time=time, execution=lambda _: SimpleNamespace(where="cpu"))

    asked: Any = SimpleNamespace(nets=[None, None], outputs=())
    nets: Any = [net(run), net(lambda *_: 2.0)]
    graph = fed()
    first, second = timing.times(asked, graph, {}, nets)
    assert first.ms == ()
    assert first.problem
    assert second.ms == (2.0,) * timing.MAX_ROUNDS
