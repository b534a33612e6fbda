"""Many cases over next to no computing, and as many pytest items that do nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from process import Command

SAMPLES = 4
HERE = Path(__file__).parent

SPEC = """\
model: {param: many.param, bin: many.bin}
compare: [fp16-range]
inputs:
"""

# all samples through the engine, without pytest
ENGINE = """\
import pathlib
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.engine.client import Engine
plan = check.plan(spec.load(pathlib.Path("many.parity.yaml").absolute()))
cases = [case for comparison in plan.spec.comparisons for case in plan.cases(comparison)]
engine = Engine(120.0)
found = [r for name in plan.spec.inputs for r in engine.run(jobs.judge(plan, name, cases, 1, True))]
engine.close()
print(sum(result.outcome == "passed" for result in found), "passed")
"""


def param(layers: int) -> str:
    """A chain of `layers` layers on 8 elements; its values stay between 0 and 2.5."""
    lines = ["7767517", f"{layers} {layers}", "Input input 0 1 b0 0=8"]
    for n in range(1, layers):
        operation = "0=2 1=1 2=0.8" if n % 2 else "0=0 1=1 2=0.5"  # b * 0.8, b + 0.5
        lines.append(f"BinaryOp op_{n} 1 1 b{n - 1} b{n} {operation}")
    return "\n".join(lines) + "\n"


def write(folder: Path, cases: int) -> None:
    """The network and its spec, and the file of empty items."""
    (folder / "many.param").write_text(param(cases // SAMPLES), encoding="utf-8")
    (folder / "many.bin").write_bytes(b"")
    samples = [f"  sample_{n}: {{b0: {{random: uniform, seed: {n}}}}}\n" for n in range(SAMPLES)]
    (folder / "many.parity.yaml").write_text(SPEC + "".join(samples), encoding="utf-8")
    (folder / "many.empty").write_text(str(cases), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")


def _pytest(folder: Path, cases: int, *args: str) -> Command:
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    return Command([sys.executable, "-m", "pytest", *args], folder, f"{cases} passed", env)


def ours(folder: Path, cases: int) -> Command:
    return _pytest(folder, cases, "--ncnn-parity", "many.parity.yaml")


def theirs(folder: Path, cases: int) -> Command:
    return _pytest(folder, cases, "-p", "no:ncnn_parity", "-p", "empty_items", "many.empty")


def engine(folder: Path, cases: int) -> Command:
    """What the engine alone takes of our side: a worker and its results, no pytest."""
    return Command([sys.executable, "-c", ENGINE], folder, f"{cases} passed")
