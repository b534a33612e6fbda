"""What the end-to-end tests share: a gate run on a spec, and networks made for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked import Forked

import pytest_ncnn_parity
from pytest_ncnn_parity.report import document

# It looks for itself in sys.modules, from which pytester takes what a run in this process has imported.
KEPT_IMPORTED = [psutil]

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pytest_ncnn_parity.__file__).parent  # as it is tested: here, or installed
EXAMPLES = ROOT / "example_models"
SHARED = ROOT.parent / "shared" / "models"


@dataclass(frozen=True)
class Run:
    """A finished run of the gate: pytest's result, and the JSON report."""

    result: pytest.RunResult
    report: dict[str, Any]

    @property
    def output(self) -> str:
        return self.result.stdout.str()

    @property
    def cases(self) -> dict[str, dict[str, Any]]:
        """Cases by node id without the file: `sample::comparison::name`."""
        cases = (case for model in self.report["models"] for case in model["cases"])
        return {case["nodeid"].partition("::")[2]: case for case in cases}

    def ids(self, outcome: str, comparison: str = "") -> list[str]:
        return [
            name
            for name, case in self.cases.items()
            if case["outcome"] == outcome and comparison in ("", case["comparison"])
        ]

    @property
    def fixes(self) -> dict[str, dict[str, Any]]:
        return {fix["comparison"]: fix for model in self.report["models"] for fix in model["fixes"]}


Gate = Callable[..., Run]

CACHE = Path.home() / ".cache"  # pytester gives each test a home of its own


@pytest.fixture(autouse=True)
def _quick_children(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that a test starts share compiled shaders, and do without Hypothesis' plugin,
    which takes longer to import than most gates take to run.
    """
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # it clears the outer options
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    monkeypatch.setenv("MESA_SHADER_CACHE_DIR", str(CACHE))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside a test say nothing to the job that runs the tests, and wrap no line."""
    monkeypatch.setenv("COLUMNS", "500")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    """What runs pytest in a process of its own without importing it again."""
    runner = Forked()
    yield runner
    runner.close()


@pytest.fixture
def gate(pytester: pytest.Pytester, forked: Forked) -> Gate:
    """Run `pytest --ncnn-parity ARGS` in the test's folder, in a process of its own."""

    def run(*args: str) -> Run:
        report = pytester.path / "report.json"
        report.unlink(missing_ok=True)
        result = forked.run(pytester, "--ncnn-parity", f"--ncnn-parity-json={report}", *args)
        assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        if not report.exists():
            return Run(result, {})
        parsed = json.loads(report.read_text("utf-8"))
        assert document.problem(parsed) is None
        return Run(result, parsed)

    return run


# every worker that the gate starts writes a line
COUNTING = """\
import subprocess
from pathlib import Path

plain = subprocess.Popen.__init__

def counted(self, command, *args, **kwargs):
    if "pytest_ncnn_parity.worker.main" in command:
        with Path(__file__).with_name("started").open("a") as file:
            file.write("one\\n")
    plain(self, command, *args, **kwargs)

subprocess.Popen.__init__ = counted
"""


@pytest.fixture
def started(pytester: pytest.Pytester) -> Callable[[], int]:
    """How many workers gates have started since it was called last."""
    (pytester.path / "conftest.py").write_text(COUNTING, "utf-8")
    counts = pytester.path / "started"

    def count() -> int:
        number = len(counts.read_text("utf-8").splitlines()) if counts.exists() else 0
        counts.unlink(missing_ok=True)
        return number

    return count


@pytest.fixture
def example(pytester: pytest.Pytester) -> Callable[..., Path]:
    """Copy an example model with its spec into the test's folder; without the samples named so."""

    def copy(name: str, without: tuple[str, ...] = ()) -> Path:
        for path in (EXAMPLES / name).iterdir():
            if path.is_file():
                shutil.copy(path, pytester.path)
        spec = pytester.path / f"{name}.parity.yaml"
        for sample in without:
            text, gone = re.subn(rf"(?m)^  {sample}: .*\n", "", spec.read_text("utf-8"))
            assert gone == 1
            spec.write_text(text, "utf-8")
        return spec

    return copy


@pytest.fixture
def shared_model(pytester: pytest.Pytester) -> Callable[[str], None]:
    """Copy a real model's files into the test's folder; skip where there are none."""

    def copy(name: str) -> None:
        if not SHARED.is_dir():
            pytest.skip("the real models of ../shared/models are not here")
        for suffix in (".param", ".bin"):
            shutil.copy(SHARED / (name + suffix), pytester.path)

    return copy


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by a shell in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # or no gate could be interrupted
    config.addinivalue_line(
        "markers",
        "since_ncnn(version, reason, on=''): skip with an older ncnn, where the fact does not hold; "
        "if `on` names a feature of processors, as /proc/cpuinfo does, then on such processors alone",
    )
    config.addinivalue_line(
        "markers", "once: long, and of no version's making: left out where the rest runs again"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("since_ncnn"):
        version, reason = marker.args
        feature = marker.kwargs.get("on", "")
        concerned = not feature or feature in processor_features()
        if concerned and metadata.version("ncnn") < version:
            pytest.skip(f"ncnn before {version}: {reason} {feature}".rstrip())


def processor_features() -> set[str]:
    """What Linux says that this processor has."""
    cpuinfo = Path("/proc/cpuinfo")
    return set(cpuinfo.read_text("utf-8").split()) if cpuinfo.is_file() else set()


@contextmanager
def in_slow_layer(folder: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A gate in `folder`, in the slow layer of `networks.slow`, and the lines that it printed so far."""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "--ncnn-parity", "-v", *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while "quick PASSED" not in "".join(lines):
            lines.append(process.stdout.readline())
        time.sleep(0.3)
        yield process, lines
        lines += process.stdout


def fresh_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter: ncnn's crashes and GPU instance stay out of this one."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=300, check=False
    )
