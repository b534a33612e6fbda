"""What the command line and the machine say about running."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.engine.workers import Worker


@dataclass(frozen=True)
class Settings:
    """What the command line says about running. `share`: a folder that all xdist workers see.

    `memory`: the bytes a worker may hold. `accumulated`: follow candidates' own runs as well. `cache`:
    where results of former runs are. `workers`: the declared ones, by name. `watch` is called with what
    is going on, again and again. `early`: a worker that is awake already.
    """

    timeout: float
    threads: int
    memory: int | None = None
    accumulated: bool = False
    share: Path | None = None
    cache: Cache | None = None
    workers: Mapping[str, Worker] = field(default_factory=dict)
    watch: Callable[[str], None] = lambda _: None
    early: EarlyWorker = field(default_factory=EarlyWorker)


def threads(xdist_workers: int) -> int:
    """This process's share of the cores it may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        cores = os.cpu_count() or 1
    return max(1, cores // max(1, xdist_workers))
