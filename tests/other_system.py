"""A Linux without what Windows or macOS lack: `resource`, `fcntl`, `prctl`, `/proc`, `select.poll`,
`os.fork` and `os.sched_getaffinity`.

It is taken away in each Python process of a run, so that the gate works on the real ncnn with what is
left. psutil alone, which knows other ways on other systems, is let through to /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# read by Python as it starts
_TAKEN_AWAY = """
import ctypes
import os
import select
import sys

for name in ("resource", "fcntl"):
    sys.modules[name] = None
for module, name in ((select, "poll"), (select, "epoll"), (os, "fork"), (os, "sched_getaffinity")):
    delattr(module, name)


def refuse(event, args):
    if event in ("open", "os.listdir", "os.scandir") and args:
        check(args[0])


def check(path):
    if not within_proc(path):
        return
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("psutil"):
            return
        frame = frame.f_back
    raise FileNotFoundError(2, "taken away", path)


def within_proc(path):
    return isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith("/proc")


real_stat = os.stat


def stat(path, *args, **kwargs):
    check(path)
    return real_stat(path, *args, **kwargs)


real_lookup = ctypes.CDLL.__getattr__


def lookup(library, name):
    if name == "prctl":
        raise AttributeError(name)
    return real_lookup(library, name)


sys.addaudithook(refuse)
os.stat = stat
ctypes.CDLL.__getattr__ = lookup
"""


def become(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the processes that this test starts run on such a system; `folder` holds how."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_TAKEN_AWAY, "utf-8")
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([path] if path else [])]))
