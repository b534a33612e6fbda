"""What is worked out once per spec, whoever asks for it first: doubts, fixes, redundant masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.engine.turn import Turn

T = TypeVar("T")


class Answers:
    """The answers of the spec named `spec`. `share`: a folder that all xdist workers see, if any.

    `meanwhile`, while another process works one out: see `Turn`.
    """

    def __init__(self, spec: str, share: Path | None, meanwhile: Callable[[], bool]) -> None:
        self._spec = spec
        self._share = share
        self._meanwhile = meanwhile
        self._known: dict[tuple[str, str], Any] = {}

    def once(self, kind: str, name: str, answer: type[T], work_out: Callable[[], T | None]) -> T | None:
        """The value of `work_out`, of type `answer`, worked out once for all xdist workers.

        Where it raises, it is not called again here, and the others get None; unless another plugin, or
        Ctrl-C, interrupted it.
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
            if not path.exists():
                fresh = path.with_suffix(".new")
                fresh.write_text(strict_json.line(work_out()), "utf-8")
                fresh.replace(path)

        turn = Turn(path, self._meanwhile)
        while not turn.use(work):
            turn.wait()
        value = json.loads(path.read_text("utf-8"))
        return None if value is None else TypeAdapter(answer).validate_python(value)

    def path(self, *key: str) -> Path:
        """A file's name, without suffix, in the folder that is shared."""
        assert self._share is not None
        name = sha256("\0".join([self._spec, *key]).encode()).hexdigest()[:24]
        return self._share / name
