"""What the cases of a session share: the specs' runs, what is asked of them, what was told already."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pytest_ncnn_parity.engine.spec_run import Settings, SpecRun
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.fix import FixSettings


class Session:
    """One run per spec, made when its first case runs. `root`: what specs may read; None: anything."""

    def __init__(
        self,
        settings: Settings,
        fix: FixSettings | None,
        require_vulkan: bool,
        root: Path | None,
        repro: Path | None = None,
    ) -> None:
        self.root = root
        self.settings = settings
        self.fix = fix
        self.require_vulkan = require_vulkan
        self.repro = repro
        self._runs: dict[str, SpecRun] = {}  # by the spec's path; a str, for a Path hashes slowly
        self._selected: dict[str, dict[str, list[Case]]] = {}
        self._waiting: Counter[str] = Counter()  # by the spec's path: cases without a verdict
        self._told: set[object] = set()

    def select(self, spec: Path, sample: str, case: Case) -> None:
        """Take note of a case that this session is going to run."""
        path = str(spec)
        self._selected.setdefault(path, {}).setdefault(sample, []).append(case)
        self._waiting[path] += 1

    def run(self, plan: Plan) -> SpecRun:
        path = str(plan.spec.path)
        if path not in self._runs:
            for other in list(self._runs):
                self._leave(other)
            self._runs[path] = SpecRun(plan, self.settings, self._selected.get(path, {}))
        return self._runs[path]

    def _leave(self, path: str) -> None:
        """One worker at a time: it holds networks and a GPU. And no results that nobody waits for."""
        run = self._runs[path]
        run.finish()
        if self._waiting[path] <= 0 or self.settings.share is not None:  # there they can be read again
            del self._runs[path]

    def concluded(self, spec: Path) -> None:
        """Take note that a case of `spec` has its verdict."""
        self._waiting[str(spec)] -= 1

    def news(self, key: object) -> bool:
        """Whether `key` is told for the first time."""
        known = key in self._told
        self._told.add(key)
        return not known

    def close(self) -> None:
        for run in self._runs.values():
            run.close()
