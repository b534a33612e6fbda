"""A machine that pauses, as a virtual one may, uses up no time limit: nothing has run meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from pytest_ncnn_parity.engine import pipes
from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.worker.far import link

ANSWERS = "import time; time.sleep(0.5); print('done', flush=True); time.sleep(600)"


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that leaps by an hour between its third and its fourth reading: within a wait."""
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return time.monotonic() + 3600.0 * (readings > 3)

    def stops(module: ModuleType) -> None:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))

    stops(pipes)
    stops(link)
    monkeypatch.setattr(link, "GLANCE", 0.1)
    yield
    assert readings > 3


@pytest.mark.usefixtures("paused")
def test_a_worker_is_awaited_for_as_long_as_the_machine_runs() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ANSWERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        pump = pipes.Pump(process)
        try:
            assert pump.line(30.0) == b"done"
        finally:
            process.kill()
            pump.stop()


@pytest.mark.usefixtures("paused")
def test_so_is_a_declared_worker() -> None:
    one = link.Link(Worker("w", "command", (sys.executable, "-c", ANSWERS)), lambda: None)
    try:
        with pytest.raises(link.Late):  # at its limit, not at the leap
            one.greet(None, 1.0)
        assert b"done" in one._read
    finally:
        one.kill()
