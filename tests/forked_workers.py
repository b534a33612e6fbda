"""Workers that are forked from a process which has imported what a worker imports.

Such a worker runs the same code in a process of its own, but for the time in which Python, numpy, ncnn
and its modules are imported, and in which ncnn's compiler of shaders learns its built-in functions:
half of what a gate on a small network takes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import inspect
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from pytest_ncnn_parity.engine import spawn

ALONE = "pytest_ncnn_parity.worker", "ncnn", "numpy"  # what a worker imports and its parent must not
M_PERTURB = -6  # from malloc.h; MALLOC_PERTURB_ is read only as a process starts

_execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]


class _AsImported(MetaPathFinder, Loader):
    """Gives `modules` to whoever imports one, as bokeh does numpy, which cannot be loaded twice."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed."""


class Workers:
    """Starts workers by a fork where they would be started by the plain command."""

    def __init__(self) -> None:
        """Import what a worker needs."""
        with _quiet_threads():
            import numpy.random  # noqa: F401 - numpy itself imports it when it is first asked for

            from pytest_ncnn_parity.worker import main  # noqa: F401
        _prepare_compiler(sys.modules["ncnn.ncnn"])
        self._path, self._finders = list(sys.path), list(sys.meta_path)
        self._hidden = {name: module for name, module in sys.modules.items() if name.startswith(ALONE)}
        self._common = {name: module for name, module in sys.modules.items() if name not in self._hidden}

    def install(self) -> None:
        """Let this process start its workers by forks, and know nothing of what they import."""
        for name in self._hidden:
            del sys.modules[name]
        sys.meta_path.insert(0, _AsImported(self._hidden))

        def execute(process: subprocess.Popen[bytes], args: list[str], *rest: Any) -> None:
            if tuple(args[:-1]) != spawn.COMMAND:
                _execute(process, args, *rest)
                return
            asked = inspect.signature(_execute).bind(process, args, *rest).arguments
            with warnings.catch_warnings(), _no_alarm():
                warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
                process.pid = os.fork()
            if not process.pid:
                self._become(asked)
            process._child_created = True  # type: ignore[attr-defined]
            pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            process._close_pipe_fds(*(asked[name] for name in pipes))  # type: ignore[attr-defined]

        subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]

    def _become(self, asked: dict[str, Any]) -> None:
        """Be the worker that was asked for, as if Python had just started it."""
        try:
            os.setsid()
            faulthandler.disable()
            for number, pipe in enumerate(("p2cread", "c2pwrite", "errwrite")):
                os.dup2(asked[pipe], number)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["env"])
            ctypes.CDLL(None).mallopt(M_PERTURB, int(asked["env"]["MALLOC_PERTURB_"]))
            modules: dict[str, ModuleType] = self._common | self._hidden
            sys.modules.clear()
            sys.modules.update(modules)
            sys.path[:], sys.meta_path[:] = ["", *self._path[1:]], self._finders
            sys.argv = asked["args"][2:]
            sys.modules["pytest_ncnn_parity.worker.main"].main()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)


def _prepare_compiler(ncnn: ModuleType) -> None:
    """Have glslang, which is part of `ncnn`, make its tables of symbols, as for its first shader.

    That takes no driver and starts no thread. The enumerators are those of glslang's ShaderLang.h.
    """
    glslang = ctypes.CDLL(ncnn.__file__)
    if not hasattr(glslang, "ShCompile"):
        return  # an ncnn that hides it, or has no Vulkan
    compute, spirv_and_vulkan_rules, core = 5, 1 << 3 | 1 << 4, 450
    shader = ctypes.c_char_p(b"#version 450\nvoid main() {}\n")
    limits = ctypes.create_string_buffer(4096)  # larger than a TBuiltInResource
    glslang.ShInitialize()
    glslang.ShConstructCompiler.restype = ctypes.c_void_p
    compiler = ctypes.c_void_p(glslang.ShConstructCompiler(compute, 0))
    string, rules = ctypes.byref(shader), spirv_and_vulkan_rules
    assert glslang.ShCompile(compiler, string, 1, None, 0, limits, 0, core, False, rules) == 1


@contextmanager
def _no_alarm() -> Iterator[None]:
    """Hold back the alarm of a time limit, whose error Python drops if a fork's hook raises it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """The variables of a worker that its libraries read as they are loaded."""
    before = dict(os.environ)
    os.environ.update(spawn._QUIET_THREADS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
