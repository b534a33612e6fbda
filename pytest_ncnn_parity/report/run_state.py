"""The state of a run: which cases were selected, which have a verdict, and why it ended early."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from pytest_ncnn_parity.report.document import RunRecord
from pytest_ncnn_parity.spec import SUFFIX

RUNNING = "this was written during the run: if the run is over, it was killed or it crashed"


def spec_of(nodeid: str) -> str | None:
    """Return the spec with which a case's node id begins, or None if it is not this plugin's case."""
    spec, colons, _ = nodeid.partition("::")
    return spec if colons and spec.endswith(SUFFIX) else None


@dataclass
class RunState:
    """Counts cases by node id; `stopped` is why not all got a verdict, as far as that is known.

    `left_out`: cases were selected and did not run, and nothing stopped the run.
    """

    stopped: str | None = None
    left_out: bool = False
    ended: bool = False
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat("T", "seconds"))
    _begin: float = field(default_factory=time.monotonic)
    _waiting: dict[str, set[str]] = field(default_factory=dict)  # node ids by spec
    _judged: set[str] = field(default_factory=set)

    def select(self, nodeids: Iterable[str]) -> None:
        """Note the cases that are going to run."""
        for nodeid in nodeids:
            spec = spec_of(nodeid)
            if spec is not None and nodeid not in self._judged:
                self._waiting.setdefault(spec, set()).add(nodeid)

    def judged(self, nodeid: str) -> bool:
        """Note a verdict, and return whether it was the last one of its spec."""
        self._judged.add(nodeid)
        waiting = self._waiting.get(spec_of(nodeid) or "", set())
        last = waiting == {nodeid}
        waiting.discard(nodeid)
        return last

    def stop(self, why: str) -> None:
        """Note that the run is cut short; the first reason counts."""
        self.stopped = self.stopped or why

    def end(self) -> None:
        """Note that no further case will be judged."""
        self.ended = True
        left = self.selected - len(self._judged)
        if self.selected and not left:
            self.stopped = None  # the run was stopped when no case was left
        elif left and self.stopped is None:
            self.stopped = f"{left} of the selected cases did not run"
            self.left_out = True

    @property
    def selected(self) -> int:
        """The number of cases that have or await a verdict."""
        return len(self._judged) + sum(map(len, self._waiting.values()))

    def record(self) -> RunRecord:
        """Return the state as the JSON report holds it; `not_reached`: specs without a judged case."""
        reached = {spec_of(nodeid) for nodeid in self._judged}
        return {
            "started": self.started,
            "seconds": round(time.monotonic() - self._begin, 1),
            "complete": self.ended and self.stopped is None,
            "stopped": self.stopped if self.ended or self.stopped else RUNNING,
            "selected": self.selected,
            "judged": len(self._judged),
            "not_reached": sorted(spec for spec in self._waiting if spec not in reached),
        }
