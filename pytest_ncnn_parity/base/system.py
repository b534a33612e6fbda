"""psutil, which knows what systems do differently, also where parts of the system are hidden from us."""

from __future__ import annotations

import os
import sys
from types import ModuleType

try:
    import psutil
except ImportError as error:
    if error.name != "resource":
        raise
    # psutil 6 and later import it on Linux, to set limits, which this project does elsewhere
    sys.modules["resource"] = ModuleType("resource")
    try:
        import psutil
    finally:
        sys.modules["resource"] = None  # type: ignore[assignment] # as it was: not to be imported

__all__ = ["memory_bytes", "psutil"]


def memory_bytes() -> int:
    """The machine's memory, also where `/proc` cannot be read."""
    try:
        return int(psutil.virtual_memory().total)
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
