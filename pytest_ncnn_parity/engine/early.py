"""A worker that starts while pytest is still importing and collecting, for the first job to find."""

from __future__ import annotations

from pytest_ncnn_parity.engine.process import COMMAND, FILL, EngineError, WorkerProcess


class EarlyWorker:
    """One worker, or none. It is given away once; if nobody takes it, `close` ends it."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None
        self._most: int | None = None

    def start(self, most: int | None) -> None:
        """Start it, to hold `most` bytes. What keeps it from starting is for the first job to report."""
        try:
            self._worker, self._most = WorkerProcess(COMMAND, most), most
        except EngineError:
            self._worker = None

    def take(self, command: tuple[str, ...], most: int | None, fill: int) -> WorkerProcess | None:
        """The worker, if there is one that was started like this."""
        if self._worker is None or (command, most, fill) != (COMMAND, self._most, FILL):
            return None
        worker, self._worker = self._worker, None
        return worker

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
