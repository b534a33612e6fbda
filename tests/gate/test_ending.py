"""However a run ends, it leaves no process and no file behind, and reports what it knew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faulty_driver
import networks
import psutil
import pytest
from benchmarks import soak

from pytest_ncnn_parity.engine import descendants
from pytest_ncnn_parity.engine.process import WorkerProcess
from pytest_ncnn_parity.engine.spawn import Order

pytestmark = pytest.mark.once

PATIENCE_SECONDS = 120.0  # on a busy machine
SLOW_END = """
import pathlib, pytest, time
@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish():
    pathlib.Path("ends").touch()
    time.sleep(0.5)
    yield
"""
COMPARE = "compare: [fp16-range, cpu-vs-vulkan]\n"


def until(holds: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_worker_that_does_not_end_is_killed_where_processes_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says_hello = "import json, time; print(json.dumps({'environment': {}, 'pid': 1}), flush=True)"
    monkeypatch.setattr("pytest_ncnn_parity.engine.process.LEAVE_SECONDS", 0.2)
    monkeypatch.setattr(descendants, "end", lambda _: None)
    worker = WorkerProcess(Order((sys.executable, "-c", f"{says_hello}; time.sleep(600)")))
    assert (worker.environment, psutil.pid_exists(worker.pid)) == ({}, True)
    worker.finish()
    assert not psutil.pid_exists(worker.pid)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec whose fourth submission hangs, which is in a job; `it_happened` says when."""
    faulty_driver.install(monkeypatch, tmp_path, "vkQueueSubmit:4:hang")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    networks.convolution(tmp_path)
    networks.spec(tmp_path, networks.NOISE + COMPARE)
    return tmp_path


@contextmanager
def running(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A run of the gate, in the middle of a native step that hangs."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ncnn-parity", "-rA"]
    with subprocess.Popen(
        [*command, "--ncnn-parity-json=report.json", *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until((folder / "it_happened").exists, "no step hung")
            yield process
        finally:
            descendants.end(folder / "temporary")


def left(folder: Path) -> list[Any]:
    """Processes and files of ours; xdist's workers make pytest-of-USER."""
    temporary = folder / "temporary"
    return [*descendants.below(temporary), *(p for p in temporary.iterdir() if "parity" in p.name)]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_run_that_is_interrupted_cleans_up_and_reports(number: signal.Signals, hanging: Path) -> None:
    with running(hanging) as process:
        time.sleep(0.2)
        process.send_signal(number)
        start = time.monotonic()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert time.monotonic() - start < 60, "nothing is waited for"
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output
    assert "Traceback" not in output
    assert "PASSED net.parity.yaml::noise::fp16-range::c1" in output
    (model,) = json.loads((hanging / "report.json").read_text("utf-8"))["models"]
    assert {case["comparison"] for case in model["cases"]} == {"fp16-range"}
    assert left(hanging) == []


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_does_not_break_into_the_end_of_the_run(
    first: signal.Signals, hanging: Path
) -> None:
    """`timeout` sends SIGTERM twice; where a job is cancelled, GitHub sends it after SIGINT."""
    (hanging / "conftest.py").write_text(SLOW_END, "utf-8")
    with running(hanging) as process:
        process.send_signal(first)
        until((hanging / "ends").exists, "the run does not end")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in output
    assert left(hanging) == []


def test_a_distributed_run_that_is_ended_cleans_up(hanging: Path) -> None:
    pytest.importorskip("xdist")
    with running(hanging, "-n2") as process:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    until(lambda: not left(hanging), f"left: {left(hanging)}")


def test_a_worker_does_not_outlive_a_pytest_that_is_killed(hanging: Path) -> None:
    """Though it hangs in native code."""
    with running(hanging) as process:
        assert len(list(descendants.below(hanging / "temporary"))) == 2
        process.kill()
        process.communicate()
        until(lambda: not list(descendants.below(hanging / "temporary")), "a worker lives on")


@pytest.mark.parametrize(
    ("fault", "args", "failed"),
    [
        ("none:1:0", [], 0),
        ("vkQueueSubmit:3:11", [], 1),
        ("vkQueueSubmit:3:family", ["--ncnn-parity-timeout=6"], 1),
    ],
    ids=["finishes", "crashes", "times-out"],
)
def test_a_run_leaves_nothing_behind(
    fault: str, args: list[str], failed: int, hanging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--ncnn-parity", "-p", "no:cacheprovider", *args],
        cwd=hanging,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if failed else 0), done.stdout
    assert (f"{failed} failed" in done.stdout) == bool(failed)
    assert left(hanging) == []


def test_a_workers_folder_is_its_users_alone(hanging: Path) -> None:
    with running(hanging):
        (folder,) = (hanging / "temporary").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == []


def test_sigterm_is_left_to_who_took_it_before(hanging: Path) -> None:
    (hanging / "conftest.py").write_text(
        "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(55))\n"
    )
    with running(hanging) as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 55


# -- many specs ------------------------------------------------------------------------------------


def test_many_specs_with_crashes_in_between(tmp_path: Path) -> None:
    """`python tests/benchmarks/soak.py` does it with 200."""
    soaked = soak.soak(tmp_path, 10)
    assert soaked.wrong == ()
    assert len(soaked.kib) == 10
    # 5.5 to 8 KiB a case were seen, which pytest keeps of its reports
    assert soaked.growth < 12 * soak.CASES, "KiB a spec"


def test_results_that_nobody_waits_for_are_let_go(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        networks.chain(tmp_path, name=name)
        networks.spec(tmp_path, networks.NOISE + "compare: [fp16-range]\n", name)
    (tmp_path / "conftest.py").write_text(
        "import gc\n"
        "def pytest_sessionfinish():\n"
        "    from pytest_ncnn_parity.engine.spec_run import SpecRun\n"
        "    gc.collect()\n"
        "    found = [o.plan.spec.path.name for o in gc.get_objects() if isinstance(o, SpecRun)]\n"
        "    print('kept:', found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "--ncnn-parity", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "kept: ['c.parity.yaml']" in done.stdout


def test_a_process_that_goes_on_after_a_run_collects_garbage_as_before(tmp_path: Path) -> None:
    networks.chain(tmp_path)
    networks.spec(tmp_path, networks.NOISE + COMPARE)
    code = "import gc, pytest; print(int(pytest.main(['--ncnn-parity'])), gc.get_freeze_count())"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 0"


STOPPED_EARLY = """
import os, signal
from pytest_ncnn_parity.engine.early import EarlyWorker
start = EarlyWorker.start
def stopped(self, *args):
    start(self, *args)
    os.kill(os.getpid(), signal.SIGTERM)
EarlyWorker.start = stopped
"""


def test_sigterm_while_the_rest_is_imported_leaves_nothing(hanging: Path) -> None:
    """The first worker has been started by then."""
    (hanging / "conftest.py").write_text(STOPPED_EARLY, "utf-8")
    command = [sys.executable, "-m", "pytest", "--ncnn-parity", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=hanging, capture_output=True, timeout=120, check=False)
    assert ended.returncode not in (0, -signal.SIGTERM)
    assert list((hanging / "temporary").iterdir()) == []
