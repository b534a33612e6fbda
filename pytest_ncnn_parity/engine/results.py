"""One sample's results, streamed as they arrive from this process or from another xdist worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.engine.client import Engine, EngineError
from pytest_ncnn_parity.engine.process import parsed
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.turn import Turn
from pytest_ncnn_parity.engine.wire import encode_result

Run = Callable[[Sequence[str]], Iterator[Result]]


class SampleResults:
    """One sample's results by case id in `known`; `run` yields those of the case ids it is given.

    `learn` is called with each result, wherever it comes from.
    """

    def __init__(
        self, case_ids: Sequence[str], run: Run, learn: Callable[[Result], None] = lambda _: None
    ) -> None:
        self._case_ids = case_ids
        self._run = run
        self._learn = learn
        self._stream: Iterator[Result] | None = None
        self._ended = False
        self.known: dict[str, Result] = {}

    def result(self, case_id: str) -> Result:
        """Return the result of `case_id`, after running the sample that far if it is not known yet.

        Raises EngineError if the run ends without it.
        """
        while case_id not in self.known:
            if self._ended:
                raise EngineError(f"the engine gave no result for {case_id}; please report it")
            self._take()
        return self.known[case_id]

    def take_arrived(self, case_id: str, holds_result: Callable[[], bool]) -> None:
        """Take results up to that of `case_id` as long as `holds_result` says that one has arrived."""
        while case_id not in self.known and self._stream is not None and holds_result():
            self._take()

    def finish(self) -> None:
        """Run the sample to its end."""
        while not self._ended:
            self._take()

    def run_if_free(self) -> bool:
        """Run the whole sample unless another process does or did; return whether it was run here."""
        return False

    def _take(self) -> None:
        """Take one more result, or learn that there are no more."""
        if self._stream is None:
            self._stream = self._fresh()
        try:
            result = next(self._stream, None)
        # an interrupted generator yields nothing more, so the next caller needs a new one
        except BaseException:
            self._stream = None
            raise
        if result is None:
            self._ended = True
        else:
            self._add(result)

    def _add(self, result: Result) -> None:
        self.known[result.id] = result
        self._learn(result)

    def _fresh(self) -> Iterator[Result]:
        """Run the cases that have no result yet."""
        waiting = [case_id for case_id in self._case_ids if case_id not in self.known]
        if waiting:
            yield from self._run(waiting)


class SharedSampleResults(SampleResults):
    """Results shared among xdist workers: the one that takes the lock runs the sample for all of them.

    `path` is a path without suffix that all of them see. Through it, `engine` learns the versions and
    devices from the process that ran the sample. `meanwhile`: see `Turn`.
    """

    def __init__(
        self,
        case_ids: Sequence[str],
        run: Run,
        path: Path,
        engine: Engine,
        meanwhile: Callable[[], bool],
        learn: Callable[[Result], None] = lambda _: None,
    ) -> None:
        super().__init__(case_ids, run, learn)
        self._engine = engine
        self._log = path.with_suffix(".jsonl")
        self._turn = Turn(path, meanwhile)
        self._offset = 0
        self._adapter = TypeAdapter(Result)

    def run_if_free(self) -> bool:
        return not self._log.exists() and self._turn.use(self._lead)

    def take_arrived(self, case_id: str, holds_result: Callable[[], bool]) -> None:
        """Take nothing: what another process has written is read when a result is waited for."""

    def _take(self) -> None:
        self._read()
        if self._ended:
            return
        if not self._turn.use(self._lead):
            self._turn.wait()
        self._read()

    def _lead(self) -> None:
        """Run the sample to its end, whatever part is needed here, because others wait for the rest."""
        self._read()
        if self._ended:
            return
        try:
            self._write()
        except OSError as error:
            raise EngineError(
                f"cannot write the results for xdist's workers to {self._log}: {error.strerror}"
            ) from None

    def _write(self) -> None:
        with self._log.open("ab") as log:
            if self._log.stat().st_size > self._offset:
                log.write(b"\n")  # a killed leader has left an incomplete line
            for result in self._fresh():
                _append(log, {"case": encode_result(result)})
                log.flush()
            facts = self._engine.facts
            known = {"environment": facts.versions, "devices": facts.devices}
            _append(log, {**known, "workers": facts.workers, "end": True})

    def _read(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._offset)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in filter(None, whole.split(b"\n")):
            self._take_in(line)

    def _take_in(self, line: bytes) -> None:
        try:
            message = parsed(line)
        except ValueError:
            return  # an incomplete line from a leader that was killed; its case is run again
        if "case" in message:
            self._add(self._adapter.validate_python(message["case"]))
        if "end" in message:
            self._ended = True
            self._engine.facts.learn(message["environment"], message["devices"], message["workers"])


def _append(log: Any, message: dict[str, Any]) -> None:
    log.write(strict_json.line(message).encode() + b"\n")
