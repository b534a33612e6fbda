"""Why a worker's Python does not greet: what ssh and adb say is not taken for what is said there."""

from __future__ import annotations

import os
import select
import sys

import pytest

from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.far.commands import why_not
from pytest_ncnn_parity.worker.far.machine import FarMachine

pytestmark = pytest.mark.once

NO_STDIN = "ValueError: invalid literal for int() with base 10: b''"
DENIED = "/home/pi/python: 2: exec: /opt/python: Permission denied"


@pytest.mark.parametrize(
    ("kind", "status", "said", "why"),
    [
        ("ssh", 255, "pi@board: Permission denied (publickey).", "it refuses the login"),
        ("ssh", 126, DENIED, "python3 cannot be run there: /home/pi/python"),
        ("ssh", 1, "docker: Connection refused", "it ended with exit status 1: Linux board 6.1; docker"),
        ("ssh", 127, "sh: 1: python3: not found", "there is no python3 there"),
        ("ssh", None, "", "it did not greet: Linux board"),
        ("adb", 1, "adb: device 'X' not found", "no such device is connected"),
        ("adb", 1, "error: device offline", "the device is offline"),
        ("adb", 126, DENIED, "python3 cannot be run there"),
        (
            "command",
            1,
            "docker: Connection refused",
            "it ended with exit status 1: Linux board 6.1; docker",
        ),
        ("python", 126, DENIED, "python3 cannot be run there"),
        ("command", 1, NO_STDIN, "its command passes no stdin on: docker run needs -i"),
    ],
)
def test_what_kept_a_worker_from_greeting_depends_on_who_said_it(
    kind: str, status: int | None, said: str, why: str
) -> None:
    worker = Worker("pi", kind, ("python3",), "board")
    assert why_not(worker, status, f"Linux board 6.1\n{said}\n").startswith(why)


def test_a_command_that_passes_no_stdin_on_is_told_so() -> None:
    shell = ("sh", "-c", 'exec "$0" "$@" </dev/null', sys.executable)
    machine = FarMachine(Worker("box", "command", shell), print, print, print, print)
    with pytest.raises(StepFailed) as failed:
        machine.has_option("use_fp16_storage")
    assert "its command passes no stdin on" in failed.value.death.detail


def test_a_system_that_cannot_reach_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither: nothing there waits for several pipes at a time."""
    monkeypatch.delattr(os, "fork")
    monkeypatch.delattr(select, "poll")
    worker = Worker("old", "python", (sys.executable,))
    machine = FarMachine(worker, print, print, print, print)
    with pytest.raises(StepFailed) as failed:
        machine.has_option("use_fp16_storage")
    assert failed.value.death.detail == (
        f"the worker old (python {sys.executable}): workers can be used from Linux and macOS only"
    )
