"""The search for masks on a network of more than 500 layers, against the gate that finds it red."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import decoder
from process import BenchmarkError, Command, Ratio

SPEC = """\
model: {param: NAME.param, bin: NAME.bin}
inputs:
  uniform: {in0: {random: uniform, low: -1.0, high: 1.0}}
compare: [cpu-vs-vulkan, fp16-vs-fp32]
"""
MASKS = 8  # four layers of each of the two demodulations


def row(folder: Path, rounds: int) -> Ratio:
    """The seconds of searches, and of gates without one, measured in turns."""
    decoder.write(folder, decoder.PLANTED)
    spec, report = folder / "planted.parity.yaml", folder / "planted.json"
    spec.write_text(SPEC.replace("NAME", decoder.PLANTED), encoding="utf-8")
    searches, gates = [], []
    for _ in range(rounds):
        gates.append(_gate(folder, spec, "--ncnn-parity-fix=off").seconds().clock)
        _gate(folder, spec, f"--ncnn-parity-json={report}").seconds()
        searches.append(_searched(report))
    return Ratio(f"search, {decoder.PLANTED}, against its gate", "s", searches, gates, "at most 1.0")


def _gate(folder: Path, spec: Path, *args: str) -> Command:
    command = [sys.executable, "-m", "pytest", "--ncnn-parity", *args, str(spec)]
    return Command(command, folder, "3 failed", status=1)


def _searched(report: Path) -> float:
    """How long the search took that `report` tells of, if it found what was planted."""
    (model,) = json.loads(report.read_text("utf-8"))["models"]
    (fix,) = model["fixes"]
    if not (fix["verified"] and fix["minimal"] and len(fix["masks"]) == MASKS):
        raise BenchmarkError(f"expected {MASKS} masks, verified and minimal: {fix}")
    return float(fix["seconds"])
