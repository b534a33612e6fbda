"""Answers that are computed once per spec, whoever asks first: doubts, fixes and redundant masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.engine.process import EngineError
from pytest_ncnn_parity.engine.turn import Turn

T = TypeVar("T")


class Answers:
    """The answers for the spec named `spec`, shared among xdist workers through the folder `share`.

    `share` is None if there is only one process. `meanwhile` is called while another process computes an
    answer: see `Turn`.
    """

    def __init__(self, spec: str, share: Path | None, meanwhile: Callable[[], bool]) -> None:
        self._spec = spec
        self._share = share
        self._meanwhile = meanwhile
        self._known: dict[tuple[str, str], Any] = {}

    def once(self, kind: str, name: str, answer: type[T], work_out: Callable[[], T | None]) -> T | None:
        """Return the value of `work_out`, of type `answer`, computed once for all xdist workers.

        An exception from `work_out` reaches the first caller, and EngineError if the answer cannot be
        shared. `work_out` is not called again in this process, where later callers get None, unless it
        was interrupted by another plugin or by Ctrl-C.
        """
        key = (kind, name)
        if key not in self._known:
            self._known[key] = None
            shared = self._share is not None
            try:
                self._known[key] = self._shared(key, answer, work_out) if shared else work_out()
            except BaseException as error:
                if not isinstance(error, Exception):
                    del self._known[key]
                raise
        known: T | None = self._known[key]
        return known

    def _shared(
        self, key: tuple[str, str], answer: type[T], work_out: Callable[[], T | None]
    ) -> T | None:
        path = self.path(*key).with_suffix(".json")

        def work() -> None:
            if path.exists():
                return
            line = strict_json.line(work_out())
            fresh = path.with_suffix(".new")
            try:
                fresh.write_text(line, "utf-8")
                fresh.replace(path)
            except OSError as error:
                raise EngineError(
                    f"cannot write an answer for xdist's workers to {path}: {error.strerror}"
                ) from None

        turn = Turn(path, self._meanwhile)
        while not turn.use(work):
            turn.wait()
        value = json.loads(path.read_text("utf-8"))
        return None if value is None else TypeAdapter(answer).validate_python(value)

    def path(self, *key: str) -> Path:
        """The path, without suffix, of a file in the shared folder, whose name is derived from `key`."""
        assert self._share is not None
        name = sha256("\0".join([self._spec, *key]).encode()).hexdigest()[:24]
        return self._share / name
