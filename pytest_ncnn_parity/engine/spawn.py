"""Starts a worker process. Imports little, so that a run can start one before it imports the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen

# idle threads that spin take cores away from working ones, and numpy's products here are short
_QUIET_THREADS = {
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}

# glibc fills fresh memory with this byte, so that a kernel which reads memory that nobody wrote gives
# the same garbage each time, and large values: 1.5e13 as fp32. A second worker uses another byte, which
# distinguishes such a kernel from others.
FILL = 170
OTHER_FILL = 85

# glibc 2.35 and later asks Linux for huge pages then, so that a blob takes few page faults
_HUGE_PAGES = "glibc.malloc.hugetlb=1"

COMMAND = (sys.executable, "-m", "pytest_ncnn_parity.worker.main")


class Order(Frozen):
    """How a worker is started.

    `most`: the bytes it may hold. `folder`: where its own folder is made. `fill`: the byte that its
    fresh memory is filled with. `wakes_vulkan`: it starts Vulkan before its first job.
    """

    command: tuple[str, ...] = COMMAND
    most: int | None = None
    folder: Path | None = None
    fill: int = FILL
    wakes_vulkan: bool = False

    @property
    def arguments(self) -> list[str]:
        """The command with its last argument, which tells the worker what it has to know."""
        return [*self.command, json.dumps({"most": self.most, "wakes_vulkan": self.wakes_vulkan})]


class Spawned(Frozen):
    """A worker process that was started as `order` says, and its temporary folder."""

    order: Order
    process: subprocess.Popen[bytes]
    home: tempfile.TemporaryDirectory[str]


def spawn(order: Order) -> Spawned:
    """Start a worker process. Raises OSError."""
    home = tempfile.TemporaryDirectory(
        prefix="ncnn-parity-", dir=order.folder, ignore_cleanup_errors=True
    )
    # the folder's name also identifies this worker's children
    own_folder = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), home.name)
    try:
        process = subprocess.Popen(
            order.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home.name,
            env={**os.environ, **_QUIET_THREADS, **own_folder, **_malloc(order.fill)},
            # Ctrl-C goes to pytest, which then ends this process
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            bufsize=0,
        )
    except OSError:
        home.cleanup()
        raise
    return Spawned(order, process, home)


def _malloc(fill: int) -> dict[str, str]:
    """Return what tells glibc how to allocate. The user's own tunables come last and win."""
    tunables = filter(None, (_HUGE_PAGES, os.environ.get("GLIBC_TUNABLES")))
    return {"MALLOC_PERTURB_": str(fill), "GLIBC_TUNABLES": ":".join(tunables)}
