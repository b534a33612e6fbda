"""The memory pools that all networks of this process share, and how much unused memory they may keep."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import ncnn

from pytest_ncnn_parity.worker import limits

# Fresh memory is slow: the system maps it page by page, and each page is filled. So pools keep what has
# been used. But with many threads ncnn's kernels take hundreds of MiB for one convolution of a large
# picture, in blocks of which few fit the next. On 16 cores a worker that judged a network of 540 layers
# kept 1.7 GB, or 1 GB of which it gave back what exceeded 768 MiB, in a third more time.
SHARE_KEPT = 1 / 16  # of what this process may hold
LEAST_KEPT = 256 << 20
MANY = 1 << 18  # elements; a run on fewer leaves little in the pools
_STATM = Path("/proc/self/statm")  # Linux only


class Pools:
    """ncnn's pools for values and for kernels' workspaces.

    ncnn would give each network pools of its own, which keep all that they have once held.
    """

    def __init__(self) -> None:
        self._values = ncnn.PoolAllocator()
        self._workspace = ncnn.PoolAllocator()
        self._least = 0  # bytes that this process held when they were last empty

    def serve(self, options: ncnn.Option) -> None:
        """Have a network with these `options` take its memory from the pools."""
        options.blob_allocator, options.workspace_allocator = self._values, self._workspace

    def after(self, elements: int) -> None:
        """Empty the pools if they may have grown by more than they may keep since they were empty.

        To be called after a run on values of so many `elements` altogether.
        """
        most = limits.most() if elements >= MANY else None
        if most is not None and _in_memory() > self._least + max(LEAST_KEPT, SHARE_KEPT * most):
            self.release()

    def release(self) -> None:
        """Give the memory that no value uses any more back to the system."""
        self._values.clear()
        self._workspace.clear()
        limits.trim()
        self._least = _in_memory()


def _in_memory() -> int:
    """Return the bytes that this process holds, without files it has mapped; 0 if that is unknown."""
    with suppress(OSError, ValueError):
        _, resident, shared, *_ = map(int, _STATM.read_text("ascii").split())
        return (resident - shared) * os.sysconf("SC_PAGESIZE")
    return 0


POOLS = Pools()
