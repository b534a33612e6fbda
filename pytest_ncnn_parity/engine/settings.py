"""The settings for running networks, from the command line and the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.workers import Worker

# More make no network faster, for waiting threads sleep, and waking them takes time; and each takes
# memory for its part of a convolution, which is kept for the next one: measured on 16 cores.
USEFUL_THREADS = 4


class Settings(Frozen):
    """How networks are run. `timeout` is in seconds; `memory` is the bytes that a worker may hold.

    `cores`: this process's share of the cores. `share`: a folder that all xdist workers see.
    `accumulated`: also follow candidates' own runs. `cache`: where earlier runs kept their results.
    `workers`: the declared workers, by name. `watch` is called repeatedly with a description of the
    current work. `early`: may hold a worker that is already started.
    """

    timeout: float
    cores: int
    memory: int | None = None
    accumulated: bool = False
    share: Path | None = None
    cache: Cache | None = None
    workers: Mapping[str, Worker] = field(default_factory=dict)
    watch: Callable[[str], None] = lambda _: None
    early: EarlyWorker = field(default_factory=EarlyWorker)

    @property
    def threads(self) -> int:
        """How many threads a network may use."""
        return min(self.cores, USEFUL_THREADS)


def share_of_cores(xdist_workers: int) -> int:
    """Return this process's share of the cores it may use, at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        cores = os.cpu_count() or 1
    return max(1, cores // max(1, xdist_workers))
