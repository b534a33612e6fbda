"""A worker that starts while pytest still imports and collects, so that the first job finds it ready."""

from __future__ import annotations

from pytest_ncnn_parity.engine.process import COMMAND, FILL, EngineError, WorkerProcess


class EarlyWorker:
    """Holds one worker or none. The worker is handed over once; if nobody takes it, `close` kills it."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None
        self._most: int | None = None

    def start(self, most: int | None) -> None:
        """Start a worker that may hold `most` bytes. The first job reports what prevents the start."""
        try:
            self._worker, self._most = WorkerProcess(COMMAND, most), most
        except EngineError:
            self._worker = None

    def take(self, command: tuple[str, ...], most: int | None, fill: int) -> WorkerProcess | None:
        """Hand over the worker if it was started with these arguments; otherwise return None."""
        if self._worker is None or (command, most, fill) != (COMMAND, self._most, FILL):
            return None
        worker, self._worker = self._worker, None
        return worker

    def close(self) -> None:
        """Kill the worker unless it was handed over."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
