"""A whole run in a terminal of 80 columns, with names as long as exporters make them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import networks
import pytest
from conftest import Gate
from network import Network

from pytest_ncnn_parity.report.text import terminal
from pytest_ncnn_parity.report.text.line_width import PASTED

LONG = "decoder_stage_04_modulated_convolution_demodulation_epsilon"  # a digit follows


def long_names(folder: Path) -> None:
    """|x| * 300 squared, twice over, under names as exporters make them."""
    net = Network()
    x = net.layer("Input", "in0", params="0=16")
    for i in range(1, 7):
        kind = {1: "0=2 1=1 2=30.0", 4: "0=2 1=1 2=3000.0", 5: "0=2 1=1 2=0.001"}.get(i, "0=0 1=1 2=0.5")
        x = net.layer("BinaryOp", f"{LONG}{i}", [x], params=kind)
    net.write(folder / "net")


def plain(document: Any, verbosity: int, width: int = 80) -> list[str]:
    return [line for line, _ in terminal.summary(document, verbosity, width)]


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_at_80_columns_with_names_of_60_characters(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long_names(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "  more: {in0: {random: normal, seed: 1}}\n")
    run = gate()
    assert len(LONG) + 1 == 60
    lines = run.output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip("=") == " FAILURES ")
    end = next(i for i, line in enumerate(lines) if "short test summary" in line)
    long = [line for line in lines[start:end] if len(line) > 80]
    # those of lines to be copied, and node ids, of which pytest makes its headings
    assert [line for line in long if not line.startswith((PASTED, "_ "))] == []
    assert "\x1b" not in run.output

    document = run.report
    shown = "\n".join(plain(document, 0))
    assert shown in run.output
    joined = re.sub(r"\n +", " ", shown)
    assert f"{LONG}4 (BinaryOp): inf on vulkan fp16" in joined
    assert "(storage-overflow), in 2 samples" in joined
    assert "scaled inf of 0.05 allowed" in joined
    assert re.search(rf"fp16 headroom: none: {LONG}4 reaches [\d.]+, and fp16 ends at 65504", joined)
    assert re.search(r"on llvmpipe .*: driver \S+, Vulkan 1\.\d+\.\d+, fp16-p/s/u/a 1/1/1/1", joined)
    (fix,) = (fix for fix in document["models"][0]["fixes"] if fix["comparison"] == "fp16-range")
    assert all(f"\n{PASTED}{line}\n" in shown for line in fix["lines"]), "to be pasted, whole"
    assert f"\n{PASTED}pytest --ncnn-parity --ncnn-parity-fix=write net.parity.yaml" in shown
    headline = "minimal): 2 lines of the .param for fp16-vs-fp32-vulkan, fp16-range"
    assert headline in joined, "one fix for both"

    sizes = [len(plain(document, verbosity)) for verbosity in (-1, 0, 1, 2)]
    assert sizes[0] < sizes[1] < sizes[2] <= sizes[3]
    assert "search: from" not in shown
    assert "search: from" in "\n".join(plain(document, 1))
    assert " ".join(line.strip() for line in plain(document, -1)).startswith("ncnn parity: ")
