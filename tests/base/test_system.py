"""What a system shows of itself: psutil and the size of memory, also where a part of it is hidden."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_ncnn_parity.base import system

TAKE_AWAY = "import sys; sys.modules['resource'] = None; "
USE = "from pytest_ncnn_parity.base.system import psutil; print(psutil.Process().pid > 0); "


def printed(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_psutil_is_imported_where_resource_cannot_be() -> None:
    """Its releases from 6 on import it on Linux."""
    assert printed(TAKE_AWAY + USE) == "True\n"
    still = "print('resource' in sys.modules and sys.modules['resource'] is None)"
    assert printed(TAKE_AWAY + USE + still).endswith("True\n"), "it must not be there for others"


def test_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    known = system.memory_bytes()

    def hidden() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(system.psutil, "virtual_memory", hidden)
    assert system.memory_bytes() == pytest.approx(known, rel=0.01)
