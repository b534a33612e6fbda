"""A worker that starts before its first job is known: while pytest imports, or another spec runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pytest_ncnn_parity.engine.spawn import Order, Spawned, spawn


class EarlyWorker:
    """Holds one worker or none. It is handed over once; if nobody takes it, `close` kills it."""

    def __init__(self) -> None:
        self._worker: Spawned | None = None

    @property
    def waits(self) -> bool:
        """Whether there is a worker that nobody has taken."""
        return self._worker is not None

    def start(self, most: int | None) -> None:
        """Start a worker that may hold `most` bytes, unless there is one.

        The first job reports what prevents the start.
        """
        if self._worker is not None:
            return
        with suppress(OSError):
            self._worker = spawn(Order(most=most, wakes_vulkan=True))

    def take(self, order: Order) -> Spawned | None:
        """Hand over the worker if it was started as `order` says, but for waking Vulkan."""
        worker = self._worker
        if worker is None or replace(worker.order, wakes_vulkan=False) != replace(order, folder=None):
            return None
        self._worker = None
        return worker

    def close(self) -> None:
        """Kill the worker unless it was handed over."""
        from pytest_ncnn_parity.engine.process import WorkerProcess  # noqa: PLC0415 - starting needs little

        if self._worker is not None:
            WorkerProcess(self._worker.order, self._worker).kill()
            self._worker = None
