"""The gate without what Linux has and Windows or macOS lack; exit codes of Windows.

The processes are real, and so is ncnn; only the system's means are taken away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faulty_driver
import networks
import other_system
import pytest
import verdicts
from conftest import Gate

from pytest_ncnn_parity.engine import descendants, endings

pytestmark = pytest.mark.once

MIB = 1 << 20
PATIENCE_SECONDS = 60.0
EXTRACTS = "vkQueueSubmit:3"


@pytest.fixture(autouse=True)
def _other_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_system.become(monkeypatch, tmp_path / "taken_away")


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_it_is_taken_away() -> None:
    """In a process that a test starts; without this all others here would prove nothing."""
    for code in (
        "import resource",
        "import select; select.poll",
        "open('/proc/self/status')",
        "import pathlib; pathlib.Path('/proc/self/status').stat()",
        "import ctypes; ctypes.CDLL(None).prctl",
    ):
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
    code = "from pytest_ncnn_parity.base.system import psutil; print(psutil.Process().environ()['PATH'])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == os.environ["PATH"]


def test_verdicts_and_fixes_are_the_same(gate: Gate, example: Callable[..., Path]) -> None:
    example("style_decoder", without=("other",))
    run = gate("--ncnn-parity-cache=kept")
    assert run.result.ret == pytest.ExitCode.TESTS_FAILED
    red = run.cases["face::fp16-vs-fp32-vulkan::sum_15"]
    assert (red["outcome"], red["cause"]) == ("failed", "storage-overflow")
    assert run.fixes["fp16-vs-fp32-vulkan"]["verified"]


@pytest.mark.parametrize(
    ("what", "cause"), [("family", "timeout"), ("orphan", "crash"), ("11", "crash")]
)
def test_a_worker_ends_with_all_it_started(
    what: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own))
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:{what}")
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path), timeout=6)
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": cause}
    assert judged["s0::cpu-vs-vulkan::c2"].outcome == "passed"
    if what == "11":
        assert "killed by SIGSEGV" in judged["s0::cpu-vs-vulkan::c1"].text
    assert list(descendants.below(own)) == list(own.iterdir()) == []


def test_who_fills_the_memory_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses none, the worker is watched."""
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:fill")
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path), memory=700 * MIB, outputs=False)
    assert verdicts.failed(judged) == {"s0::cpu-vs-vulkan::c1": "memory"}
    text = judged["s0::cpu-vs-vulkan::c1"].text
    assert "killed when it held " in text
    assert "it may hold 700 MiB (--ncnn-parity-memory)" in text
    assert judged["s0::cpu-vs-vulkan::c2"].outcome == "passed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_hung_worker_does_not_outlive_pytest(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_driver.install(monkeypatch, tmp_path, f"{EXTRACTS}:hang")
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    networks.convolution(tmp_path)
    networks.spec(tmp_path, networks.NOISE + "compare: [cpu-vs-vulkan]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ncnn-parity"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        until((tmp_path / "it_happened").exists, "no step hung")
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert "Traceback" not in output
    until(lambda: not list(descendants.below(own)), "a process lives on")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0xC0000005, "ended with 0xC0000005 (access violation)"),
        (0xC00000FD, "ended with 0xC00000FD (stack overflow)"),
        (0xC0DEC0DE, "ended with 0xC0DEC0DE"),
        (3, "exit status 3"),
        (255, "exit status 255"),
        (-11, "killed by SIGSEGV"),
        (-9, "killed by SIGKILL from outside (by the system, where memory ran out)"),
        (-250, "killed by signal 250"),
        (None, "it closed its pipes and hung"),
    ],
)
def test_exit_codes_have_names(code: int | None, text: str) -> None:
    assert endings.shown(code) == text
